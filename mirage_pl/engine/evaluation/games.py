"""Episodes of a simulator that are played many at a time; one whose simulator breaks down has failed."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.play import Player, check_before, draw_start, go_to_start
from data_modules.worlds.world import Vector, WorldFailure
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import OWN, Measure, Once, Row, Trial

MEASURES: Mapping[str, Measure] = {
    "success": Measure("share", "higher", meaning="success: the goal was reached at any time of the episode."),
    "return": Measure("mean", "higher", meaning="return: the sum of an episode's rewards."),
}
RANDOM, EXPERT = "random", "expert"
SCRIPTS: Mapping[str, float | str] = {RANDOM: "random", EXPERT: 0}
"""Condition -> policy of the script that plays."""


class Game:
    """An episode while it is played.

    Args:
        world: its simulator.
        number: of its start.
        before: the least and the most steps of the expert that lead to it.

    Attributes:
        frames: that were seen.
        led: how many of them before the start.
        rewards: that were earned.
        reached: whether the goal was reached at any time.
        failure: how the simulator broke down; ``None``: it didn't.
    """

    def __init__(self, world: Any, number: int, before: Sequence[int] = (0, 0)) -> None:
        self.world, self.number, self.before, self.led = world, number, before, 0
        self.frames: list[NDArray[np.uint8]] = []
        self.rewards: list[float] = []
        self.reached = False
        self.failure: str | None = None

    def begin(self) -> None:
        """Go to the start."""
        try:
            self.frames = go_to_start(self.world, self.number, self.before)
            self.led = len(self.frames) - 1
        except WorldFailure as failure:
            self.fail(failure)

    def act(self, action: Vector, see: bool) -> None:
        """Act, and look."""
        if self.failure is not None:
            return
        try:
            self.rewards.append(self.world.step(action))
            self.reached = self.reached or self.world.reached
            if see:
                self.frames.append(self.world.draw())
        except WorldFailure as failure:
            self.fail(failure)

    def fail(self, failure: WorldFailure) -> None:
        """The episode is over."""
        self.failure, self.reached = str(failure), False
        side = self.world.side
        self.frames = self.frames or [np.zeros((side, side, 3), np.uint8)]


class Chooser(Protocol):
    """Chooses actions in several episodes at a time.

    Attributes:
        sees: whether it looks at frames.
    """

    sees: bool

    def begin(self, games: Sequence[Game]) -> None:
        """Get ready for other episodes, which are at their starts."""

    def choose(self, games: Sequence[Game]) -> Sequence[Vector]:
        """Choose an action in each; those of episodes that have failed don't count."""


class Scripted:
    """An expert with noise, or random actions.

    Args:
        policy: as in ``task.policies``.
    """

    sees = False

    def __init__(self, policy: float | str) -> None:
        self.policy = policy

    def begin(self, games: Sequence[Game]) -> None:
        """Seed the players."""
        self.players = [Player(self.policy, draw_start(game.number, 1), wander=False) for game in games]

    def choose(self, games: Sequence[Game]) -> Sequence[Vector]:
        """Let each player choose."""
        actions = []
        for game, player in zip(games, self.players, strict=True):
            action = np.zeros(game.world.width)
            if game.failure is None:
                try:
                    action = player.choose_action(game.world)
                except WorldFailure as failure:
                    game.fail(failure)
            actions.append(action)
        return actions


class Starts:
    """Which episodes are played: an evaluation's options that don't depend on who plays.

    Args:
        conditions: names out of ``known``.
        known: who plays besides the model.
        world: opens the simulator.
        starts: how many are played, each from another start; the same ones every time.
        before: the least and the most steps of the expert that lead to a start.
        length: frames of each episode, from its start on.
        at_once: episodes that are played side by side.

    Raises:
        ValueError: a condition that there isn't, or a number out of its range.
    """

    def __init__(
        self,
        conditions: Sequence[str],
        known: Sequence[str],
        world: Callable[[], Any],
        starts: int,
        before: Sequence[int],
        length: int,
        at_once: int,
    ) -> None:
        check_conditions(conditions, known)
        if min(starts, at_once) < 1 or length < 2:
            raise ValueError(f"starts={starts} and at_once={at_once} must be 1 or more, and length={length} 2 or more")
        check_before(before)
        self.conditions, self.world, self.before = tuple(conditions), world, list(before)
        self.count, self.steps, self.at_once = starts, length - 1, at_once
        self.facts: Mapping[str, Any] = {"starts": starts, "before": self.before, "length": length}

    def choose(self, picks: Sequence[int] | None) -> range:
        """Numbers of the starts; which items of a split were picked doesn't matter, only how many."""
        return range(self.count if picks is None else min(self.count, len(picks)))


class GamesTrial(Trial):
    """Episodes that a model plays, and others from the same starts.

    Args:
        starts: options.
        once: keeps episodes, so that an interrupted evaluation goes on.
        numbers: of the starts.

    Attributes:
        clips: what was kept of the model's episodes to be drawn, by their place.
        rows: of the model's.
    """

    def __init__(self, starts: Starts, once: Once, numbers: Sequence[int]) -> None:
        self.starts, self.once, self.numbers = starts, once, numbers
        self.failures: list[dict[str, str]] = []
        self.worlds: list[Any] = []
        self.clips: dict[str, Any] = {}
        self.rows: list[Row] = []

    @abstractmethod
    def open_chooser(self, condition: str, games: Sequence[Game]) -> Chooser:
        """Who plays under a condition."""

    @abstractmethod
    def keep(self, games: Sequence[Game], chooser: Chooser) -> tuple[list[dict[str, Any]], list[Any]]:
        """What else the model's rows say, and what is kept of its episodes to be drawn."""

    def name_group(self, game: Game) -> str:
        """What reports count an episode under."""
        return "all"

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.starts.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Play all episodes; one whose simulator breaks down has failed."""
        if condition == OWN:
            self.clips, self.rows = {}, []
        for first in range(0, len(self.numbers), self.starts.at_once):
            numbers = self.numbers[first : first + self.starts.at_once]
            part = self.once(f"{condition}-{first}", partial(self.play, numbers, condition))
            self.clips |= {row["where"]: clip for row, clip in zip(part["rows"], part["clips"], strict=False)}
            self.rows += part["rows"] if condition == OWN else []
            yield [dict(row) for row in part["rows"]]

    def play(self, numbers: Sequence[int], condition: str) -> dict[str, Any]:
        """Play some episodes: their ``rows``, and of ``own`` the ``clips``."""
        while len(self.worlds) < len(numbers):
            self.worlds.append(self.starts.world())
        games = [Game(world, number, self.starts.before) for world, number in zip(self.worlds, numbers, strict=False)]
        chooser = self.open_chooser(condition, games)
        play_games(games, chooser, self.starts.steps)
        rows = [self.write_row(game) for game in games]
        if condition != OWN:
            return {"rows": rows, "clips": []}
        more, clips = self.keep(games, chooser)
        return {"rows": [row | each for row, each in zip(rows, more, strict=True)], "clips": clips}

    def write_row(self, game: Game) -> Row:
        """A row of ``predictions.jsonl``."""
        row = {"id": f"start {game.number}", "where": f"start:{game.number}", "group": self.name_group(game)}
        broken = {} if game.failure is None else {"error": game.failure}
        return row | {"success": game.reached, "return": None if game.failure else sum(game.rewards)} | broken

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Which episodes failed with their simulator."""
        broken = [row for row in rows if "error" in row]
        if not broken:
            return ()
        return [f"{len(broken)} episode(s) count as failed because the simulator broke down: {broken[0]['error']}"]


def play_games(games: Sequence[Game], chooser: Chooser, steps: int) -> None:
    """Play episodes side by side, so many steps from their starts."""
    for game in games:
        game.begin()
    chooser.begin(games)
    for _ in range(steps):
        for game, action in zip(games, chooser.choose(games), strict=True):
            game.act(action, chooser.sees)
