"""The public reference's own numbers, on its inputs: constants, rays, disparity, places, actions, the VAE."""

import pytest
import torch

from mirage_pl.deepverse.actions import ActionProgram, count_frames, divide_prompts
from mirage_pl.deepverse.batch import fit_picture
from mirage_pl.deepverse.clouds import choose_points, place_points
from mirage_pl.deepverse.model.cameras import chain, interpolate
from mirage_pl.deepverse.model.codec import StateCodec, find_scale
from mirage_pl.deepverse.model.rays import decode_rays, encode_rays
from mirage_pl.deepverse.model.vae import CausalVAE
from mirage_pl.deepverse.model.vae_coders import VaeSizes

RELEASED = StateCodec(compat=True)


def close(ours, wanted, tolerance=1e-5):
    torch.testing.assert_close(torch.as_tensor(ours).double(), torch.as_tensor(wanted).double(), rtol=0, atol=tolerance)


def compare(rebuild, tensor, wanted, tolerance=1e-4):
    """Shape, and values to a share of the tensor's own size."""
    assert list(tensor.shape) == wanted["shape"]
    size = wanted["norm"] / max(1, tensor.numel()) ** 0.5
    ours = rebuild.probe(tensor, len(wanted["values"]))
    close(ours["values"], wanted["values"], tolerance * size)
    close(ours["mean"], wanted["mean"], tolerance * size)
    close(ours["norm"] / wanted["norm"], 1, tolerance)


def cases(expected, section):
    for case in expected[section]["cases"]:
        yield case, case["expect"]


def test_constants_are_the_references(rebuild, expected):
    wanted, codec = expected["constants"], StateCodec()
    assert list(codec.first) == [wanted["first_latent"]["shift"], wanted["first_latent"]["scale"]]
    assert list(codec.later) == [wanted["later_latents"]["shift"], wanted["later_latents"]["scale"]]
    assert (list(codec.ray_mean), list(codec.ray_deviation)) == (wanted["ray_mean"], wanted["ray_std"])
    assert codec.channels == rebuild.CHANNELS


def test_rays_of_cameras_are_the_references_and_so_are_cameras_of_rays(rebuild, expected):
    for case, wanted in cases(expected, "rays"):
        poses, intrinsics = rebuild.ray_inputs(case)
        rays = encode_rays(poses, intrinsics[:, :3, :3], (case["h"], case["w"]), compat=True)
        compare(rebuild, rays, wanted["raymap"], 1e-5)
        close(rays[0, :, 0, 0], wanted["corner"])
        wobbled = rays + rebuild.ray_wobble(case)[0].transpose(0, 1)
        mean, deviation = RELEASED.ray_constants(rays)
        cameras, intrinsics = RELEASED.decode_rays((rays - mean) / deviation)
        close(cameras, wanted["decoded_pose"])
        fx, fy, cx, cy = wanted["decoded_k"]
        close(intrinsics[:, 0, 0] / torch.tensor(fx), torch.ones(len(fx)))
        close(intrinsics[:, 1, 1] / torch.tensor(fy), torch.ones(len(fy)))
        close(intrinsics[:, [0, 1], [2, 2]], torch.tensor([[cx, cy]]).expand(len(fx), -1))
        error = [angle_between(*pair) for pair in zip(cameras, poses, strict=True)]
        close(error, wanted["rotation_error_deg"], 2e-3)
        chained = chain(cameras)
        assert len(chained) == wanted["chained_len"]
        close(chained[-1], wanted["chained_last"])
        cameras, intrinsics = RELEASED.decode_rays((wobbled - mean) / deviation)
        poses, focal = (torch.tensor(wanted["wobbled"][key]) for key in ("pose", "f"))  # of the first few
        close(cameras[: len(poses)], poses, 1e-4)
        close(intrinsics[: len(focal), 0, 0] / focal, torch.ones(len(focal)), 1e-4)


def angle_between(ours, wanted):
    """Degrees between two rotations, small ones as well."""
    apart = (ours[:3, :3].double().T @ wanted[:3, :3].double() - torch.eye(3)).norm() / 8**0.5
    return 2 * torch.rad2deg(torch.asin(apart.clamp(max=1))).item()


def test_disparity_and_places_are_the_references_from_window_to_window(rebuild, expected):
    for _, wanted in cases(expected, "codec"):
        pictures = torch.tensor(wanted["decoded"]["q"])
        disparity = RELEASED.decode_disparity(pictures)
        close(disparity, wanted["decoded"]["disparity"])
        window = wanted["next_window"]
        following = torch.tensor(window["disparity"])
        close(disparity[-len(following) :], following)
        scale = find_scale(following[:1])
        close(scale / window["scale"], 1)
        close(RELEASED.encode_disparity(following, scale), window["encoded"])
        close(RELEASED.encode_places(torch.tensor(window["translations"]), scale), window["ray_origins"], 1e-4)


def test_programs_say_what_the_references_say_and_are_refused_where_it_refuses(rebuild, expected):
    assert expected["actions"]["programs"]
    for text, wanted in expected["actions"]["programs"].items():
        if isinstance(wanted, dict):
            with pytest.raises(ValueError, match="step 1|step 2"):
                ActionProgram.parse(text)
        else:
            program = ActionProgram.parse(text)
            assert (program.prompts, str(program)) == (wanted, text)


def test_windows_units_and_frames_of_a_program_are_the_references(rebuild, expected):
    for steps, wanted in expected["actions"]["padding"].items():
        windows = divide_prompts(["empty", *(f"a{step}" for step in range(1, int(steps) + 1))])
        units = 8 + 4 * (len(windows) - 1)
        assert [" ".join(window) for window in windows] == wanted["windows"]
        assert (units, count_frames(units)) == (wanted["units"], wanted["frames"])


def test_cameras_between_units_are_the_references(rebuild, expected):
    for case in expected["points"]["interpolation"]:
        poses, intrinsics = rebuild.path_inputs(case)
        poses, intrinsics = interpolate(poses, intrinsics[:, :3, :3])
        wanted = case["expect"]
        assert len(poses) == len(intrinsics) == wanted["count"]
        for place, pose in wanted["at"].items():
            close(poses[int(place)], pose, 1e-4)


def test_points_are_the_references_and_so_are_those_that_it_keeps(rebuild, expected):
    for case, wanted in cases(expected, "points"):
        given = rebuild.depth_inputs(case)
        points = place_points(given["depth"], given["pose"], given["k"][:3, :3], compat=True)
        for point in wanted["points"]:
            close(points[point["row"], point["col"]], point["xyz"], 1e-4)
            assert given["colour"][point["row"], point["col"]].tolist() == point["rgb"]
        kept = choose_points(points, given["depth"], compat=True)
        assert int(kept.sum()) == wanted["kept"]
        close(points[kept].sum(0), wanted["sum_xyz"], 1e-3)
        assert given["colour"][kept].long().sum(0).tolist() == wanted["sum_rgb"]


def test_rays_round_trip_at_pixel_centres_is_exact_where_the_released_one_is_not(rebuild, expected):
    for case, _ in cases(expected, "rays"):
        poses, intrinsics = rebuild.ray_inputs(case)
        if case.get("cx") is not None:
            continue  # the principal point comes back as the middle
        cameras, decoded = decode_rays(encode_rays(poses, intrinsics[:, :3, :3], (case["h"], case["w"])))
        assert max(angle_between(*pair) for pair in zip(cameras, poses, strict=True)) < 1e-3
        close(decoded[:, :2, :2] / case["fx"], torch.eye(2).expand(len(cameras), 2, 2), 2e-4)


@pytest.fixture(scope="module")
def vaes(rebuild, expected):
    """The tiny VAEs by name, with the reference's weights."""
    return {name: build_vae(rebuild, name, shapes) for name, shapes in expected["shapes"]["vae"].items()}


def build_vae(rebuild, name, shapes):
    config, strides = rebuild.VAE[name], (2, 2, 2, 1)
    layers = config["encoder_layers"], config["decoder_layers"]
    vae = CausalVAE(VaeSizes(config["latent"], config["blocks"], *layers, config["groups"], strides, strides)).eval()
    assert {key: list(weight.shape) for key, weight in vae.state_dict().items()} == shapes
    vae.load_state_dict(rebuild.state_dict(shapes))
    return vae


def test_the_vae_has_the_references_parameters_units_and_frames(rebuild, expected, vaes):
    wanted = expected["vae"]
    for name, vae in vaes.items():
        assert sum(weight.numel() for weight in vae.parameters()) == wanted["parameters"][name]
        units = wanted["arithmetic"]["latents_of_frames"]
        assert {frames: vae.count_units(int(frames)) for frames in units} == units
    assert {units: count_frames(int(units)) for units in wanted["arithmetic"]["frames_of_latents"]} == wanted[
        "arithmetic"
    ]["frames_of_latents"]


@torch.no_grad()
def test_clips_through_the_vae_are_the_references_whole_in_tiles_and_in_pieces(rebuild, expected, vaes):
    for case, wanted in cases(expected, "vae"):
        vae = vaes[case["config"]]
        clip, latent = rebuild.clip(case), rebuild.latent(case, vae.sizes.latent_channels)
        codes, decoded = vae.encode(clip), vae.decode(latent)
        compare(rebuild, codes.mean_BCNhw, wanted["mean"])
        compare(rebuild, codes.spread_BCNhw, wanted["logvar"])
        compare(rebuild, vae.decode(codes.mean_BCNhw), wanted["decoded_mean"])
        compare(rebuild, decoded, wanted["decoded"])
        if "tiled_mean" in wanted:
            compare(rebuild, vae.encode(clip, tile=case["tile"]).mean_BCNhw, wanted["tiled_mean"])
        if "tiled_decoded" in wanted:
            compare(rebuild, vae.decode(latent, tile=case["tile"]), wanted["tiled_decoded"])
        chunk = case.get("chunk", {"encode": 8, "decode": [1]})
        pieces = vae.encode(clip, piece=chunk["encode"] // vae.sizes.time).mean_BCNhw
        close(pieces, codes.mean_BCNhw, 1e-4)
        for piece in chunk["decode"]:
            close(vae.decode(latent, piece=piece), decoded, 1e-4)


def test_a_picture_to_begin_with_is_cut_and_resized_as_the_references(rebuild, expected):
    for case in expected["actions"]["image_preparation"]:
        # the file doesn't say how its input is drawn; this gives its numbers to the digit
        drawn = rebuild.uniform(case["seed"], "png", case["h"], case["w"], 3) * 255
        (height, width), wanted = case["to"], case["expect"]
        (picture,) = fit_picture(drawn.to(torch.uint8).numpy(), (height, width))
        assert list(picture.shape) == [3, *wanted["size"]]
        assert picture[:, 0, 0].tolist() == wanted["top_left"]
        assert picture[:, height // 2, width // 2].tolist() == wanted["middle"]
        assert picture.sum().item() == pytest.approx(wanted["sum"], rel=1e-3)
