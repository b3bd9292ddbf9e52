"""From window to window as the public reference goes, and which unit of the past it shows; then our own rule."""

import torch

from mirage_pl.deepverse.model.codec import StateCodec
from mirage_pl.deepverse.model.handover import Window, draw_memory, give, join_window
from mirage_pl.deepverse.model.memory import Past, choose_alike, choose_none, choose_outside, choose_released, list_near
from tests.deepverse.test_parity import cases, close, compare

GIVEN, STRIDE = 4, 8


def recall(poses, given):
    """A past of which the poses alone are known."""
    count = len(poses)
    return Past(poses, given, poses[-1:], torch.zeros(count, 2, 2), torch.eye(3).expand(count, 3, 3))


def copied(disparity_THW):
    """A map as the reference has it, in three channels."""
    return disparity_THW[None, None].expand(1, 3, -1, -1, -1)


def test_scales_pictures_rays_and_the_memory_of_every_window_are_the_references(rebuild, expected):
    codec = StateCodec(compat=True)
    for case, wanted in cases(expected, "handover"):
        walked, scale = None, 1.0
        for number, told in enumerate(wanted["windows"]):
            if number:
                given = give(codec, walked, GIVEN, STRIDE, depth=not case.get("no_depth"))
                scale = given.scale
                close(scale / told["scale"], 1)
                levels = ((given.colours_3THW + 1) * 127.5).round()
                assert abs(levels.sum().item() / told["rgb_uint8"]["sum"] - 1) < 1e-4
                assert levels[:, 0, 0, 0].tolist() == told["rgb_uint8"]["first"]
                assert levels[:, -1, -1, -1].tolist() == told["rgb_uint8"]["last"]
                assert given.colours_3THW.shape[1] == told["n_images"]
                compare(rebuild, copied(given.disparity_THW), told["disparity_in"])
                close(given.disparity_THW.max() / told["disparity_in_max"], 1, 1e-4)
                compare(rebuild, given.rays_N6hw.transpose(0, 1)[None], told["rays_in"], 5e-3)
                check_memory(rebuild, codec, walked, scale, told["memory"])
            shown = rebuild.window(case, number)
            lenses = shown["k"][0, :, :3, :3]
            window = Window(shown["rgb"][0], shown["q"][0], shown["pose"][0], lenses)
            walked = join_window(codec, walked, window, scale, GIVEN)
        assert (len(walked.disparity_THW), len(walked.poses_N44)) == (wanted["frames"], wanted["units"])
        compare(rebuild, copied(walked.disparity_THW), wanted["disparity"])
        compare(rebuild, walked.poses_N44[None], wanted["pose"])
        close(walked.poses_N44[-1], wanted["pose_last"], 1e-4 * walked.poses_N44[-1].abs().max().item())
        close(walked.lenses_N33[:, 0, 0], wanted["k_f"], 1e-4)


def check_memory(rebuild, codec, walked, scale, told):
    poses = walked.poses_N44
    assert len(poses) == told["pool"]
    assert sorted(list_near(poses, len(poses) - 1).tolist()) == told["candidates"]
    assert choose_released(recall(poses, GIVEN)) == told["chosen"]
    memory = draw_memory(codec, walked, told["chosen"], GIVEN, STRIDE, scale)
    compare(rebuild, memory.colours_3THW[None], told["rgb"])
    if told["disparity"]["norm"]:
        compare(rebuild, copied(memory.disparity_THW), told["disparity"])
    else:
        close(memory.disparity_THW, torch.zeros_like(memory.disparity_THW))
    codes = [memory.colours_3THW[None], copied(memory.disparity_THW)]
    codes = [codec.standardise(rebuild.stand_in_encoder(each)) for each in codes]
    compare(rebuild, codec.join(*codes, memory.rays_N6hw.transpose(0, 1)[None]), told["latent"], 5e-3)


def test_a_memory_of_what_is_context_anyway_is_the_released_one_alone():
    poses = torch.eye(4).repeat(10, 1, 1)
    poses[:, 2, 3] = torch.arange(10.0)  # straight ahead
    assert choose_released(recall(poses, GIVEN)) >= 6
    assert choose_outside(recall(poses, GIVEN)) < 6
    assert choose_outside(recall(poses[:4], GIVEN)) is None
    assert choose_none(recall(poses, GIVEN)) is None


def test_on_the_spot_the_view_that_looks_the_same_way_is_shown():
    angles = torch.arange(22) * torch.pi / 10  # all the way round, and one further
    poses = torch.eye(4).repeat(22, 1, 1)
    poses[:, 0, 0] = poses[:, 2, 2] = angles.cos()
    poses[:, 0, 2], poses[:, 2, 0] = angles.sin(), -angles.sin()
    assert choose_alike(recall(poses, 2)) == 1
    assert choose_alike(recall(poses[:16], 2)) == 13
    assert choose_outside(recall(poses[:16], 2)) < 5
    poses[1, 0, 3] = 9.0  # looks the same way from afar
    assert choose_alike(recall(poses, 2)) in (0, 2)
    assert choose_alike(recall(poses[:2], 2)) is None
