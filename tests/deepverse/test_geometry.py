"""What imagined depth and normals are worth in space, on surfaces that are known exactly."""

import math

import pytest
import torch

from mirage_pl.deepverse.evaluations.geometry import measure_chamfer, measure_normals, measure_points

LENS = torch.tensor([[20.0, 0, 8], [0, 20.0, 6], [0, 0, 1]])


def draw_plane(slope=0.0, far=2.0):
    """Depth and normals of a plane that gets farther to the right, 12 x 16 pixels."""
    x = (torch.arange(16) + 0.5 - 8) / 20
    depth = (far / (1 - slope * x)).expand(12, 16)
    normal = torch.tensor([slope, 0.0, -1.0])
    return depth.clone(), (normal / normal.norm()).expand(12, 16, 3).clone()


def test_points_of_a_plane_are_as_far_from_another_as_it_is_moved():
    near, _ = draw_plane(far=2.0)
    away, _ = draw_plane(far=2.1)
    assert measure_chamfer(near, near, LENS) == 0
    assert measure_chamfer(near, away, LENS) == pytest.approx(measure_chamfer(away, near, LENS))
    assert 0.1 <= measure_chamfer(near, away, LENS) < 0.11
    hole = near.clone()
    hole[3:5, 4:9] = 0
    assert 0 < measure_chamfer(hole, near, LENS) < 0.02
    assert math.isnan(measure_chamfer(torch.zeros_like(near), near, LENS))
    tall = torch.full((96, 64), 2.0)
    assert measure_chamfer(tall, tall, LENS) == 0
    assert 0.1 <= measure_chamfer(tall, tall + 0.1, LENS) < 0.2


def test_normals_are_scored_where_they_are_known_and_in_degrees():
    _, flat = draw_plane()
    _, slanted = draw_plane(math.tan(math.radians(20)))
    truth = flat.clone()
    truth[:6] = 0
    ours = torch.where(torch.arange(16)[None, :, None] < 4, slanted, flat)
    scores = {name: float(value) for name, value in measure_normals(ours[None, None], truth[None, None]).items()}
    assert scores["angle"] == pytest.approx(0, abs=0.1)
    assert scores["angle_mean"] == pytest.approx(5, abs=0.1)
    assert scores["within"] == pytest.approx(0.75)


def test_depth_gains_from_right_normals_and_loses_from_wrong_ones():
    truth, normals = draw_plane(0.4)
    noisy = truth * (1 + 0.05 * torch.randn(12, 16, generator=torch.Generator().manual_seed(0)))
    there = {"disparity": truth[None], "normals": normals[None]}
    right = measure_points({"disparity": noisy[None], "normals": normals[None]}, there, LENS[None], 1.0)
    assert right["gain"][0] > 0.5 * float(((noisy - truth).abs() / truth).mean())
    assert right["absrel_refined"][0] + right["gain"][0] == pytest.approx(float(((noisy - truth).abs() / truth).mean()))
    assert right["angle_depth"][0] > 5
    _, wrong = draw_plane(-0.8)
    assert measure_points({"disparity": truth[None], "normals": wrong[None]}, there, LENS[None], 1.0)["gain"][0] < 0
    plain = measure_points({"disparity": truth[None]}, {"disparity": truth[None]}, LENS[None], 1.0)
    assert plain.keys() == {"chamfer", "angle_depth"}
    assert plain["angle_depth"][0] == pytest.approx(0, abs=0.1)
