"""A world of rooms, drawn by casting a ray through each pixel: colours, exact depth and exact poses, by numpy alone.

Shapes: H x W pixels, K cells. Axes: x and z on the ground, y down, 0 at the height of the eye; angles are clockwise
from z, seen from above. Lengths are in cells.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.rooms import Rooms, draw_rooms
from data_modules.worlds.walks import View

Floats = NDArray[np.float64]
EYE = 0.5
"""From the floor to the eye, and from there to the ceiling."""
RADIUS = 0.3
"""How near to a wall the eye gets."""
SAMPLES = 2
"""Rays across a pixel for its colour; its depth is that of the ray through its middle."""
FOG = 0.06
"""By which what is 1 farther away is darker."""


@dataclass
class Raycast:
    """The world.

    Attributes:
        height: pixels of a frame.
        width: pixels of a frame.
        view: degrees from the left edge of a frame to the right one.
        size: cells across a map.
        speed: cells of a frame.
        turn: degrees of a frame.
    """

    height: int
    width: int
    view: float = 90.0
    size: int = 12
    speed: float = 0.12
    turn: float = 4.5

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 8 or not 10 <= self.view <= 150 or self.size < 6:
            raise ValueError(
                f"task.world has height={self.height}, width={self.width} (8 or more), view={self.view} (10 to 150), "
                f"size={self.size} (6 or more)"
            )
        self.number, self.rooms = 0, draw_rooms(0, self.size)
        self.x = self.z = self.angle = 0.0

    @property
    def intrinsics_33(self) -> NDArray[np.float32]:
        """Focal lengths and middle, in pixels."""
        focal = self.width / 2 / np.tan(np.radians(self.view) / 2)
        lens = [[focal, 0, self.width / 2], [0, focal, self.height / 2], [0, 0, 1]]
        return np.array(lens, np.float32)

    def reset(self, number: int, draws: np.random.Generator) -> None:
        """Begin somewhere in a map."""
        if number != self.number:
            self.number, self.rooms = number, draw_rooms(number, self.size)
        while True:
            self.x, self.z = draws.uniform(1, self.size - 1, 2)
            if self.rooms.is_free(self.x, self.z, RADIUS):
                break
        self.angle = float(draws.uniform(-np.pi, np.pi))

    def step(self, action: tuple[int, int, int]) -> float:
        """Move and turn for a frame, along walls that are in the way; return the share of the way that was free."""
        ahead, aside, clockwise = action
        self.angle += np.radians(self.turn) * clockwise
        if not ahead and not aside:
            return 1.0
        way = np.array([aside * np.cos(self.angle) + ahead * np.sin(self.angle), 0.0])
        way[1] = ahead * np.cos(self.angle) - aside * np.sin(self.angle)
        way *= self.speed / np.hypot(ahead, aside)
        before = self.x, self.z
        self.x += way[0] if self.rooms.is_free(self.x + way[0], self.z, RADIUS) else 0.0
        self.z += way[1] if self.rooms.is_free(self.x, self.z + way[1], RADIUS) else 0.0
        return float(np.hypot(self.x - before[0], self.z - before[1]) / self.speed)

    def save(self) -> tuple[float, float, float]:
        """Where the eye is now."""
        return self.x, self.z, self.angle

    def restore(self, place: tuple[float, float, float]) -> None:
        """Put the eye back."""
        self.x, self.z, self.angle = place

    def look(self) -> View:
        """What is seen from here."""
        fine = self.cast(SAMPLES)
        frame = self.paint(*fine)
        frame = frame.reshape(self.height, SAMPLES, self.width, SAMPLES, 3).mean((1, 3))
        depth = self.cast(1)[0].astype(np.float32)
        return View((frame * 255).round().astype(np.uint8), depth, self.pose)

    @property
    def pose(self) -> NDArray[np.float32]:
        """From the eye's axes (x right, y down, z ahead) to the map's, [4, 4]."""
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        rows = [[cosine, 0, sine, self.x], [0, 1, 0, 0], [-sine, 0, cosine, self.z], [0, 0, 0, 1]]
        return np.array(rows, np.float32)

    def cast(self, samples: int) -> tuple[Floats, Floats, NDArray[Any]]:
        """Cast ``samples`` x ``samples`` rays through each pixel.

        Returns:
            Depth along the axis, [H, W]; where the rays end on the ground, [H, W, 2]; and of each column the wall's
            cell and how far along its face the ray ends, [W, 3].
        """
        lens = self.intrinsics_33
        aside_W = ((np.arange(self.width * samples) + 0.5) / samples - lens[0, 2]) / lens[0, 0]
        below_H = ((np.arange(self.height * samples) + 0.5) / samples - lens[1, 2]) / lens[1, 1]
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        ways_W2 = np.stack((sine + aside_W * cosine, cosine - aside_W * sine), -1)
        far_W, hits_W3 = self.find_walls(ways_W2)
        flat_H = EYE / np.maximum(np.abs(below_H), 1e-9)
        depth_HW = np.minimum(far_W[None], flat_H[:, None])
        ends_HW2 = np.array([self.x, self.z]) + depth_HW[..., None] * ways_W2[None]
        # rays that reach the wall are marked by a face; those to floor and ceiling by the sign of where they go
        side_HW1 = np.where(far_W[None] < flat_H[:, None], 0.0, np.sign(below_H)[:, None])[..., None]
        return depth_HW, np.concatenate((ends_HW2, side_HW1), -1), hits_W3

    def find_walls(self, ways_W2: Floats) -> tuple[Floats, Floats]:
        """Find the first wall of each column: how many times its way it is away, [W], its cell and place, [W, 3]."""
        lines_L = np.arange(self.rooms.walls_KK.shape[0] + 1)
        eye, found = np.array([self.x, self.z]), []
        for axis in (0, 1):
            way_W1 = np.where(np.abs(ways_W2[:, axis]) < 1e-12, 1e-12, ways_W2[:, axis])[:, None]
            far_WL = (lines_L[None] - eye[axis]) / way_W1
            along_WL = eye[1 - axis] + far_WL * ways_W2[:, [1 - axis]]
            cell_WL = lines_L[None] - (way_W1 < 0)
            other_WL = np.floor(along_WL)
            inside = (far_WL > 1e-9) & (cell_WL >= 0) & (cell_WL < self.size) & (other_WL >= 0) & (other_WL < self.size)
            pair = (cell_WL, other_WL) if axis == 0 else (other_WL, cell_WL)
            x, z = (np.where(inside, part, 0).astype(int) for part in pair)
            far_WL = np.where(inside & self.rooms.walls_KK[x, z], far_WL, np.inf)
            found.append((far_WL, x, z, along_WL - other_WL))
        far, x, z, along = (np.concatenate(parts, 1) for parts in zip(*found, strict=True))
        first_W = far.argmin(1)
        rows = np.arange(len(first_W))
        return far[rows, first_W], np.stack([part[rows, first_W] for part in (x, z, along)], -1).astype(float)

    def paint(self, depth_HW: Floats, ends_HW3: Floats, hits_W3: Floats) -> Floats:
        """Colours of rays, 0 to 1, [H, W, 3]."""
        rooms: Rooms = self.rooms
        x, z = hits_W3[:, 0].astype(int), hits_W3[:, 1].astype(int)
        wave_W = 0.85 + 0.15 * np.cos(2 * np.pi * rooms.stripes_KK[x, z] * hits_W3[:, 2])
        wall_W3 = rooms.colours_KK3[x, z] * wave_W[:, None]
        tiles_HW1 = 0.85 + 0.15 * np.prod(np.cos(np.pi * ends_HW3[..., :2]), -1, keepdims=True)
        side_HW1 = ends_HW3[..., 2:]
        floor, ceiling = rooms.ground_23
        colours = np.where(side_HW1 == 0, wall_W3[None], np.where(side_HW1 > 0, floor * tiles_HW1, ceiling))
        return np.clip(colours * np.exp(-FOG * depth_HW)[..., None], 0, 1)
