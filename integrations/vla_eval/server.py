"""A trained policy behind vla-eval's protocol: LIBERO, CALVIN, SimplerEnv, RoboTwin and others play it.

``python -m integrations.vla_eval.server --args.ckpt=RUN --address=127.0.0.1:8000``; docs/guides/vla_eval.md.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from vla_eval import specs
from vla_eval.model_servers.predict import PredictModelServer
from vla_eval.model_servers.serve import run_server
from vla_eval.specs import IMAGE_RGB, LANGUAGE, RAW, DimSpec

from data_modules.demonstrations.demonstration import Frames, Numbers
from data_modules.demonstrations.steps import Step
from data_modules.loading.draws import stream_seed
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.mmact.evaluations.policies import make_step
from mirage_pl.mmact.model.decoding import Decoder

STATES = ("state", "states")
"""What benchmarks call the state."""


class PolicyServer(PredictModelServer):
    """Choose actions for vla-eval's observations, in the units of the data that the run was trained on.

    Args:
        ckpt: run folder or checkpoint file, of a stage that acts.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        exec_steps: steps of a chunk that are done before the next one is chosen; ``None``: all.
        cameras: names of the benchmark's images, in the order of the run's views; ``None``: as they come.
        batch_size: observations that are answered at a time.
        decode: options of the run's decoder that are set otherwise, such as ``{"steps": 4}``.
        actions: names of vla-eval's conventions for the parts of an action, such as ``[POSITION_DELTA, ROTATION_AA,
            GRIPPER_CLOSE_POS]``, so that it warns of a benchmark with others; ``None``: none is claimed.
        state: the same of the state, such as ``STATE_EEF_POS_AA_GRIP``.
        seed: of what a decoder draws.

    Raises:
        ValueError: no run there, one that doesn't act, or an option that doesn't fit it.
    """

    def __init__(
        self,
        ckpt: str,
        accelerator: str = "auto",
        exec_steps: int | None = None,
        cameras: list[str] | None = None,
        batch_size: int = 1,
        decode: dict[str, Any] | None = None,
        actions: list[str] | None = None,
        state: str | None = None,
        seed: int = 0,
    ) -> None:
        self.trained, self.cameras, self.seed = load_trained(ckpt, accelerator), cameras, seed
        self.task: Any = self.trained.config.task
        if not hasattr(self.trained.module, "choose_actions"):
            raise ValueError(f"{ckpt} chooses no actions; give a run of stage=mmact/action, mix or regression")
        if exec_steps is not None and not 1 <= exec_steps <= self.task.chunk:
            raise ValueError(f"exec_steps={exec_steps} must be from 1 to {self.task.chunk}, the steps of a chunk")
        views = self.trained.collator.views
        if cameras is not None and len(cameras) != views:
            raise ValueError(f"cameras={cameras} are {len(cameras)}, and this run reads {views} view(s)")
        self.decode = read_decoder(self.trained.config, decode or {})
        self.action_spec = read_actions(actions, self.task.numbers["action"])
        self.state_spec = find_spec(state) if state is not None else replace(RAW, name="state", dims=self.width)
        super().__init__(chunk_size=exec_steps or int(self.task.chunk), max_batch_size=batch_size)

    @property
    def width(self) -> int:
        """Numbers of a state; 0: none is read."""
        return int(self.task.numbers["state"]) if self.trained.collator.states else 0

    def predict_batch(
        self, obs_batch: Sequence[Mapping[str, Any]], ctx_batch: Sequence[Any]
    ) -> list[dict[str, np.ndarray[Any, Any]]]:
        """Choose a chunk for each observation.

        Raises:
            ValueError: one lacks what the run reads, or has it in another size.
        """
        steps = [self.read_step(seen, session) for seen, session in zip(obs_batch, ctx_batch, strict=True)]
        streams = [
            torch.Generator().manual_seed(stream_seed(self.seed, step.instruction, session.step))
            for step, session in zip(steps, ctx_batch, strict=True)
        ]
        batch = self.trained.collator(steps).to(self.trained.device)
        chosen_BN = self.trained.module.choose_actions(batch, self.decode, streams).float().cpu().numpy()
        return [{"actions": chunk_N.reshape(self.task.chunk, -1)} for chunk_N in chosen_BN]

    def read_step(self, seen: Mapping[str, Any], session: Any) -> Step:
        """An observation as a step that is to be acted on."""
        instruction = seen.get("task_description")
        if not isinstance(instruction, str):
            raise ValueError("an observation has no task_description: what is to be done, in words")
        where, dims = f"{session.episode_id}@{session.step}", self.task.numbers["action"]
        return make_step(where, instruction, self.read_state(seen), self.task.chunk, dims, self.read_views(seen))

    def read_state(self, seen: Mapping[str, Any]) -> Numbers | None:
        """The state's numbers; ``None``: none are read."""
        if not self.width:
            return None
        value = next((seen[key] for key in STATES if key in seen), None)
        if value is None:
            raise ValueError(f"an observation has no {' or '.join(STATES)}, and this run reads one; send_state=true")
        numbers_S = np.asarray(value, np.float32).reshape(-1)
        if len(numbers_S) != self.width or not np.isfinite(numbers_S).all():
            raise ValueError(f"a state has {len(numbers_S)} numbers; this run takes {self.width} finite ones")
        return numbers_S

    def read_views(self, seen: Mapping[str, Any]) -> list[Frames]:
        """What each camera sees."""
        images: Mapping[str, Any] = seen.get("images") or {}
        views = self.trained.collator.views
        names = list(images)[:views] if self.cameras is None else self.cameras
        if len(names) < views or not images.keys() >= set(names):
            wanted = f"{views} view(s)" if self.cameras is None else f"cameras={self.cameras}"
            raise ValueError(
                f"an observation has images of {', '.join(images) or 'no camera'}, and this run reads {wanted}"
            )
        frames = [np.asarray(images[name]) for name in names]
        for name, frame_HWC in zip(names, frames, strict=True):
            if frame_HWC.dtype != np.uint8 or frame_HWC.ndim != 3 or frame_HWC.shape[2] != 3:
                raise ValueError(
                    f"images.{name} is {frame_HWC.dtype} of shape {frame_HWC.shape}; a picture is uint8 [H, W, 3]"
                )
        return frames

    def get_action_spec(self) -> dict[str, DimSpec]:
        """The parts of an action."""
        return self.action_spec

    def get_observation_spec(self) -> dict[str, DimSpec]:
        """What the run reads."""
        cameras = self.cameras or [f"view{number}" for number in range(self.trained.collator.views)]
        states = {"state": self.state_spec} if self.width else {}
        return {"language": LANGUAGE, **dict.fromkeys(cameras, IMAGE_RGB), **states}

    def get_observation_params(self) -> dict[str, Any]:
        """What a benchmark is asked to send; one that knows no such option is left as it is."""
        return {"send_state": bool(self.width), "send_wrist_image": self.trained.collator.views > 1}


def read_decoder(config: Any, changes: Mapping[str, Any]) -> Decoder:
    """The decoder of a run, with some options set otherwise.

    Raises:
        ValueError: an option that there isn't.
    """
    if "decode" not in config:
        raise ValueError("this run has no decode; give one of stage=mmact/action, mix or regression")
    options = OmegaConf.create(OmegaConf.to_container(config.decode, resolve=True))
    OmegaConf.set_struct(options, True)
    try:
        options.merge_with(changes)
    except OmegaConfBaseException:
        known = ", ".join(str(key) for key in options if key != "_target_")
        raise ValueError(f"decode={dict(changes)} has something else than {known}") from None
    decoder: Decoder = instantiate(options)
    return decoder


def find_spec(name: str) -> DimSpec:
    """A convention of vla-eval.

    Raises:
        ValueError: there is none of this name.
    """
    known = {key: value for key, value in vars(specs).items() if isinstance(value, DimSpec)}
    if name not in known:
        raise ValueError(f"{name} is none of vla-eval's conventions: {', '.join(known)}")
    return known[name]


def read_actions(names: Sequence[str] | None, numbers: int) -> dict[str, DimSpec]:
    """The parts of an action of so many numbers.

    Raises:
        ValueError: they have other numbers in sum.
    """
    if names is None:
        return {"actions": replace(RAW, name="actions", dims=numbers)}
    parts = [find_spec(name) for name in names]
    if (total := sum(part.dims for part in parts)) != numbers:
        raise ValueError(f"actions={list(names)} have {total} numbers, and this run's actions {numbers}")
    return {part.name: part for part in parts}


def main() -> None:
    """Serve a run until Ctrl-C; a mistake is one line."""
    try:
        run_server(PolicyServer)
    except ValueError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
