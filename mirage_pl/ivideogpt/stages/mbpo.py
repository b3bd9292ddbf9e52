"""The stage of an agent that learns by playing and by imagining. Shapes: B episodes, A numbers of an action."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mirage_pl.engine.training.draws import row_stream
from mirage_pl.engine.training.evaluating import evaluating
from mirage_pl.engine.training.turns import Turn
from mirage_pl.ivideogpt.control.agent import Agent
from mirage_pl.ivideogpt.control.imagination import imagine
from mirage_pl.ivideogpt.control.replay import IMAGINED, REAL, Moment
from mirage_pl.ivideogpt.control.schedule import ModelSchedule
from mirage_pl.ivideogpt.control.transitions import StepBatch
from mirage_pl.ivideogpt.losses import FrameLosses
from mirage_pl.ivideogpt.model.rollout import Rollout, Sampling
from mirage_pl.ivideogpt.model.world import WorldModel
from mirage_pl.ivideogpt.stages.drqv2 import DrQv2, Player, write_agent
from mirage_pl.ivideogpt.stages.world_model import CARD as WORLD_CARD
from mirage_pl.ivideogpt.stages.world_model import WorldLosses, write_world

TOKENIZER, TRANSFORMER = "tokenizer", "transformer"
CHECKED = 16
"""Held-out clips that are imagined at each validation."""


class Imaginer(Player):
    """An agent, and the world model that it imagines with."""

    def __init__(self, agent: Agent, world: WorldModel) -> None:
        super().__init__(agent)
        self.world = world


class MBPO(DrQv2, WorldLosses):
    """Learn to act from what was played and from what was imagined; the world model learns from what was played.

    Args:
        net: has an ``agent`` and a ``world``.
        turns: ``critic``, ``actor``, ``transformer``, and ``tokenizer`` if that is to learn.
        imagining: when the world model learns, and when it is used.
        sampling: how it chooses codes.
        frame_losses: of the tokenizer.
        clip_length: frames of the world model's clips.
        options: of :class:`mirage_pl.ivideogpt.stages.drqv2.DrQv2`.

    Raises:
        ValueError: the world model predicts no rewards, takes no actions, or is given more frames than are stacked.
    """

    net: Imaginer

    def __init__(
        self,
        net: Imaginer,
        turns: Mapping[str, Turn],
        imagining: ModelSchedule,
        sampling: Sampling,
        frame_losses: FrameLosses,
        clip_length: int,
        **options: Any,
    ) -> None:
        check_world(net)
        if imagining.tokenizer_every is None:
            turns = {name: turn for name, turn in turns.items() if name != TOKENIZER}
        else:
            net.world.tokenizer.requires_grad_(True)
        super().__init__(net=net, turns=turns, **options)
        self.imagining, self.sampling = imagining, sampling
        self.frame_losses, self.clip_length = frame_losses, clip_length

    @property
    def world(self) -> WorldModel:
        """What it imagines with."""
        return self.net.world

    @property
    def since(self) -> int:
        """Steps since the agent was updated first."""
        return max(0, self.step - self.imagining.first_updates)

    def units(self) -> list[nn.Module]:
        """The parts that are called."""
        return [*super().units(), self.world]

    def begun(self) -> list[str]:
        """What is updated at this step; a held-out batch has the losses of all."""
        if not self.training:
            return list(self.turns)
        due = [*(("critic", "actor") if self.imagining.acts(self.step) else ()), *self.imagining.learns(self.step)]
        return [name for name in super().begun() if name in due]

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write the agent, and below ``world`` the world model as its own stage does; read both back."""
        (folder / "world").mkdir()
        (folder / "world" / "README.md").write_text(WORLD_CARD)
        return write_agent(self.agent, folder) | write_world(self.world, folder / "world", "net.world")

    # What is gathered

    def on_fit_start(self) -> None:
        """Go on with the episodes that the checkpoint had.

        Raises:
            ValueError: imagined episodes are too short to learn from.
        """
        ahead: int = self.trainer.datamodule.collate.ahead  # type: ignore[attr-defined]
        if self.imagining.horizon < ahead:
            raise ValueError(f"imagining.horizon={self.imagining.horizon} must be ahead={ahead} or more")
        super().on_fit_start()

    def gather(self, step: int) -> None:
        """Play and imagine what is due before a step."""
        since = step - self.imagining.first_updates
        self.play_until(self.playing.seed_episodes if since < 0 else self.playing.episodes(since))
        while (number := self.replay.counts[IMAGINED] // self.imagining.batch) < self.imagining.batches(step):
            self.imagine(number, self.playing.deviation_at(max(0, since)))

    def imagine(self, number: int, deviation: float) -> None:
        """Imagine a batch of episodes, each from a real observation."""
        draws = np.random.default_rng([self.seed, number, self.imagining.batch])
        starts = [self.replay.draw_moment(REAL, self.stack, 0, draws) for _ in range(self.imagining.batch)]
        names = [f"imagined {number}, row {row}" for row in range(len(starts))]
        act = partial(self.act_by_name, names, deviation)
        streams = [row_stream(self.seed, name, -1) for name in names]
        with evaluating(self.net):
            episodes = imagine(self.world, starts, self.imagining.horizon, act, self.sampling, streams)
        for start, episode in zip(starts, episodes, strict=True):
            self.replay.add(IMAGINED, episode, {"group": IMAGINED, "start": start.where})

    def act_by_name(self, names: Sequence[str], deviation: float, frames_BTCHW: Tensor, step: int) -> Tensor:
        """Choose actions with noise of each row's own stream."""
        size = (self.agent.sizes.action_dim,)
        noise = [torch.randn(size, generator=row_stream(self.seed, name, step)) for name in names]
        return self.agent.act(frames_BTCHW, torch.stack(noise).to(frames_BTCHW.device), deviation)

    def pick(self, step: int, part: int, size: int) -> Sequence[Moment]:
        """Draw the samples of a step: real and imagined ones for the agent, real clips for the world model."""
        draws, samples = np.random.default_rng([self.seed, step, part]), list[Moment]()
        if self.imagining.acts(step):
            imagined = self.imagining.num_imagined(step, size)
            kinds = [REAL] * (size - imagined) + [IMAGINED] * imagined
            samples += [self.draw_moment(kind, draws) for kind in kinds]
        if self.imagining.learns(step):
            samples += [self.replay.draw_clip(self.clip_length, draws) for _ in range(self.imagining.clips)]
        return samples

    # What is learnt

    def terms(self, batch: StepBatch) -> dict[str, int]:
        """Transitions of the agent; of the world model's clips codes and frames."""
        counted = {} if batch.clips is None else self.world_terms(batch.clips)
        clips = 0 if batch.clips is None else len(batch.clips)
        return {name: counted.get(name, clips) for name in self.loss_weights} | super().terms(batch)

    def losses_in(self, turn: str, batch: StepBatch) -> dict[str, Tensor]:
        """Of the agent those of DrQ-v2, of the world model those of its stage, of the tokenizer those of its stage."""
        if turn not in (TOKENIZER, TRANSFORMER):
            return super().losses_in(turn, batch)
        assert batch.clips is not None
        if turn == TRANSFORMER:
            return self.world_losses(batch.clips)
        frames_BTCHW = batch.clips.frames_BTCHW.to(self.device, self.world.tokenizer.dtype) / 255
        tokenizer = self.world.tokenizer
        return self.frame_losses(*tokenizer.divide(frames_BTCHW), tokenizer(frames_BTCHW))

    def validation_step(self, batch: StepBatch, batch_idx: int) -> None:
        """Add the losses, and how far imagined frames and rewards are off in some clips."""
        super().validation_step(batch, batch_idx)
        if batch_idx == 0 and batch.clips is not None:
            self.observe(self.measure_imagined(batch))

    def measure_imagined(self, batch: StepBatch) -> dict[str, Tensor]:
        """Squared errors of likeliest frames, in [0, 1], and rewards, when the clip's own actions are taken."""
        clips = batch.clips
        assert clips is not None
        assert clips.actions_BSA is not None
        assert clips.rewards_BS is not None
        first = self.world.context_length
        frames_BTCHW = clips.frames_BTCHW[:CHECKED].to(self.world.tokenizer.dtype) / 255
        rollout = Rollout(self.world, frames_BTCHW[:, :first], frames_BTCHW.shape[1] - first)
        steps = [rollout.step(action_BA) for action_BA in clips.actions_BSA[:CHECKED, first - 1 :].unbind(1)]
        frames_BFCHW = torch.stack([step.frames_BCHW for step in steps if step.frames_BCHW is not None], 1)
        rewards_BF = torch.stack([step.rewards_B for step in steps if step.rewards_B is not None], 1)
        return {
            "imagined_frames": (frames_BFCHW - frames_BTCHW[:, first:]).square().mean(),
            "imagined_rewards": (rewards_BF - clips.rewards_BS[:CHECKED, first - 1 :]).square().mean(),
        }


def check_world(net: Imaginer) -> None:
    """Refuse a world model that an agent can't imagine with.

    Raises:
        ValueError: names the key.
    """
    if not net.world.has_reward:
        raise ValueError("reward=false, but an agent that imagines needs rewards; take a world model with reward=true")
    if net.world.action_dim != net.agent.sizes.action_dim:
        raise ValueError(
            f"action_dim={net.world.action_dim} of the world model, but an action of the agent has "
            f"{net.agent.sizes.action_dim} numbers (task.action_dim); they must be the same"
        )
    if net.world.context_length > net.agent.sizes.stack:
        raise ValueError(
            f"context_length={net.world.context_length} frames are given to the world model, but the agent stacks "
            f"agent.sizes.stack={net.agent.sizes.stack}; lower the one or raise the other"
        )
