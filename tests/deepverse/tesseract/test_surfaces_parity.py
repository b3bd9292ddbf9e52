"""Scenes with known geometry: what normals say of slopes, depth made to agree with them, and what moved."""

import math

import pytest
import torch

from mirage_pl.deepverse.model.codec import StateCodec
from mirage_pl.deepverse.surfaces import carry_back, find_slopes, refine_depth, solve, weigh_evenly, weigh_sides
from tests.deepverse.test_parity import close, compare

STRENGTHS = (2, 20, 200)


def find_lens(case):
    """The file's pixels lie at whole numbers, ours have their middles at a half."""
    lens = [[case["f"], 0, case["cu"] + 0.5], [0, case["f"], case["cv"] + 0.5], [0, 0, 1]]
    return torch.tensor(lens, dtype=torch.float64)


def rms(errors):
    return errors.square().mean().sqrt().item()


def cases(expected):
    yield from ((case, case["expect"]) for case in expected["analytic"]["cases"])


def test_normals_say_the_slopes_of_log_depth_and_pictures_of_them_have_the_stated_axes(rebuild, expected):
    for case, wanted in cases(expected):
        scene = rebuild.scene(case)
        slopes = find_slopes(scene["normal"], find_lens(case))
        compare(rebuild, slopes.factor_2HW[0], wanted["m"], 1e-6)
        exact = slopes.factor_2HW * scene["dz"].movedim(-1, 0) + slopes.target_2HW
        assert exact.abs().max() < 1e-12
        codec = StateCodec()
        picture = codec.encode_normals(scene["normal"])
        compare(rebuild, (picture + 1) / 2, wanted["png_normal"], 1e-6)
        torch.testing.assert_close(codec.decode_normals(picture * 0.8), scene["normal"])
        turned = find_slopes(picture, find_lens(case))
        wrong = turned.factor_2HW * scene["dz"].movedim(-1, 0) + turned.target_2HW
        assert rms(wrong) > 1e4 * rms(exact) + 0.05


def test_without_a_prior_the_surface_is_found_up_to_its_distance(rebuild, expected):
    for case, wanted in cases(expected):
        if "integration_without_prior" not in wanted:
            continue
        scene = rebuild.scene(case)
        slopes, z = find_slopes(scene["normal"], find_lens(case)), scene["depth"].log()
        nothing = torch.zeros_like(z)
        found = solve(slopes, weigh_evenly(slopes), nothing, nothing, nothing)
        error = found - z
        accepted = 3 * wanted["integration_without_prior"]["error_rms_after_removing_median"]
        assert rms(error - error.median()) < accepted


@pytest.mark.parametrize("strength", STRENGTHS)
def test_noisy_depth_becomes_better_where_the_first_weights_are_from_it_and_worse_from_even_ones(
    rebuild, expected, strength
):
    for case, wanted in cases(expected):
        wanted, scene, lens = wanted["integration_with_prior"], rebuild.scene(case), find_lens(case)
        noisy, z = rebuild.noisy_depth(case, scene["depth"]), scene["depth"].log()
        compare(rebuild, noisy.log(), wanted["prior"], 1e-6)
        close(rms(noisy.log() - z), wanted["prior_error_rms"], 1e-6)
        error = refine_depth(noisy, scene["normal"], lens, strength).log() - z
        goal = wanted[f"lambda {strength}, first weights from prior"]
        assert rms(error) < 1.5 * goal["error_rms"]
        assert rms(error) < 0.2 * wanted["prior_error_rms"]
        rows, columns = (torch.arange(side, dtype=torch.float64) for side in z.shape)
        x, y = (columns[None] - case["cu"]) / case["f"], (rows[:, None] - case["cv"]) / case["f"]
        ray = torch.stack(torch.broadcast_tensors(x, y, torch.ones_like(z)), -1)
        facing = -(scene["normal"] * ray).sum(-1) / ray.norm(dim=-1) > 0.3
        assert int((~facing).sum()) == case["expect"]["pixels_seen_at_cosine_below_0.3"]
        assert rms(error[facing]) < 1.5 * goal["error_rms_facing"]
        slopes, found = find_slopes(scene["normal"], lens), noisy.log()
        for count in range(5):
            weights = weigh_sides(found, slopes) if count else weigh_evenly(slopes)
            found = solve(slopes, weights, noisy.log(), torch.full_like(z, strength), found)
        trap = wanted[f"lambda {strength}, first weights 0.5"]["error_rms"]
        close(rms(found - z) / trap, 1, 0.02)


def test_depth_of_the_frame_before_is_read_where_each_surface_was(rebuild, expected):
    for case, wanted in cases(expected):
        if "temporal" not in wanted:
            continue
        wanted, scene = wanted["temporal"], rebuild.moving(case)
        flow, old, new = scene["flow"], scene["before"], scene["after"]
        carried, _ = carry_back(old["depth"].log(), flow)
        compare(rebuild, carried, wanted["warped_log_depth"], 2e-3)
        moves = flow.norm(dim=-1) > 0.5
        assert (int(moves.sum()), int((~moves).sum())) == (wanted["dynamic_pixels"], wanted["static_pixels"])
        error = carried - new["depth"].log()
        uncovered = (old["label"] == 1) & (new["label"] == 0)
        close(rms(error[moves]) / wanted["difference_rms_dynamic"], 1, 2e-3)
        close(rms(error[uncovered & ~moves]) / wanted["difference_rms_uncovered"], 1, 2e-3)
        assert rms(error[~moves & ~uncovered]) < 1e-9
        assert math.isfinite(wanted["flow_on_sphere_max"])
        close(flow.norm(dim=-1).max(), wanted["flow_on_sphere_max"], 2e-3)
