"""Doom's maps as a WAD file holds them: lines between sectors, heights, and where one can walk.

Shapes: L lines, S sectors, N things. Lengths are Doom's units, of which 32 are about a metre; x is east, y north.
"""

import struct
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LUMPS = ("THINGS", "LINEDEFS", "SIDEDEFS", "VERTEXES", "SEGS", "SSECTORS", "NODES", "SECTORS")
"""What follows the name of a map, in this order."""
LINE = np.dtype([("ends", "<u2", 2), ("flags", "<u2"), ("special", "<u2"), ("tag", "<u2"), ("sides", "<u2", 2)])
SIDE = np.dtype([("offsets", "<i2", 2), ("textures", "S8", 3), ("sector", "<u2")])
SECTOR = np.dtype([("heights", "<i2", 2), ("flats", "S8", 2), ("light", "<i2"), ("special", "<i2"), ("tag", "<i2")])
THING = np.dtype([("place", "<i2", 2), ("angle", "<i2"), ("kind", "<i2"), ("flags", "<i2")])
SKY = b"F_SKY1"
BLOCKS = 1
"""Flag of a line that nobody passes."""
STEP, HEADROOM = 24, 56
"""The highest step that one climbs, and the lowest room that one fits in; there is no jumping down either."""
HARMS = (4, 5, 7, 11, 16)
"""Kinds of sectors that hurt."""
SOLID = frozenset({*range(25, 33), *range(35, 38), *range(41, 58), 70, *range(73, 79), 85, 86, 2028, 2035})
"""Kinds of things that stand in the way: columns, torches, trees, barrels."""
THICK = 20
"""How far they reach."""
TRIES = 20_000
"""Places that are drawn at most until one is free."""


@dataclass(frozen=True)
class DoomMap:
    """A map.

    Attributes:
        ends_L22: of lines, their two ends.
        sectors_L2: to the right and to the left of a line, seen from its first end; -1: nothing is there.
        blocked_L: nobody walks over it: walls, high steps, low doors, the rims of what hurts, and what does something.
        floors_S: heights.
        ceilings_S: heights.
        skies_S: whether the ceiling is the sky.
        safe_S: one can stand there, and it doesn't hurt.
        things_N2: where things stand in the way.
    """

    ends_L22: Floats
    sectors_L2: NDArray[np.int64]
    blocked_L: NDArray[np.bool_]
    floors_S: Floats
    ceilings_S: Floats
    skies_S: NDArray[np.bool_]
    safe_S: NDArray[np.bool_]
    things_N2: Floats

    @cached_property
    def walls_L22(self) -> Floats:
        """The lines that nobody walks over."""
        return self.ends_L22[self.blocked_L]

    def measure_room(self, x: float, y: float) -> float:
        """How far the nearest wall or thing is."""
        place = np.array([x, y])
        first, way = self.walls_L22[:, 0], self.walls_L22[:, 1] - self.walls_L22[:, 0]
        share = ((place - first) * way).sum(1) / np.maximum((way * way).sum(1), 1)
        nearest = first + share.clip(0, 1)[:, None] * way - place
        things = np.hypot(*(self.things_N2 - place).T) - THICK
        return float(min(np.hypot(*nearest.T).min(initial=np.inf), things.min(initial=np.inf)))

    def find_sector(self, x: float, y: float) -> int:
        """The sector of a place; -1: it is outside."""
        far_L, right_L = cross_lines(self.ends_L22, np.array([x, y]), np.array([[1.0, 0.00123]]))
        first = int(far_L[0].argmin())
        return -1 if np.isinf(far_L[0, first]) else int(self.sectors_L2[first, 0 if right_L[0, first] else 1])

    def draw_place(self, draws: np.random.Generator, room: float) -> tuple[float, float]:
        """Draw a place where one can stand, with room around.

        Raises:
            ValueError: none is found.
        """
        low, high = self.ends_L22.min((0, 1)), self.ends_L22.max((0, 1))
        for _ in range(TRIES):
            x, y = draws.uniform(low, high).tolist()
            if self.measure_room(x, y) >= room and (sector := self.find_sector(x, y)) >= 0 and self.safe_S[sector]:
                return x, y
        raise ValueError(f"there is no place with {room:g} units of room around")


def cross_lines(ends_L22: Floats, eye_2: Floats, ways_W2: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Where rays cross lines.

    Args:
        ends_L22: of the lines.
        eye_2: where the rays begin.
        ways_W2: where they go.

    Returns:
        How many times its way each ray has gone then, [W, L], infinite where it doesn't cross; and whether it comes
        from the right of the line.
    """
    first_L2 = ends_L22[:, 0] - eye_2
    along_L2 = ends_L22[:, 1] - ends_L22[:, 0]
    turn_WL = ways_W2[:, :1] * along_L2[:, 1] - ways_W2[:, 1:] * along_L2[:, 0]
    safe_WL = np.where(turn_WL == 0, 1, turn_WL)
    far_WL = (first_L2[:, 0] * along_L2[:, 1] - first_L2[:, 1] * along_L2[:, 0]) / safe_WL
    share_WL = (first_L2[:, 0] * ways_W2[:, 1:] - first_L2[:, 1] * ways_W2[:, :1]) / safe_WL
    crosses_WL = (turn_WL != 0) & (far_WL > 0) & (share_WL >= 0) & (share_WL < 1)
    return np.where(crosses_WL, far_WL, np.inf), turn_WL < 0


@lru_cache(maxsize=4)
def list_lumps(wad: Path) -> tuple[tuple[str, int, int], ...]:
    """The name, place and size of every part of a WAD file.

    Raises:
        ValueError: no such file, or another kind; names it.
    """
    try:
        content = wad.read_bytes()
        kind, count, at = struct.unpack_from("<4sII", content)
        lumps = [struct.unpack_from("<II8s", content, at + 16 * number) for number in range(count)]
    except (OSError, struct.error) as error:
        reason = type(error).__name__ if isinstance(error, OSError) else "it has other bytes"
        raise ValueError(f"{wad} can't be read as a WAD file ({reason}); correct task.world.wad") from None
    if kind not in (b"IWAD", b"PWAD"):
        raise ValueError(f"{wad} is no WAD file; correct task.world.wad")
    return tuple((name.rstrip(b"\0").decode("ascii", "replace").upper(), start, size) for start, size, name in lumps)


def list_maps(wad: Path) -> list[str]:
    """The names of the maps in a WAD file that are in Doom's own form, such as ``MAP01``."""
    names = [name for name, _, _ in list_lumps(wad)]
    behind = len(LUMPS) + 1
    return [
        name
        for number, name in enumerate(names)
        if tuple(names[number + 1 : number + behind]) == LUMPS
        and "BEHAVIOR" not in names[number + behind : number + behind + 3]  # which is Hexen's form
    ]


@lru_cache(maxsize=64)
def read_map(wad: Path, name: str) -> DoomMap:
    """Read a map."""
    lumps = list_lumps(wad)
    at = next(number for number, lump in enumerate(lumps) if lump[0] == name.upper())
    parts = {kind: (start, size) for kind, start, size in lumps[at + 1 : at + 1 + len(LUMPS)]}
    with wad.open("rb") as file:

        def read(kind: str, dtype: Any) -> Any:
            file.seek(parts[kind][0])
            return np.frombuffer(file.read(parts[kind][1] // dtype.itemsize * dtype.itemsize), dtype)

        lines, sides, sectors = read("LINEDEFS", LINE), read("SIDEDEFS", SIDE), read("SECTORS", SECTOR)
        things, places = read("THINGS", THING), read("VERTEXES", np.dtype(("<i2", 2)))
    heights = sectors["heights"].astype(float)
    safe = ~np.isin(sectors["special"] & 31, HARMS) & (heights[:, 1] - heights[:, 0] >= HEADROOM)
    sectors_L2 = np.append(sides["sector"].astype(np.int64), -1)[np.minimum(lines["sides"], len(sides))]
    solid = np.isin(things["kind"], list(SOLID))
    return DoomMap(
        places.astype(float)[lines["ends"]],
        sectors_L2,
        find_blocked(lines, sectors_L2, heights, safe),
        heights[:, 0],
        heights[:, 1],
        sectors["flats"][:, 1] == SKY,
        safe,
        things["place"][solid].astype(float),
    )


def find_blocked(
    lines: Any, sectors_L2: NDArray[np.int64], heights_S2: Floats, safe_S: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Which lines nobody walks over, [L]."""
    one_sided_L = (sectors_L2 < 0).any(1)
    floors_L2, ceilings_L2 = heights_S2[sectors_L2, 0], heights_S2[sectors_L2, 1]
    high_L = np.abs(floors_L2[:, 0] - floors_L2[:, 1]) > STEP
    low_L = ceilings_L2.min(1) - floors_L2.max(1) < HEADROOM
    acts_L = (lines["flags"] & BLOCKS).astype(bool) | (lines["special"] != 0)
    return one_sided_L | high_L | low_L | acts_L | ~safe_S[sectors_L2].all(1)
