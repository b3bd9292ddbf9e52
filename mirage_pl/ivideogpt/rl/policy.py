"""A world model as a policy: its actions are codes, drawn with a cache, many clips at a time, and scored in one pass.

Shapes: P contexts, G clips imagined of each, B = P G of them, T context frames, F others, n codes of a frame, S of a
clip, M of all clips (or frames of a group), K codes of the book, A numbers of an action.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Gt
from torch import Generator, Tensor

from data_modules.episodes.clips import Clip
from data_modules.loading.draws import stream_seed
from mirage_pl.engine.adapters.off import AdapterOff
from mirage_pl.engine.rl.budget import GIB, divide
from mirage_pl.engine.rl.policy import LogProbs, Rollout
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.evaluations.imagining import repeat_share
from mirage_pl.ivideogpt.model import rollout as model
from mirage_pl.ivideogpt.model.world import WorldModel
from mirage_pl.ivideogpt.rl.collator import ImaginedCodes
from mirage_pl.ivideogpt.rl.drawing import Drawn, score_codes
from mirage_pl.ivideogpt.rl.errors import FrameErrors

CODES = "codes"


@dataclass(frozen=True)
class Drawing:
    """How clips are drawn.

    Attributes:
        temperature: of the policy itself, in rollouts and in the loss.
        cache_gib: most memory of keys and values: as many groups as it has room for are imagined at a time.
    """

    temperature: Annotated[float, Gt(0)] = 1.0
    cache_gib: Annotated[float, Gt(0)] = 2.0


class WorldPolicy:
    """Draw clips, and tell how likely they are.

    Args:
        world: the model, which is called as a whole, so that it works where weights are in parts.
        other: a frozen one over the same codes that it is compared with, or itself without its adapter; ``None``:
            none.
        take_actions: of a batch of clips, [P, F, A].
        drawing: how clips are drawn.
        errors: of their frames.
    """

    kinds: Sequence[str] = (CODES,)

    def __init__(
        self,
        world: WorldModel,
        other: WorldModel | AdapterOff | None,
        take_actions: Callable[[Batch], Tensor | None],
        drawing: Drawing,
        errors: FrameErrors,
    ) -> None:
        self.world, self.other, self.take_actions = world, other, take_actions
        self.drawing, self.errors = drawing, errors

    # Rollouts

    def roll(self, collate: Any, prompts: Mapping[int, Any], group: int, seed: int, step: int) -> list[Rollout]:
        """Imagine each clip ``group`` times from its context and actions.

        Raises:
            ValueError: one group has no room in the cache; or clips can't be read, or don't fit the model.
        """
        asked, device = list(prompts.items()), next(self.world.parameters()).device
        groups = dict[int, list[Rollout]]()
        for numbers in self.divide([clip for _, clip in asked], group):
            some = [asked[number] for number in numbers]
            batch: Batch = collate([clip for _, clip in some]).to(device)
            streams = [draw_stream(seed, step, clip, number) for _, clip in some for number in range(group)]
            rollouts = self.world(self.imagine, batch, [index for index, _ in some], streams)
            groups |= {number: rollouts[place * group :][:group] for place, number in enumerate(numbers)}
        return [rollout for number in range(len(asked)) for rollout in groups[number]]

    def divide(self, clips: Sequence[Clip], group: int) -> list[list[int]]:
        """Which groups are imagined together."""
        sizes = [self.count_bytes(clip.window.length, group) for clip in clips]
        try:
            return divide(sizes, self.drawing.cache_gib)
        except ValueError as error:
            raise ValueError(
                f"a group of {group} imagined clips takes {error}; raise drawing.cache_gib, or lower rollouts.group or "
                "task.window.length"
            ) from None

    def count_bytes(self, length: int, group: int) -> int:
        """Bytes of the keys and values of a group of clips of so many frames, which share their context's."""
        llama, layout = self.world.transformer.llm, self.world.transformer.layout
        tokens = layout.length(length - layout.context_length)
        columns = tokens + group * (tokens - layout.prompt_length + 1)
        width: int = llama.config.hidden_size
        return columns * 2 * llama.config.num_hidden_layers * width * llama.lm_head.weight.element_size()

    def imagine(self, batch: Batch, indices: Sequence[int], streams: Sequence[Generator]) -> list[Rollout]:
        """Imagine clips together.

        Args:
            batch: the clips, on the device.
            indices: of them in their data set.
            streams: random numbers of each rollout, as many for each clip, clip after clip.
        """
        tokenizer, group = self.world.tokenizer, len(streams) // len(batch)
        context_PTCHW, truth_PFCHW = tokenizer.divide(batch.frames_BTCHW.to(tokenizer.dtype) / 255)
        actions_PFA = self.take_actions(batch)
        contexts = model.Rollout(self.world, context_PTCHW, truth_PFCHW.shape[1])
        drawn = Drawn(contexts, self.drawing.temperature, streams)
        actions_BFA = None if actions_PFA is None else actions_PFA.repeat_interleave(group, 0)
        steps = [
            drawn.step(None if actions_BFA is None else actions_BFA[:, frame], see=False)
            for frame in range(drawn.num_frames)
        ]
        ids_BFn, logs_BS = torch.stack([step.ids_Bn for step in steps], 1), torch.stack(drawn.logs, 1).cpu()
        errors = self.measure(contexts, ids_BFn, truth_PFCHW)
        facts: Mapping[str, Sequence[float | None]] = {
            **errors,
            "repetition": repeat_share(ids_BFn),
            "cache_gib": [drawn.cache.num_bytes / GIB] * len(drawn),
        }
        context_PTN = tokenizer.encode_context(context_PTCHW).int().cpu()
        return [
            Rollout(
                sample=batch.samples[row // group],
                index=indices[row // group],
                number=row % group,
                answer={name: values[row] for name, values in errors.items()},
                record={
                    "context": context_PTN[row // group],
                    "codes": ids_BFn[row].int().cpu(),
                    "actions": None if actions_BFA is None else actions_BFA[row].cpu(),
                },
                old={CODES: logs_BS[row]},
                facts={name: value for name, values in facts.items() if (value := values[row]) is not None},
            )
            for row in range(len(drawn))
        ]

    def measure(self, contexts: model.Rollout, ids_BFn: Tensor, truth_PFCHW: Tensor) -> dict[str, list[float]]:
        """Errors of all clips, group by group: what is seen of a context is read once for all clips of its group."""
        errors: dict[str, list[float]] = {}
        for context, ids_GFn in enumerate(ids_BFn.split(len(ids_BFn) // len(truth_PFCHW))):
            scene = contexts.scene.take(torch.tensor([context], device=ids_BFn.device))
            frames_1MCHW = self.world.tokenizer.decode_frames(ids_GFn.flatten(0, 1)[None], scene).clamp(0, 1)
            frames_GFCHW = frames_1MCHW[0].unflatten(0, ids_GFn.shape[:2])
            for name, values_G in self.errors(frames_GFCHW, truth_PFCHW[context]).items():
                errors.setdefault(name, []).extend(values_G.tolist())
        return errors

    # Learning

    def logprobs(self, inputs: ImaginedCodes) -> LogProbs:
        """Score clips in one packed pass."""
        logs_M, entropy = self.world(self._score, inputs)
        return LogProbs({CODES: logs_M}, entropy)

    def count_actions(self, inputs: ImaginedCodes) -> Mapping[str, Sequence[int]]:
        """Codes of each clip."""
        return {CODES: [inputs.codes_BFn[0].numel()] * len(inputs.codes_BFn)}

    def _score(self, inputs: ImaginedCodes) -> tuple[Tensor, Tensor]:
        states = self.world.read_codes(inputs.context_BTN, inputs.codes_BFn, inputs.actions_BFA).states
        logits_BFnK = self.world.transformer.predict_codes(states.before_codes_BFnD)
        logs_BFnK = score_codes(logits_BFnK, self.drawing.temperature)
        entropy = torch.special.entr(logs_BFnK.detach().exp()).sum(-1).mean()
        return logs_BFnK.gather(
            -1, inputs.codes_BFn[..., None]
        ).flatten(), entropy  # a tuple, as FSDP2 must find tensors

    def reference(self) -> AbstractContextManager[None] | None:
        """Score with the frozen model in place of the one that learns, or with that without its adapter."""
        if isinstance(self.other, AdapterOff):
            return self.other(self.world)
        return None if self.other is None else self._instead(self.other)

    @contextmanager
    def _instead(self, world: WorldModel) -> Iterator[None]:
        own, self.world = self.world, world
        try:
            yield
        finally:
            self.world = own


def draw_stream(seed: int, step: int, clip: Clip, number: int) -> Generator:
    """Random numbers of a clip's rollout, whatever else is imagined."""
    return row_stream(stream_seed(seed, "rollout", step, number), Path(clip.where).name, 0)
