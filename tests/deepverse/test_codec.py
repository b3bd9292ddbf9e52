"""What a state's channels mean: there and back, and what is refused."""

import math

import pytest
import torch

from data_modules.worlds.walking import ACTIONS
from mirage_pl.deepverse.actions import SENTENCES, ActionProgram, divide_prompts
from mirage_pl.deepverse.model.cameras import chain, check_poses, interpolate, invert, relate
from mirage_pl.deepverse.model.codec import StateCodec, find_scale, invert_depth


def turn(yaw, place=(0.0, 0.0, 0.0)):
    pose = torch.eye(4, dtype=torch.float64)
    pose[0, 0] = pose[2, 2] = math.cos(yaw)
    pose[0, 2], pose[2, 0] = math.sin(yaw), -math.sin(yaw)
    pose[:3, 3] = torch.tensor(place)
    return pose


def lens(fx, fy, size):
    matrix = torch.eye(3, dtype=torch.float64)
    matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2] = fx, fy, size[1] / 2, size[0] / 2
    return matrix


def test_a_camera_comes_back_from_its_rays_with_pixels_that_arent_square():
    poses = torch.stack([turn(0.3, (0.2, 0.0, 1.5)), turn(-1.2, (-2.0, 0.01, 0.0)), turn(0.0)])
    intrinsics = torch.stack([lens(80, 96, (120, 160))] * 3)
    codec = StateCodec()
    rays = codec.encode_rays(poses, intrinsics, (120, 160), scale=0.5)
    assert rays.shape == (3, 6, 15, 20)
    back, lenses = codec.decode_rays(rays, scale=0.5)
    torch.testing.assert_close(back, poses, atol=1e-9, rtol=0)
    torch.testing.assert_close(lenses, intrinsics, atol=1e-9, rtol=1e-12)


def test_the_released_way_turns_each_camera_a_little_and_ours_none():
    pose, intrinsics = turn(0.2)[None], lens(400, 400, (384, 512))[None]
    for compat, degrees in ((False, 0.0), (True, 0.0914)):
        back, _ = (codec := StateCodec(compat=compat)).decode_rays(codec.encode_rays(pose, intrinsics, (384, 512)))
        apart = (back[0, :3, :3].T @ pose[0, :3, :3] - torch.eye(3)).norm() / 8**0.5
        assert 2 * math.degrees(math.asin(apart)) == pytest.approx(degrees, abs=1e-3)


def test_disparity_comes_back_as_released_cut_where_it_is_too_near_and_the_unknown_is_infinitely_far():
    codec, disparity = StateCodec(), torch.tensor([0.0, 0.1, 0.5, 0.52, 0.6])
    picture = codec.encode_disparity(disparity, 2.0)
    assert picture[0] == -1
    assert picture[2] == pytest.approx(2 * 0.95**0.5 - 1)
    torch.testing.assert_close(codec.decode_disparity(picture, 2.0), disparity)
    released = StateCodec(compat=True).decode_disparity(picture, 2.0)
    torch.testing.assert_close(released, disparity.clamp(max=0.5 / 0.95))
    depth = torch.tensor([2.0, 0.0, float("inf"), -1.0, float("nan")])
    assert invert_depth(depth).tolist() == [0.5, 0, 0, 0, 0]
    assert find_scale(invert_depth(depth)) == 2
    assert find_scale(torch.zeros(3)) == 1


def test_a_state_is_joined_and_split_and_what_isnt_known_is_zero():
    codec = StateCodec(latent_channels=2)
    codes = torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    state = codec.join(codes, codes + 1, codes[:, :1].expand(-1, 6, -1, -1, -1))
    assert state.shape == (1, codec.channels, 3, 4, 5)
    pictures, disparity, rays = codec.split(state)
    assert torch.equal(pictures, codes)
    assert torch.equal(disparity, codes + 1)
    assert rays.shape[1] == 6
    assert codec.join(codes, None, None)[:, 2:].abs().max() == 0


def test_modalities_say_which_codes_a_state_has_and_others_are_refused():
    codes = torch.randn(1, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    rays = codes[:, :1].expand(-1, 6, -1, -1, -1)
    for modalities, count in (("rgb", 1), ("rgbd", 2), ("rgbdn", 3)):
        codec = StateCodec(latent_channels=2, modalities=modalities)
        state = codec.join(codes, codes + 1, rays, codes + 2)
        assert state.shape[1] == codec.channels == 2 * count + 6
        parts = codec.split_codes(state)
        assert list(parts) == ["colours", "disparity", "normals"][:count]
        for place, part in enumerate(parts.values()):
            assert torch.equal(part, codes + place)
        pictures, disparity, back = codec.split(state)
        assert torch.equal(pictures, codes)
        assert disparity.shape[1] == 2 * (count > 1)
        assert torch.equal(back, rays)
    with pytest.raises(ValueError, match="modalities=rgbn is unknown; choose from rgb, rgbd, rgbdn"):
        StateCodec(modalities="rgbn")


def test_normals_come_back_from_their_picture_whose_axes_are_right_up_and_towards_the_viewer():
    normals = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, -1], [0.6, 0, -0.8]])
    picture = (codec := StateCodec()).encode_normals(normals)
    assert picture[:3].tolist() == torch.eye(3).tolist()
    torch.testing.assert_close(codec.decode_normals(0.7 * picture), normals)


def test_the_first_unit_of_a_clip_has_constants_of_its_own():
    codec = StateCodec()
    codes = torch.ones(1, 16, 3, 1, 1)
    begun, gone_on = codec.standardise(codes), codec.standardise(codes, begins=False)
    first, later = (1 - 0.149) / 1.8415, (1 + 0.2343) / 3.0986
    assert begun[0, 0].flatten().tolist() == pytest.approx([first, later, later])
    assert gone_on[0, 0].flatten().tolist() == pytest.approx([later] * 3)
    torch.testing.assert_close(codec.restore(begun), codes)


def test_chained_steps_are_the_cameras_again_and_two_wrongs_are_refused():
    poses = torch.stack([turn(0.0), turn(0.4, (1.0, 0.0, 2.0)), turn(0.9, (1.5, 0.0, 1.0))])
    torch.testing.assert_close(chain(relate(poses)[1:]), poses)
    torch.testing.assert_close(invert(poses) @ poses, torch.eye(4, dtype=torch.float64).expand(3, 4, 4))
    check_poses(poses, "poses")
    for wrong in (poses * 2, poses * torch.tensor([-1.0, 1, 1, 1]), poses + float("nan")):
        with pytest.raises(ValueError, match=r"poses\[0\] is no pose"):
            check_poses(wrong, "poses")
    with pytest.raises(ValueError, match="4 x 4"):
        check_poses(poses[:, :3], "poses")


def test_cameras_between_units_turn_at_even_speed_whatever_the_angle():
    for angle in (0.0, 1e-7, 0.1, 2.5):
        poses, _ = interpolate(torch.stack([turn(0.0), turn(angle, (8.0, 0, 0))]), torch.zeros(2, 3, 3).double(), 4)
        wanted = torch.stack([turn(angle * step / 4, (2.0 * step, 0, 0)) for step in range(5)])
        torch.testing.assert_close(poses, wanted, atol=1e-9, rtol=0)


@pytest.mark.parametrize("text", ["", "FN", "(F)", "(XN)", "(fBN)", "(FX)", "(rL)", "(FRB)", "((FN))", "(fn)", "(FN"])
def test_a_program_that_is_none_is_refused_with_its_step_and_the_codes(text):
    with pytest.raises(ValueError, match="step 1, .*fL, fR, rL, rR and TURN one of N, L, R"):
        ActionProgram.parse(text)
    with pytest.raises(ValueError, match="step 2, .* at character 6"):
        ActionProgram.parse("(fRL)" + (text or " "))


def test_all_27_steps_are_read_and_said_each_in_its_own_words():
    program = ActionProgram.parse("".join(f"({code})" for code in ACTIONS))
    assert program.codes == tuple(ACTIONS)
    assert len(set(program.codes)) == len(set(SENTENCES.values())) == len(set(ACTIONS.values())) == 27
    assert ActionProgram.parse("(RL)").prompts[1].startswith("Move to the right. Rotate the perspective counter")
    assert ACTIONS["RL"] == (0, 1, -1)
    assert divide_prompts(["empty", "a"], units=3, given=1) == [["empty", "a", "a"]]
