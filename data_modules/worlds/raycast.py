"""A world of rooms, drawn by casting a ray through each pixel: colours, exact depth, normals and poses, by numpy alone.

Shapes: H x W pixels, K cells. Axes: x and z on the ground, y down, 0 at the height of the eye; angles are clockwise
from z, seen from above. Lengths are in cells.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules.worlds.rooms import Rooms, draw_rooms
from data_modules.worlds.views import View
from data_modules.worlds.walking import face

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

    num_maps: ClassVar[None] = None

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
        if not (0 < self.speed < 1 and 0 < self.turn <= 180):
            raise ValueError(
                f"task.world.speed={self.speed} must be above 0 and below 1, turn={self.turn} to 180 degrees"
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
        depth, ends, hits = self.cast(1)
        normals = self.find_normals(ends, hits)
        return View((frame * 255).round().astype(np.uint8), depth.astype(np.float32), self.pose, normals)

    def foresee(self, action: tuple[int, int, int], hold: int) -> float:
        """The share of an action's way that is free; the world stays as it is."""
        place = self.save()
        share = sum(self.step(action) for _ in range(hold)) / hold
        self.restore(place)
        return share

    @property
    def pose(self) -> NDArray[np.float32]:
        """From the eye's axes (x right, y down, z ahead) to the map's, [4, 4]."""
        return face(self.x, 0.0, self.z, self.angle)

    def cast(self, samples: int) -> tuple[Floats, Floats, NDArray[Any]]:
        """Cast ``samples`` x ``samples`` rays through each pixel.

        Returns:
            Depth along the axis, [H, W]; where the rays end on the ground, and whether on a wall (0), on the floor (1)
            or on the ceiling (-1), [H, W, 3]; and of each column the wall's cell, how far along its face the ray ends,
            and which axis the face is across (0: x, 1: z), [W, 4].
        """
        lens = self.intrinsics_33
        aside_W = ((np.arange(self.width * samples) + 0.5) / samples - lens[0, 2]) / lens[0, 0]
        below_H = ((np.arange(self.height * samples) + 0.5) / samples - lens[1, 2]) / lens[1, 1]
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        ways_W2 = np.stack((sine + aside_W * cosine, cosine - aside_W * sine), -1)
        far_W, hits_W4 = self.find_walls(ways_W2)
        flat_H = EYE / np.maximum(np.abs(below_H), 1e-9)
        depth_HW = np.minimum(far_W[None], flat_H[:, None])
        ends_HW2 = np.array([self.x, self.z]) + depth_HW[..., None] * ways_W2[None]
        # rays that reach the wall are marked by a face; those to floor and ceiling by the sign of where they go
        side_HW1 = np.where(far_W[None] < flat_H[:, None], 0.0, np.sign(below_H)[:, None])[..., None]
        return depth_HW, np.concatenate((ends_HW2, side_HW1), -1), hits_W4

    def find_walls(self, ways_W2: Floats) -> tuple[Floats, Floats]:
        """Find the first wall of each column: how many times its way it is away, [W], and what is hit, [W, 4]."""
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
            found.append((far_WL, x, z, along_WL - other_WL, np.full(x.shape, axis)))
        far, *hits = (np.concatenate(parts, 1) for parts in zip(*found, strict=True))
        first_W = far.argmin(1)
        rows = np.arange(len(first_W))
        return far[rows, first_W], np.stack([part[rows, first_W] for part in hits], -1).astype(float)

    def find_normals(self, ends_HW3: Floats, hits_W4: Floats) -> NDArray[np.float32]:
        """Normals of what rays end on, in the eye's axes and towards it, [H, W, 3]."""
        side_HW, across_W = ends_HW3[..., 2], hits_W4[:, 3]
        sine, cosine = np.sin(self.angle), np.cos(self.angle)
        ways_HW2 = ends_HW3[..., :2] - [self.x, self.z]
        x_HW = np.where(across_W == 0, -np.sign(ways_HW2[..., 0]), 0) * (side_HW == 0)
        z_HW = np.where(across_W == 1, -np.sign(ways_HW2[..., 1]), 0) * (side_HW == 0)
        turned = (x_HW * cosine - z_HW * sine, -side_HW, x_HW * sine + z_HW * cosine)
        return np.stack(turned, -1).astype(np.float32)

    def paint(self, depth_HW: Floats, ends_HW3: Floats, hits_W4: Floats) -> Floats:
        """Colours of rays, 0 to 1, [H, W, 3]."""
        rooms: Rooms = self.rooms
        x, z = hits_W4[:, 0].astype(int), hits_W4[:, 1].astype(int)
        wave_W = 0.85 + 0.15 * np.cos(2 * np.pi * rooms.stripes_KK[x, z] * hits_W4[:, 2])
        wall_W3 = rooms.colours_KK3[x, z] * wave_W[:, None]
        tiles_HW1 = 0.85 + 0.15 * np.prod(np.cos(np.pi * ends_HW3[..., :2]), -1, keepdims=True)
        side_HW1 = ends_HW3[..., 2:]
        floor, ceiling = rooms.ground_23
        colours = np.where(side_HW1 == 0, wall_W3[None], np.where(side_HW1 > 0, floor * tiles_HW1, ceiling))
        return np.clip(colours * np.exp(-FOG * depth_HW)[..., None], 0, 1)
