"""Episodes that are played by imagining what was told, beside other ways from the same starts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from data_modules.episodes.video import enlarge, place_beside
from mirage_pl.deepverse.batch import fit_frames
from mirage_pl.deepverse.evaluations.acting import ExpertClips, ImaginedActions, Telling
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.engine.evaluation.games import MEASURES, SCRIPTS, Chooser, Game, GamesTrial, Scripted, Starts
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row

OTHER, NOTHING, READ = "wrong_instruction", "no_instruction", "expert_clip"
TELLING: Mapping[str, Telling] = {
    OWN: lambda world: str(world.instruction),
    OTHER: lambda world: str(world.others[0]),
    NOTHING: lambda world: None,
    READ: lambda world: None,
}
CONDITIONS = (*SCRIPTS, READ, OTHER, NOTHING)
EYES = 128
"""Pixels: smaller frames are shown larger."""


class Control:
    """Play episodes: imagine a clip of what is told, read what is done in it, and do that.

    Args:
        conditions: names out of ``CONDITIONS``.
        world: opens the simulator.
        sampler: how units are drawn.
        ahead: units that are imagined at a time.
        execute: actions that are taken of them before the next look.
        seed: of what is drawn.
        starts: how many are played, each from another start; the same ones every time.
        before: the least and the most steps of the expert that lead to a start.
        length: frames of each episode, from its start on.
        at_once: episodes that are played side by side.

    Raises:
        ValueError: a condition that there isn't, or a number out of its range.
    """

    name = "control"
    measures: Mapping[str, Measure] = MEASURES
    conditions_in, numbers_in = "conditions", "acting"
    words = "mirage_pl.deepverse.evaluations.control_words"

    def __init__(
        self,
        conditions: Sequence[str],
        world: Callable[[], Any],
        sampler: Sampler,
        ahead: int,
        execute: int,
        seed: int,
        starts: int,
        before: Sequence[int],
        length: int,
        at_once: int,
    ) -> None:
        self.starts = Starts(conditions, CONDITIONS, world, starts, before, length, at_once)
        if min(ahead, execute) < 1:
            raise ValueError(f"ahead={ahead} units and execute={execute} actions must be 1 or more")
        self.sampler, self.ahead, self.execute, self.seed = sampler, ahead, execute, seed
        options = {"ahead": ahead, "execute": execute, "seed": seed, "steps": sampler.steps}
        self.facts: Mapping[str, Any] = {**self.starts.facts, **options}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ControlTrial":
        """Take the starts.

        Raises:
            ValueError: the model isn't told what is to be done, or a plan is shorter than what is done of it.
        """
        if data.collate.reads.walks:
            raise ValueError("says=actions: this run is told what is done; control needs one with says=instruction")
        if self.execute > (most := self.ahead * module.world.stride):
            raise ValueError(f"execute={self.execute}, but ahead={self.ahead} unit(s) are {most} actions; lower it")
        return ControlTrial(self, module, data.collate, once, self.starts.choose(picks))


class ControlTrial(GamesTrial):
    """One model in one simulator.

    Args:
        evaluation: its options.
        module: reads actions, and holds a world model.
        collate: makes batches of frames.
        once: keeps episodes, so that an interrupted evaluation goes on.
        numbers: of the starts.
    """

    def __init__(self, evaluation: Control, module: Any, collate: Any, once: Once, numbers: Sequence[int]) -> None:
        super().__init__(evaluation.starts, once, numbers)
        self.evaluation, self.module, self.collate = evaluation, module, collate

    def open_chooser(self, condition: str, games: Sequence[Game]) -> Chooser:
        """Who plays under a condition."""
        if condition in SCRIPTS:
            return Scripted(SCRIPTS[condition])
        options = self.evaluation
        kind = ExpertClips if condition == READ else ImaginedActions
        return kind(
            self.module, self.collate, options.sampler, options.ahead, options.execute, options.seed, TELLING[condition]
        )

    def keep(self, games: Sequence[Game], chooser: Chooser) -> tuple[list[dict[str, Any]], list[Any]]:
        """What was told; frames as they were seen and imagined."""
        assert isinstance(chooser, ImaginedActions)
        told = [{"told": game.world.instruction} for game in games]
        clips = list[Any]()
        for game, imagined in zip(games, chooser.imagined, strict=True):
            seen = np.stack(game.frames[game.led :])
            ours = np.stack(imagined) if imagined else np.zeros((0, *self.collate.size, 3), np.uint8)
            clips.append((torch.from_numpy(seen), torch.from_numpy(ours)))
        return told, clips

    def name_group(self, game: Game) -> str:
        """What is to be done, whatever with."""
        return str(game.world.group)

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw an episode as it went, and beside each frame what the model had imagined."""
        seen_THWC, imagined_FHWC = self.clips[row["where"]]
        fitted = fit_frames(seen_THWC.cpu().numpy(), self.collate.size).movedim(1, -1).numpy()
        count = min(len(fitted) - 1, len(imagined_FHWC))
        beside = np.concatenate((fitted[:1], imagined_FHWC[:count].cpu().numpy()))
        yield "", [Image.fromarray(frame) for frame in enlarge(place_beside([fitted[: count + 1], beside]), EYES)]
