"""Episodes of a simulator that scripts and plans play, many at a time; one whose simulator breaks down has failed."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.play import Player, draw_start, go_to_start
from data_modules.worlds.world import Vector, World, WorldFailure


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

    def __init__(self, world: World, number: int, before: Sequence[int] = (0, 0)) -> None:
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


def play_games(games: Sequence[Game], chooser: Chooser, steps: int) -> None:
    """Play episodes side by side, so many steps from their starts."""
    for game in games:
        game.begin()
    chooser.begin(games)
    for _ in range(steps):
        for game, action in zip(games, chooser.choose(games), strict=True):
            game.act(action, chooser.sees)
