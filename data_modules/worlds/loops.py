"""Walks that come back: round on the spot, out and back the same way, along the sides of a rectangle.

What is undone is what was done on a free way, one action at a time, so that the eye ends where it was (in Doom nearly:
one slides on).
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

Action = tuple[int, int, int]
ALL = 0.999
"""Share of an action's way that is free if nothing is in it."""
RUN = 4
"""Actions alike on the way out, at most."""
TURNING = 0.4
"""Share of runs that turn."""
MOVES = ((1, 0), (1, 0), (1, -1), (1, 1), (0, -1), (0, 1))
"""What the way out draws from: mostly ahead."""


class Foreseen(Protocol):
    """What a loop asks of a world."""

    def foresee(self, action: Action, hold: int) -> float:
        """The share of the way of an action held for so many frames that is free; the world stays as it is."""


def circle(world: Foreseen, hold: int, count: int, draws: np.random.Generator) -> Iterator[Action]:
    """Turn on the spot, always the same way."""
    turn = int(draws.choice([-1, 1]))
    for _ in range(count):
        yield 0, 0, turn


def out_and_back(world: Foreseen, hold: int, count: int, draws: np.random.Generator) -> Iterator[Action]:
    """Walk and turn for half of the time, one or the other, and then undo all of it."""
    done, action, left = list[Action](), (0, 0, 0), 0
    for _ in range(count // 2):
        if not left or world.foresee(action, hold) < ALL:
            action, left = choose_run(world, hold, draws), int(draws.integers(1, RUN + 1))
        left -= 1
        done.append(action)
        yield action
    yield from [(0, 0, 0)] * (count % 2)
    yield from map(undo, reversed(done))


def choose_run(world: Foreseen, hold: int, draws: np.random.Generator) -> Action:
    """A turn, or a move whose way is free."""
    for number in draws.permutation(len(MOVES)):
        if draws.random() < TURNING:
            break
        if world.foresee((*MOVES[number], 0), hold) >= ALL:
            return (*MOVES[number], 0)
    return 0, 0, int(draws.choice([-1, 1]))


def undo(action: Action) -> Action:
    """What takes an action back."""
    ahead, aside, clockwise = action
    return -ahead, -aside, -clockwise


def square(world: Foreseen, hold: int, count: int, draws: np.random.Generator) -> Iterator[Action]:
    """Go ahead, aside, back, and aside again, looking the same way, round and round; what isn't free is made shorter.

    Where the third side isn't free, the way back is that of the first two; where no side is, one turns on the spot.
    """
    side, left = max(1, count // 4), count
    ahead, aside = (max(pair, key=lambda move: measure_free(world, move, hold, side)) for pair in choose_sides(draws))
    there = [measure_free(world, move, hold, side) for move in (ahead, aside)]
    while left:
        gone, there[0] = left, min(there[0], measure_free(world, ahead, hold, side))
        for action in go_round(world, hold, (ahead, aside), there):
            if not left:
                return
            left -= 1
            yield action
        if left == gone:  # no side is free
            yield from circle(world, hold, left, draws)
            return


def choose_sides(draws: np.random.Generator) -> tuple[list[Action], list[Action]]:
    """Ahead and back, and both sides, each in a drawn order."""
    turns = draws.choice([-1, 1], 2).tolist()
    return [(turns[0], 0, 0), (-turns[0], 0, 0)], [(0, turns[1], 0), (0, -turns[1], 0)]


def go_round(world: Foreseen, hold: int, sides: tuple[Action, Action], lengths: list[int]) -> Iterator[Action]:
    """One round, back to where it began."""
    yield from [sides[0]] * lengths[0]
    width = measure_free(world, sides[1], hold, lengths[1])
    yield from [sides[1]] * width
    if measure_free(world, undo(sides[0]), hold, lengths[0]) == lengths[0]:
        yield from [undo(sides[0])] * lengths[0] + [undo(sides[1])] * width
    else:
        yield from [undo(sides[1])] * width + [undo(sides[0])] * lengths[0]


def measure_free(world: Foreseen, move: Action, hold: int, most: int) -> int:
    """How many actions of a move are free from here, up to so many."""
    return next((number for number in range(most) if world.foresee(move, hold * (number + 1)) < ALL), most)
