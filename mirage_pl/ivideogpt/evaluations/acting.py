"""Episodes that a trained policy plays from fixed starts, beside random actions and the scripted expert."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image

from data_modules.episodes.episode import Episode
from data_modules.episodes.video import enlarge
from data_modules.worlds.play import draw_start
from data_modules.worlds.play import play as play_known
from data_modules.worlds.world import World
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial
from mirage_pl.ivideogpt.control.playing import play

POLICIES: Mapping[str, float | str] = {"random": "random", "expert": 0}
"""Condition -> who plays in place of the policy."""
SHOWN = 128
"""Pixels: smaller frames are shown larger."""


class Act:
    """Score episodes: whether they reach the goal at any time, and the sum of their rewards.

    Args:
        world: opens the simulator.
        length: frames of an episode.
        starts: how many are played, each from another start; the same ones every time.
        conditions: names out of ``POLICIES``.

    Raises:
        ValueError: a condition that there isn't, or no start.
    """

    name = "acting"
    measures: Mapping[str, Measure] = {
        "success": Measure("share", "higher", meaning="Success: the goal is reached at some time of an episode."),
        "return": Measure("mean", "higher", meaning="Return: the sum of an episode's rewards."),
    }
    conditions_in, numbers_in, words = "conditions", "acting", "mirage_pl.ivideogpt.evaluations.acting_words"

    def __init__(
        self, world: Callable[[], World], length: int, starts: int, conditions: Sequence[str] = tuple(POLICIES)
    ) -> None:
        check_conditions(conditions, POLICIES)
        if starts < 1 or length < 2:
            raise ValueError(f"starts={starts} must be 1 or more, and length={length} 2 or more")
        self.world, self.length, self.starts, self.conditions = world, length, starts, tuple(conditions)
        self.facts: Mapping[str, Any] = {"starts": starts, "length": length}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ActTrial":
        """Take the starts; which items of a split were picked doesn't matter, only how many."""
        return ActTrial(self, module, once, self.starts if picks is None else min(self.starts, len(picks)))


class ActTrial(Trial):
    """One policy at some starts.

    Args:
        evaluation: its options.
        module: has a ``policy``.
        once: keeps episodes, so that an interrupted evaluation goes on.
        starts: how many.
    """

    def __init__(self, evaluation: Act, module: Any, once: Once, starts: int) -> None:
        self.evaluation, self.module, self.once, self.starts = evaluation, module, once, starts
        self.failures = ()
        self.simulator: World | None = None
        self.frames: dict[str, Any] = {}

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Play from every start."""
        for start in range(self.starts):
            played = self.once(f"{condition}-{start}", partial(self.play, start, condition))
            if condition == OWN:
                self.frames[f"start:{start}"] = played["frames"]
            yield [{"id": f"start {start}", "where": f"start:{start}", "group": "all", **played["scores"]}]

    def play(self, start: int, condition: str) -> dict[str, Any]:
        """Play one episode: its ``scores``, and its ``frames``."""
        self.simulator = self.simulator or self.evaluation.world()
        draws = draw_start(start)
        episode: Episode
        if condition == OWN:
            with torch.no_grad():
                episode, facts = play(self.simulator, self.module.policy, self.evaluation.length - 1, draws)
            reached = facts["reached"]
        else:
            episode, reached = play_known(self.simulator, POLICIES[condition], self.evaluation.length, draws, False)
        assert episode.rewards_S is not None
        scores = {"success": bool(reached), "return": float(episode.rewards_S.sum())}
        return {"scores": scores, "frames": torch.from_numpy(episode.frames_THWC)}

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """The episode."""
        yield "", [Image.fromarray(frame) for frame in enlarge(self.frames[row["where"]].numpy(), SHOWN)]
