"""Who plays: the model, seeing what a condition leaves it; and what doesn't learn. Shapes: ``loop``, S numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from data_modules.demonstrations.demonstration import Frames, Numbers
from data_modules.demonstrations.steps import Step, Steps
from data_modules.loading.draws import stream_seed
from data_modules.worlds.world import Vector
from mirage_pl.engine.seams import OWN
from mirage_pl.mmact.evaluations.loop import Chunks, Play
from mirage_pl.mmact.model.decoding import Decoder


def keep(play: Play) -> tuple[str, Numbers | None]:
    """What there is: the instruction, and the state."""
    return play.sample.instruction, play.world.numbers.astype(np.float32)


def swap(play: Play) -> tuple[str, Numbers | None]:
    """An instruction for something else that could be done here, the same one in all of the episode."""
    others = play.world.others
    return others[stream_seed("other", play.sample.where) % len(others)], keep(play)[1]


def silence(play: Play) -> tuple[str, Numbers | None]:
    """No word."""
    return "", keep(play)[1]


def shuffle(play: Play) -> tuple[str, Numbers | None]:
    """The words in another order, the same one in all of the episode."""
    words = play.sample.instruction.split()
    order = np.random.default_rng(stream_seed("order", play.sample.where)).permutation(len(words))
    return " ".join(words[place] for place in order), keep(play)[1]


def blind(play: Play) -> tuple[str, Numbers | None]:
    """No state."""
    return keep(play)[0], None


def freeze(play: Play) -> tuple[str, Numbers | None]:
    """The state at the episode's begin, always."""
    return keep(play)[0], play.first_S.astype(np.float32)


SEEN: Mapping[str, Callable[[Play], tuple[str, Numbers | None]]] = {
    OWN: keep,
    "wrong_instruction": swap,
    "no_instruction": silence,
    "shuffled_words": shuffle,
    "no_state": blind,
    "frozen_state": freeze,
}
"""Condition -> what the model sees under it."""


def blank(play: Play) -> Sequence[Frames]:
    """Black pictures."""
    return [np.zeros_like(frame) for frame in play.look()]


def turn_round(play: Play) -> Sequence[Frames]:
    """The cameras in the other order."""
    return play.look()[::-1]


LOOKS: Mapping[str, Callable[[Play], Sequence[Frames]]] = {
    "blank_image": blank,
    "swapped_views": turn_round,
    "frozen_image": lambda play: play.first,
}
"""Condition -> what cameras show the model under it."""


@dataclass(frozen=True)
class Model:
    """The model that is evaluated.

    Attributes:
        module: a stage of a policy.
        collate: steps -> batch.
        seen: what it is told and what is measured of an episode, for it.
        look: what cameras show it.
        decode: how it fills in actions.
        chunk: steps of a chunk.
    """

    module: Any
    collate: Callable[[Sequence[Step]], Any]
    seen: Callable[[Play], tuple[str, Numbers | None]]
    look: Callable[[Play], Sequence[Frames]]
    decode: Decoder
    chunk: int

    def __call__(self, plays: Sequence[Play]) -> Chunks:
        """Choose a chunk for each episode."""
        steps = [each.attempt(partial(self.observe, each)) for each in plays]
        seeds = [int(each.draws.integers(2**53)) for each in plays]
        chunks: Chunks = np.zeros((len(plays), self.chunk, plays[0].world.width), np.float32)
        if there := [place for place, step in enumerate(steps) if step is not None]:
            streams = [torch.Generator().manual_seed(seeds[place]) for place in there]
            batch = self.collate([step for step in steps if step is not None]).to(self.module.device)
            chosen_BN = self.module.choose_actions(batch, self.decode, streams)
            chunks[there] = chosen_BN.float().cpu().numpy().reshape(len(there), self.chunk, -1)
        return chunks

    def observe(self, play: Play) -> Step:
        """What there is to act on in an episode."""
        seen = self.seen(play)
        return make_step(play.sample.where, *seen, self.chunk, play.world.width, self.look(play))


def make_step(
    where: str, instruction: str, state_S: Numbers | None, chunk: int, width: int, seen: Sequence[Frames] | None = None
) -> Step:
    """A step that is to be acted on: its actions are room."""
    return Step(where, instruction, state_S, np.zeros((chunk, width), np.float32), chunk, seen=seen)


class Random:
    """Actions drawn evenly from -1 to 1."""

    def __init__(self, chunk: int) -> None:
        self.chunk = chunk

    def __call__(self, plays: Sequence[Play]) -> Chunks:
        """Draw a chunk for each."""
        return np.stack([each.draws.uniform(-1, 1, (self.chunk, each.world.width)) for each in plays]).astype("float32")


class Mean:
    """The mean action of the training data, always."""

    def __init__(self, rows: Steps) -> None:
        self.chunk_HA = np.repeat(rows.gather()[1].mean(0, keepdims=True), rows.chunk, 0)

    def __call__(self, plays: Sequence[Play]) -> Chunks:
        """The same for each."""
        return np.stack([self.chunk_HA] * len(plays))


class Nearest:
    """What was done in the nearest state of the training data, among episodes with this instruction if any are.

    Raises:
        ValueError: the data have no states.
    """

    def __init__(self, rows: Steps) -> None:
        samples = [rows[index] for index in range(len(rows))]
        states = [sample.state_S for sample in samples if sample.state_S is not None]
        if not states:
            raise ValueError("conditions=[nearest] looks for the nearest state, and the training data have none")
        self.states_NS = np.stack(states)
        self.chunks_NHA = np.stack([sample.actions_HA for sample in samples])
        self.instructions = np.array([sample.instruction for sample in samples])
        self.scale_S = self.states_NS.std(0) + 1e-6

    def __call__(self, plays: Sequence[Play]) -> Chunks:
        """Look one up for each."""
        places = [each.attempt(partial(self.find, each)) for each in plays]
        return np.stack([self.chunks_NHA[place or 0] for place in places])

    def find(self, play: Play) -> int:
        """The nearest step."""
        same_N = self.instructions == play.sample.instruction
        away_N = np.linalg.norm((self.states_NS - play.world.numbers) / self.scale_S, axis=1)
        return int(np.where(same_N | ~same_N.any(), away_N, np.inf).argmin())


class Expert:
    """The world's own, who looks at each step."""

    def __call__(self, plays: Sequence[Play]) -> Chunks:
        """One action for each; an expert that fails ends the episode."""
        return np.stack([self.choose(each)[None] for each in plays]).astype("float32")

    def choose(self, play: Play) -> Vector:
        """Its action."""
        action = play.attempt(play.world.choose_expert_action)
        return np.zeros(play.world.width) if action is None else action
