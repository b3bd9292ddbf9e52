"""Doom, as ViZDoom runs it: maps to walk in, without monsters, with colours, depth, normals and poses.

Frames are drawn larger and made small. ViZDoom's depth is a byte, so that of the map's own walls and floors is
computed; its byte says where something else is in front. Lengths are in metres, angles in degrees.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.maker import check_repeats
from data_modules.worlds.doom_game import WIDTHS, Game, load_vizdoom
from data_modules.worlds.doom_map import DoomMap, list_maps, read_map
from data_modules.worlds.doom_space import cast_rays
from data_modules.worlds.views import View
from data_modules.worlds.walking import face
from data_modules.worlds.world import SEEDS, WorldFailure

METRE = 32.0
"""Doom's units."""
STRETCH = 1.2
"""Focal length down over that across, as Doom draws at any size."""
SECOND = 35
"""Tics."""
FRICTION, THRUST = 0.90625, 1 / 32
"""What is left of a speed after a tic, and units a tic that one gains per unit of a button."""
LEVEL, NEAREST = 7.14, 9.1
"""Units from one level of the depth buffer to the next, and the depth of level 0 (measured with 1.3.2)."""
AGREES = (12.0, 0.04)
"""The buffer and the map agree if depth differs by less than so many units, or such a share of it."""
ROOM, BEGUN = 40.0, 56.0
"""Units of room that a walker keeps to walls, and has where it begins."""
JUMP = 64.0
"""Units: who gets farther in a frame was teleported."""
EXPOSED = 8
"""Places of a map by which its brightness is known."""
LIMITS = (0.35, 1.5)
"""Of the exponent that makes a map brighter or darker."""


@dataclass
class Doom:
    """The world.

    Attributes:
        height: pixels of a frame.
        width: pixels of a frame, 4 to 3 of its height.
        maps: names of maps, in the order of their numbers.
        wad: the file that holds them; ``None``: freedoom2.wad, which comes with ViZDoom.
        tics: 35ths of a second of a frame.
        speed: metres a second that one gets to.
        turn: degrees of a frame.
        brightness: mean share of light that a map's frames are brought to; ``None``: they stay.
        idle: tics at the place where a walk begins, until the eye has come to rest.

    Raises:
        ValueError: ViZDoom isn't installed or doesn't start, or a size or a map that there isn't.
    """

    height: int
    width: int
    maps: Sequence[str]
    wad: str | None
    tics: int
    speed: float
    turn: float
    brightness: float | None
    idle: int
    exponents: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        vizdoom = load_vizdoom()
        self.factor = find_factor(self.width)
        if self.width * 3 != self.height * 4 or not self.factor or self.tics < 1 or self.idle < 1:
            raise ValueError(
                f"task has width={self.width}, height={self.height}, world.tics={self.tics}, idle={self.idle}; give a "
                "width of 16, 32, 64, 80, 128 or 160 with 4 to 3 of height, and 1 tic or more"
            )
        if not (0 < self.speed < math.inf and 0 < self.turn <= 180):
            raise ValueError(f"task.world.speed={self.speed} must be above 0, turn={self.turn} above 0 to 180 degrees")
        if self.brightness is not None and not 0 < self.brightness < 1:
            raise ValueError(f"task.world.brightness={self.brightness} must be a share above 0 and below 1, or null")
        self.file = Path(self.wad or Path(vizdoom.__file__).parent / "freedoom2.wad").absolute()
        known = list_maps(self.file)
        if wrong := [name for name in self.maps or ["none"] if str(name).upper() not in known]:
            names = ", ".join(known) or "no map in Doom's form"
            raise ValueError(f"task.world.maps has {wrong[0]}, but {self.file.name} has {names}")
        check_repeats("task.world.maps", [str(name).upper() for name in self.maps])  # or a new map is a known one
        self.game, self.name = Game(self.file, self.width * self.factor), str(self.maps[0]).upper()
        try:
            self.game.start(self.name)
        except WorldFailure as failure:
            raise ValueError(str(failure)) from None

    @property
    def num_maps(self) -> int:
        """How many maps there are."""
        return len(self.maps)

    @property
    def intrinsics_33(self) -> NDArray[np.float32]:
        """A quarter of a circle from left to right, and pixels that aren't square."""
        lens = [[self.width / 2, 0, self.width / 2], [0, STRETCH * self.width / 2, self.height / 2], [0, 0, 1]]
        return np.array(lens, np.float32)

    @property
    def plan(self) -> DoomMap:
        """The map that one is in."""
        return read_map(self.file, self.name)

    def reset(self, number: int, draws: np.random.Generator) -> None:
        """Begin somewhere in a map."""
        self.name = str(self.maps[number]).upper()
        if self.name not in self.exponents and self.brightness is not None:
            self.game.begin(self.name, 0)
            self.exponents[self.name] = self.expose(self.brightness)
        self.game.begin(self.name, int(draws.integers(SEEDS)))
        self.go_somewhere(draws)

    def go_somewhere(self, draws: np.random.Generator) -> None:
        """Go to a place with room around, looking anywhere, and wait until all stands still."""
        x, y = self.plan.draw_place(draws, BEGUN)
        self.game.move(x, y)
        self.game.act((0, 0, float(draws.uniform(-180, 180))), 1)
        self.game.act((0, 0, 0), self.idle)
        eye = self.game.find_eye()
        if np.hypot(eye.x - x, eye.y - y) > JUMP:
            raise WorldFailure(f"nobody can be at {x:.0f}, {y:.0f} of {self.name}")

    def expose(self, brightness: float) -> float:
        """The exponent that makes a map's light, 0 to 1, so bright on average; found at some places of it."""
        draws, levels = np.random.default_rng([int(byte) for byte in self.name.encode()]), list[NDArray[np.float64]]()
        for _ in range(EXPOSED):
            self.go_somewhere(draws)
            levels.append(self.game.see()[0].astype(float).mean(-1).ravel() / 255)
        light, (low, high) = np.concatenate(levels), LIMITS
        for _ in range(20):  # the mean falls as the exponent grows
            middle = (low + high) / 2
            low, high = (middle, high) if (light**middle).mean() > brightness else (low, middle)
        return (low + high) / 2

    def step(self, action: tuple[int, int, int]) -> None:
        """Act for a frame."""
        before, (ahead, aside, clockwise) = self.game.find_eye(), action
        push = self.way / self.tics * (1 - FRICTION) / FRICTION / THRUST / max(1.0, np.hypot(ahead, aside))
        self.game.act((ahead * push, aside * push, clockwise * self.turn / self.tics), self.tics)
        eye = self.game.find_eye()
        if np.hypot(eye.x - before.x, eye.y - before.y) > JUMP:
            raise WorldFailure(f"a teleporter of {self.name}")

    @property
    def way(self) -> float:
        """Units of a frame at full speed."""
        return self.speed * METRE / SECOND * self.tics

    def look(self) -> View:
        """What is seen from here."""
        (screen, buffer), eye, factor = self.game.see(), self.game.find_eye(), self.factor
        light = screen.reshape(self.height, factor, self.width, factor, 3).mean((1, 3)) / 255
        frame = (light ** self.exponents.get(self.name, 1.0) * 255).round().astype(np.uint8)
        depth, normals = cast_rays(self.plan, eye, self.intrinsics_33, (self.height, self.width))
        depth, known = join_depth(depth, buffer[factor // 2 :: factor, factor // 2 :: factor])
        pose = face(eye.x / METRE, -eye.height / METRE, eye.y / METRE, eye.angle)
        return View(frame, depth / np.float32(METRE), pose, normals * known[..., None])

    def foresee(self, action: tuple[int, int, int], hold: int) -> float:
        """The share of an action's way on which one keeps away from walls; the world stays as it is."""
        eye, (ahead, aside, clockwise) = self.game.find_eye(), action
        x, y, angle, least = eye.x, eye.y, eye.angle, min(ROOM, self.plan.measure_room(eye.x, eye.y) + 1)
        way = self.way / max(1.0, np.hypot(ahead, aside))
        for frame in range(hold if ahead or aside else 0):
            angle += np.radians(self.turn) * clockwise
            x += way * (ahead * np.sin(angle) + aside * np.cos(angle))
            y += way * (ahead * np.cos(angle) - aside * np.sin(angle))
            if self.plan.measure_room(x, y) < least:
                return frame / hold
        return 1.0


def join_depth(
    depth_HW: NDArray[np.float32], levels_HW: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The depth of the map, and that of the buffer where something is in front of it, in Doom's units.

    Returns:
        Depth, 0 where it isn't known; and where it is the map's, [H, W].
    """
    coarse_HW = levels_HW.astype(np.float32) * np.float32(LEVEL) + np.float32(NEAREST)
    near_HW = coarse_HW < depth_HW - np.maximum(AGREES[0], AGREES[1] * depth_HW)
    things_HW = (near_HW | (depth_HW == 0)) & (levels_HW < np.iinfo(np.uint8).max)
    return np.where(things_HW, coarse_HW, depth_HW).astype(np.float32), ~things_HW & (depth_HW > 0)


def find_factor(width: int) -> int:
    """How much larger frames of a width are drawn: odd, so that the middle of a pixel is that of one drawn; 0: not."""
    return next((drawn // width for drawn in WIDTHS if width > 0 and drawn % width == 0 and drawn // width % 2), 0)
