"""BabyAI: rooms of a grid with keys, balls, boxes and doors, missions in words, and a bot with a stack of sub-goals.

An action is one number: ``ACTIONS`` lie at even distances from -1 to 1, and 0 does nothing.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from difflib import get_close_matches
from io import StringIO
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from data_modules.maker import check_repeats
from data_modules.worlds.rendering import check_side
from data_modules.worlds.world import SEEDS, Vector, WorldFailure

ACTIONS = ("left", "right", "forward", "done", "pickup", "drop", "toggle")
KINDS = ("key", "ball", "box", "door")
COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
NOTHING = (-1.0, -1.0, 0.0, 0.0, 0.0)
"""The numbers of a thing that there isn't."""
CARRIED = 3.0
"""State of a thing that is carried; that of a door is 0 open, 1 closed, 2 locked."""
KEPT = {0: "test", 3: "val"}
"""Sum of the numbers of a thing's colour and kind, modulo that of colours -> the split whose missions are about it."""
LATER = {"PickupSubgoal": "pick it up", "DropSubgoal": "drop it", "OpenSubgoal": "open it", "CloseSubgoal": "close it"}
"""Sub-goals without a place, in words."""


@dataclass
class BabyAI:
    """One of several levels in each episode.

    Attributes:
        side: pixels of a frame.
        levels: names of levels, such as ``GoToLocal``.
        things: keys, balls, boxes and doors of which the state tells; a level may have fewer.
        depth: sub-goals of the bot's stack that a plan says.
        new_missions: missions of val and test are about things of a colour and kind that no training mission is about.

    Raises:
        ValueError: no such level, or MiniGrid isn't installed.
    """

    width: ClassVar[int] = 1

    side: int
    levels: Sequence[str]
    things: int
    depth: int
    new_missions: bool
    level: str = field(init=False)

    def __post_init__(self) -> None:
        check_side(self.side)
        if min(self.things, self.depth, len(self.levels)) < 1:
            raise ValueError(
                f"task.levels={list(self.levels)}, things={self.things}, depth={self.depth}: give 1 or more of each"
            )
        check_repeats("task.levels", self.levels)
        self.simulators = {level: open_level(level) for level in self.levels}
        self.level = self.levels[0]
        self.reset(np.random.default_rng(0))

    @property
    def simulator(self) -> Any:
        """The level that is played."""
        return self.simulators[self.level]

    def reset(self, draws: np.random.Generator) -> None:
        """Choose a level, and begin an episode of it."""
        from minigrid.utils.baby_ai_bot import BabyAIBot

        self.level = str(draws.choice(list(self.levels)))
        with redirect_stdout(StringIO()):  # it prints what it draws and throws away
            self.simulator.reset(seed=int(draws.integers(SEEDS)))
        grid = self.simulator.grid
        cells = [grid.get(column, row) for row in range(grid.height) for column in range(grid.width)]
        self.placed = [cell for cell in cells if cell is not None and cell.type in KINDS]
        if len(self.placed) > self.things:
            raise ValueError(
                f"{self.level} has {len(self.placed)} things, but task.things={self.things}; raise it, and "
                "task.numbers.state by 5 for each"
            )
        self.succeeded = self.over = False
        self.lost, self.advice = "", 0
        self.bot = BabyAIBot(self.simulator)
        self.bot.vis_mask[:] = True  # it knows all that the state tells
        self.ask_bot(None)

    def step(self, action: Vector) -> float:
        """Do the nearest of the actions; return the reward. After the episode's end nothing happens."""
        if self.over:
            return 0.0
        number = round((float(np.clip(action[0], -1, 1)) + 1) / 2 * (len(ACTIONS) - 1))
        done = self.simulator.actions[ACTIONS[number]]
        _, reward, ended, _, _ = self.simulator.step(done)
        self.succeeded, self.over = reward > 0, bool(ended)
        if not self.over:
            self.ask_bot(done)
        return float(reward)

    def ask_bot(self, done: Any) -> None:
        """Tell the bot what was done, and ask what it would do; it may be lost, as when a box has been opened."""
        if not self.lost:
            try:
                self.advice = ACTIONS.index(self.bot.replan(done).name)
            except Exception as error:  # of many kinds
                self.lost = f"{type(error).__name__} {error}".strip()

    def draw(self) -> NDArray[np.uint8]:
        """Draw the whole grid."""
        tile = -(-self.side // max(self.simulator.width, self.simulator.height))
        frame = Image.fromarray(self.simulator.get_frame(highlight=False, tile_size=tile))
        return np.asarray(ImageOps.pad(frame, (self.side, self.side)))

    @property
    def instruction(self) -> str:
        """The mission."""
        return str(self.simulator.mission)

    @property
    def asked(self) -> Any:
        """The first thing that the mission is about: its description."""
        part = self.simulator.instrs
        while hasattr(part, "instr_a"):
            part = part.instr_a
        return part.desc_move if hasattr(part, "desc_move") else part.desc

    @property
    def others(self) -> list[str]:
        """The mission with another thing in place of the first: those that are there, or else those that might be; of a
        mission to which any fits, other missions."""
        asked = self.asked
        words = next(words for words in name_thing(asked) if words in self.instruction)
        there = [(thing.color, thing.type) for thing in self.placed]
        might = [(colour, kind) for kind in KINDS for colour in COLOURS]
        for pairs in (there, might):
            wrong = [
                f"the {colour} {kind}"
                for colour, kind in dict.fromkeys(pairs)
                if (kind == "door") == (asked.type == "door")
                and (asked.color not in (None, colour) or asked.type not in (None, kind))
            ]
            if wrong:
                return [self.instruction.replace(words, other, 1) for other in wrong]
        return [f"go to the {colour} ball" for colour in COLOURS]

    @property
    def group(self) -> str:
        """The level."""
        return self.level

    @property
    def goal(self) -> str:
        """The kind of the first thing that the mission is about."""
        return str(self.asked.type or "any thing")

    @property
    def split(self) -> str | None:
        """With new missions the split that has those about such a thing."""
        asked = self.asked
        if not self.new_missions:
            return None
        if asked.color is None or asked.type is None:
            return "train"
        return KEPT.get((COLOURS.index(asked.color) + KINDS.index(asked.type)) % len(COLOURS), "train")

    @property
    def plan(self) -> str:
        """The top of the bot's stack of sub-goals, in words; nothing if it is lost."""
        if self.lost:
            return ""
        if self.over:
            return "stay"
        return ", ".join(say_goal(goal) for goal in self.bot.stack[: -self.depth - 1 : -1]) or "stay"

    @property
    def numbers(self) -> Vector:
        """Where the agent is and looks, [x, y, dx, dy], and of each thing [kind, colour, ahead, right, state].

        Kind and colour are places in ``KINDS`` and ``COLOURS``; ahead and right are cells, as the agent sees them. A
        thing's place in the list is that in the grid at the episode's begin, row by row.
        """
        simulator = self.simulator
        rows = [self.measure(thing) for thing in self.placed] + [NOTHING] * (self.things - len(self.placed))
        return np.array(
            [*simulator.agent_pos, *simulator.dir_vec, *(number for row in rows for number in row)], np.float64
        )

    def measure(self, thing: Any) -> tuple[float, ...]:
        """The numbers of a thing."""
        simulator = self.simulator
        named = float(KINDS.index(thing.type)), float(COLOURS.index(thing.color))
        if simulator.carrying is thing:
            return (*named, 0.0, 0.0, CARRIED)
        if simulator.grid.get(*thing.cur_pos) is not thing:
            return NOTHING
        away = np.subtract(thing.cur_pos, simulator.agent_pos)
        state = 0.0 if thing.type != "door" or thing.is_open else 2.0 if thing.is_locked else 1.0
        return (*named, float(away @ simulator.dir_vec), float(away @ simulator.right_vec), state)

    @property
    def reached(self) -> bool:
        """Whether the mission was rewarded."""
        return self.succeeded

    def choose_expert_action(self) -> Vector:
        """Do what the bot advises.

        Raises:
            WorldFailure: it is lost.
        """
        if self.lost:
            raise WorldFailure(f"the bot is lost ({self.lost})")
        return np.array([self.advice / (len(ACTIONS) - 1) * 2 - 1])


def open_level(name: str) -> Any:
    """Open a level's simulator.

    Raises:
        ValueError: no such level, or MiniGrid isn't installed.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    try:
        import gymnasium
        import minigrid  # noqa: F401  its levels are registered by it
    except ImportError as error:
        raise ValueError(f"MiniGrid isn't installed ({error}); pip install 'mirage_pl[babyai]'") from None
    levels = {match[1]: each for each in gymnasium.registry if (match := re.fullmatch(r"BabyAI-(\w+)-v\d+", each))}
    if name not in levels:
        near = get_close_matches(name, levels) or sorted(levels)
        raise ValueError(f"task.levels has {name}, which is no level of BabyAI; choose {', '.join(near)}")
    return gymnasium.make(levels[name], disable_env_checker=True).unwrapped


def name_thing(description: Any) -> Iterator[str]:
    """What a mission may call a thing, the longest first."""
    words = " ".join(filter(None, [description.color, description.type or "object"]))
    places = {"front": " in front of you", "behind": " behind you", "left": " on your left", "right": " on your right"}
    for article in ("the", "a"):
        yield f"{article} {words}{places.get(description.loc, '')}"


def say_goal(goal: Any) -> str:
    """A sub-goal in words."""
    kind = type(goal).__name__
    if kind != "GoNextToSubgoal":
        return LATER.get(kind, "look around")
    where = goal.datum
    colour, thing = getattr(where, "color", None), getattr(where, "type", None)
    words = (
        "a free place" if not hasattr(where, "type") else f"the {' '.join(filter(None, [colour, thing or 'object']))}"
    )
    return f"go {'next ' if goal.reason == 'PutNext' else ''}to {words}"
