"""Points out of depth: where they are, which are left out, and the file."""

import numpy as np
import pytest
import torch

from data_modules.worlds.raycast import EYE, Raycast
from mirage_pl.deepverse.batch import fit_lens
from mirage_pl.deepverse.clouds import Cloud, build_cloud, choose_points


def test_points_of_a_room_lie_on_its_floor_its_ceiling_and_its_walls():
    world = Raycast(24, 32)
    world.reset(3, np.random.default_rng(0))
    view = world.look()
    frame = torch.from_numpy(view.frame_HWC).movedim(-1, 0) / 255
    cloud = build_cloud(frame, *map(torch.from_numpy, (view.depth_HW, view.pose_44, world.intrinsics_33)))
    assert len(cloud.points_M3) > 24 * 32 / 2
    x, y, z = cloud.points_M3.T
    flat = np.abs(np.abs(y) - EYE) < 1e-4
    face = np.minimum(np.abs(x - x.round()), np.abs(z - z.round())) < 1e-3
    assert (flat | face).all()
    assert np.abs(y).max() < EYE + 1e-4


def test_what_isnt_known_and_what_hangs_between_two_things_is_left_out():
    depth = torch.full((6, 6), 2.0)
    depth[:, 3:] = 4
    depth[5, 0], depth[0, 0] = 0, float("inf")
    points = torch.zeros(6, 6, 3)
    shown = choose_points(points, depth)
    assert not shown[:, 2:4].any()
    assert shown[2:4, [0, 1, 4, 5]].all()
    assert not shown[5, 0]
    assert not shown[0, 0]
    slanted = torch.linspace(2, 2.4, 6).expand(6, 6)
    assert choose_points(points, slanted).all()


def test_a_file_is_read_back(tmp_path):
    cloud = Cloud(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([[1, 2, 3], [4, 5, 255]], np.uint8))
    cloud.save(tmp_path / "a.ply")
    head, _, body = (tmp_path / "a.ply").read_bytes().partition(b"end_header\n")
    assert head.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 2\nproperty float x\n")
    rows = np.frombuffer(body, [("p", "<f4", 3), ("c", "u1", 3)])
    assert rows["p"].tolist() == cloud.points_M3.tolist()
    assert rows["c"].tolist() == cloud.colours_M3.tolist()


def test_a_lens_follows_its_frames_when_they_are_cut_and_resized():
    lens = np.array([[[10.0, 0, 10], [0, 10, 6], [0, 0, 1]]], np.float32)
    fitted = fit_lens(lens, 12, 20, (6, 8))  # 12 x 16 pixels stay, each two of them become one
    assert fitted[0].flatten().tolist() == pytest.approx([5, 0, 4, 0, 5, 3, 0, 0, 1])
