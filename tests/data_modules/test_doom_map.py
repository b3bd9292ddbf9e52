"""Doom's maps out of a WAD file: what blocks, where one can stand, exact depth and normals against a slow march."""

import struct

import numpy as np
import pytest

from data_modules.worlds.doom_map import DoomMap, list_maps, read_map
from data_modules.worlds.doom_space import Eye, cast_rays

LENS = np.array([[8, 0, 8], [0, 9.6, 6], [0, 0, 1]], np.float32)


def write_wad(file, maps=("MAP01",), head=b"PWAD", behaviour=False):
    """A hall of 512 x 512, in its middle a platform of 128 x 128 that is 16 higher and has a lower ceiling."""
    outer = [(0, 0), (0, 512), (512, 512), (512, 0)]  # clockwise, so that the inside is to the right
    inner = [(192, 192), (192, 320), (320, 320), (320, 192)]
    places = np.array(outer + inner, "<i2")
    lines, sides = [], []
    for first in range(4):
        lines.append((first, (first + 1) % 4, 1, 0, 0, len(sides), 0xFFFF))
        sides.append((0, 0, b"-", b"-", b"WALL", 0))
    for first in range(4):
        special = 97 if first == 0 else 0
        lines.append((4 + first, 4 + (first + 1) % 4, 4, special, 0, len(sides), len(sides) + 1))
        sides += [(0, 0, b"UP", b"LOW", b"-", 1), (0, 0, b"UP", b"LOW", b"-", 0)]
    sectors = [(0, 128, b"FLOOR", b"CEIL", 160, 0, 0), (16, 112, b"FLOOR", b"CEIL", 160, 0, 0)]
    things = [(64, 64, 90, 1, 7), (448, 448, 0, 2035, 7), (100, 400, 0, 2014, 7)]
    contents = {
        "THINGS": b"".join(struct.pack("<5h", *thing) for thing in things),
        "LINEDEFS": b"".join(struct.pack("<7H", *line) for line in lines),
        "SIDEDEFS": b"".join(struct.pack("<2h8s8s8sH", *side) for side in sides),
        "VERTEXES": places.tobytes(),
        "SEGS": b"",
        "SSECTORS": b"",
        "NODES": b"",
        "SECTORS": b"".join(struct.pack("<2h8s8s3h", *sector) for sector in sectors),
    }
    body, lumps = b"", []
    for name in maps:
        for kind, content in {name: b"", **contents, **({"BEHAVIOR": b""} if behaviour else {})}.items():
            lumps.append(struct.pack("<II8s", 12 + len(body), len(content), kind.encode()))
            body += content
    file.write_bytes(struct.pack("<4sII", head, len(lumps), 12 + len(body)) + body + b"".join(lumps))
    return file


@pytest.fixture
def plan(tmp_path):
    return read_map(write_wad(tmp_path / "hall.wad"), "map01")


def march(plan: DoomMap, eye, row, column, step=0.05):
    """Depth of a pixel's middle, by small steps along its ray until it is in something."""
    aside, below = (column + 0.5 - LENS[0, 2]) / LENS[0, 0], (row + 0.5 - LENS[1, 2]) / LENS[1, 1]
    sine, cosine = np.sin(eye.angle), np.cos(eye.angle)
    depth = 0.0
    while True:
        depth += step
        x, y = eye.x + depth * (sine + aside * cosine), eye.y + depth * (cosine - aside * sine)
        z = eye.height - below * depth
        inner = 192 <= x <= 320 and 192 <= y <= 320
        floor, ceiling = (16, 112) if inner else (0, 128)
        if not (0 < x < 512 and 0 < y < 512) or z <= floor or z >= ceiling:
            return depth


@pytest.mark.parametrize(("x", "y", "angle"), [(64, 64, 0.8), (400, 100, -0.5), (256, 256, 2.0), (250, 40, 0.0)])
def test_depth_is_what_a_slow_march_finds_and_normals_are_along_the_axes(plan, x, y, angle):
    height = 41 + (16 if plan.find_sector(x, y) == 1 else 0)
    eye = Eye(x, y, height, angle)
    depth, normals = cast_rays(plan, eye, LENS, (12, 16))
    for row in range(0, 12, 2):
        for column in range(0, 16, 3):
            assert depth[row, column] == pytest.approx(march(plan, eye, row, column), abs=0.2)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-6)
    sine, cosine = np.sin(angle), np.cos(angle)
    east, north = normals[..., 0] * cosine + normals[..., 2] * sine, normals[..., 2] * cosine - normals[..., 0] * sine
    assert np.abs(np.stack((east, north, normals[..., 1]))).max(0) == pytest.approx(1, abs=1e-6)
    aside, below = np.meshgrid((np.arange(16) + 0.5 - 8) / 8, (np.arange(12) + 0.5 - 6) / 9.6)
    assert ((normals * np.stack((aside, below, np.ones_like(aside)), -1)).sum(-1) < 0).all()


def test_what_blocks_is_walls_high_steps_low_doors_and_lines_that_do_something(plan):
    assert plan.blocked_L.tolist() == [True] * 4 + [True, False, False, False]
    assert plan.measure_room(64, 256) == pytest.approx(64)
    assert plan.measure_room(128, 256) == pytest.approx(64)  # the line that teleports
    assert plan.measure_room(256, 150) == pytest.approx(np.hypot(64, 42))  # its end
    assert plan.measure_room(448, 400) == pytest.approx(48 - 20)  # a barrel, not the clip on the floor
    assert plan.measure_room(100, 400) == pytest.approx(100)


def test_sectors_are_found_and_places_that_are_drawn_have_room(plan):
    assert [plan.find_sector(*place) for place in ((64, 64), (256, 256), (-20, 100), (600, 600))] == [0, 1, -1, -1]
    draws = np.random.default_rng(0)
    for _ in range(50):
        x, y = plan.draw_place(draws, 56)
        assert plan.find_sector(x, y) >= 0
        assert plan.measure_room(x, y) >= 56
    with pytest.raises(ValueError, match="no place with 400 units of room"):
        plan.draw_place(draws, 400)


def test_maps_are_listed_and_files_that_are_none_are_refused(tmp_path):
    assert list_maps(write_wad(tmp_path / "two.wad", ("MAP01", "E1M2"))) == ["MAP01", "E1M2"]
    assert list_maps(write_wad(tmp_path / "hexen.wad", behaviour=True)) == []
    for name, content in (("gone", None), ("short", b"IWAD"), ("other", b"PNG" + b"\0" * 20)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="task.world.wad"):
            list_maps(tmp_path / name)
