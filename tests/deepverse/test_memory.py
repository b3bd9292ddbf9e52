"""Where cameras are expected, what a view shows of what another camera sees, and which view is shown for it."""

import numpy as np
import pytest
import torch

from data_modules.worlds.raycast import Raycast
from mirage_pl.deepverse.model.cameras import chain, relate
from mirage_pl.deepverse.model.expected import build_step, expect_cameras, read_action
from mirage_pl.deepverse.model.memory import Past, choose_alike, choose_visible
from mirage_pl.deepverse.model.overlap import find_nearest, measure_seen, place_views
from mirage_pl.deepverse.model.prompts import NUMBERS

HOLD = 4


def look_round(actions, number=3, seed=0):
    """Depth, poses and lenses of the units of a walk in a room, and what was done."""
    world = Raycast(24, 32)
    world.reset(number, np.random.default_rng(seed))
    views = [world.look()]
    for code in actions:
        for _ in range(HOLD):
            world.step(tuple(read_action(NUMBERS[code])))
        views.append(world.look())
    depth, poses = (
        torch.from_numpy(np.stack([getattr(view, name) for view in views])) for name in ("depth_HW", "pose_44")
    )
    lenses = torch.from_numpy(world.intrinsics_33).expand(len(views), 3, 3)
    return depth, poses, lenses, [0, *(NUMBERS[code] for code in actions)]


def test_cameras_are_expected_where_actions_took_them_before():
    steps = [torch.eye(4)] + [
        build_step(read_action(number), torch.tensor(0.5), torch.tensor(0.3)) for number in range(1, 28)
    ]
    poses, told = chain(torch.stack(steps[1:])), list(range(28))
    coming = [NUMBERS[code] for code in ("FN", "SL", "rRR", "SN")]
    expected = expect_cameras(poses, told, coming)
    wanted = chain(torch.stack([steps[number] for number in coming]))[1:]
    torch.testing.assert_close(expected, poses[-1] @ wanted, atol=1e-5, rtol=1e-5)
    still = expect_cameras(poses[:1], [0], coming)
    torch.testing.assert_close(still, poses[:1].expand(4, 4, 4))


@pytest.mark.parametrize("code", ["FN", "BN", "fRN", "SL", "FR"])
def test_expected_cameras_are_near_those_of_a_room(code):
    depth, poses, _, told = look_round([code] * 4, seed=5)
    expected = expect_cameras(poses[:3], told[:3], told[3:])
    moved = relate(poses)[1:, :3, 3].norm(dim=1)
    if moved.max() - moved.min() < 1e-4:  # no wall was in the way
        torch.testing.assert_close(expected, poses[3:], atol=0.02, rtol=0.02)


def test_a_view_shows_all_of_itself_and_nothing_of_what_is_behind():
    depth, poses, lenses, _ = look_round(["SR"] * 10)
    points = place_views(depth, poses, lenses)
    shares = [measure_seen(points[:1], depth[unit], poses[unit], lenses[unit]) for unit in range(11)]
    assert shares[0] == 1
    assert shares[10] == 0  # half a turn
    assert all(a >= b - 0.02 for a, b in zip(shares[:6], shares[1:6], strict=False))
    assert measure_seen(points, depth[5], poses[5], lenses[5]) == 1
    depth[0] = 0
    assert measure_seen(place_views(depth[:1], poses[:1], lenses[:1]), depth[1], poses[1], lenses[1]) == 0


def test_the_nearest_point_of_a_cell_is_kept():
    lens, pose = torch.tensor([[8.0, 0, 8], [0, 8.0, 8], [0, 0, 1]]), torch.eye(4)
    points = torch.tensor([[[0.01, 0.01, 2.0], [0.02, 0.02, 1.0], [0.0, 0.0, -1.0], [9.0, 0, 1.0], [float("nan")] * 3]])
    nearest = find_nearest(points, pose, lens, (16, 16))
    assert nearest.shape == (1, 8 * 8)
    assert nearest.isfinite().sum() == 1
    assert nearest[0, 4 * 8 + 4] == 1


def remember(actions, now, coming, given=2, **more):
    """The unit that is shown after so many units of a walk, where it goes on as it did."""
    depth, poses, lenses, told = look_round(actions, **more)
    expected = expect_cameras(poses[:now], told[:now], [NUMBERS[code] for code in coming])
    return Past(poses[:now], given, expected, depth[:now], lenses[:now])


def test_who_turns_back_is_shown_what_comes_into_view():
    out = ["SR"] * 6
    past = remember(out + ["SL"] * 3, 10, ["SL"] * 2)
    # the camera looks where unit 3 did and will look where units 2 and 1 did
    assert choose_visible(past) in (1, 2)
    assert choose_alike(past) == 3
    all_round = remember(["SR"] * 18, 19, ["SR", "SR"])
    assert choose_visible(all_round) in (0, 1)


def test_the_newest_of_views_alike_is_shown_and_none_where_none_helps():
    past = remember(["SN"] * 6, 7, ["SN"])
    assert choose_visible(past) == 4
    assert choose_visible(remember(["SN"] * 6, 2, ["SN"])) is None
    apart = remember(["SR"] * 10, 11, ["SR"])
    assert (
        choose_visible(
            Past(
                apart.poses_N44[[0, 9, 10]], 2, apart.coming_U44[:1], apart.depth_NHW[[0, 9, 10]], apart.lenses_N33[:3]
            )
        )
        is None
    )
    unknown = remember(["SN"] * 6, 7, ["SN"])
    unknown.depth_NHW.zero_()
    assert choose_visible(unknown) is None


def test_a_wall_hides_what_is_behind_it():
    lens, room = torch.tensor([[8.0, 0, 8], [0, 8.0, 8], [0, 0, 1]]).expand(3, 3, 3), torch.full((3, 16, 16), 5.0)
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[0, 2, 3] = 3.0  # unit 0 is beyond the wall that unit 1 and the camera see 2 ahead
    room[1:] = 2.0
    past = Past(poses, 1, poses[2:], room, lens)
    assert choose_visible(past) == 1
