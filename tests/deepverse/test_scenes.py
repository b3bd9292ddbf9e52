"""Clouds in a GLB: read back by the standard's rules, axes, colours, one after the other."""

import json
import struct

import numpy as np
import pytest
import torch

from data_modules.worlds.raycast import EYE, Raycast
from data_modules.worlds.walks import walk
from mirage_pl.deepverse.clouds import Cloud
from mirage_pl.deepverse.scenes import Scene, build_scene
from mirage_pl.deepverse.surfaces import refine_depth

KINDS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}


def read(file):
    """The document, and each accessor's rows."""
    content = file.read_bytes()
    name, version, length = struct.unpack("<4sII", content[:12])
    assert (name, version, length) == (b"glTF", 2, len(content))
    chunks, at = {}, 12
    while at < length:
        size, kind = struct.unpack("<I4s", content[at : at + 8])
        assert size % 4 == 0
        chunks[kind], at = content[at + 8 : at + 8 + size], at + 8 + size
    document = json.loads(chunks[b"JSON"])
    rows = []
    for accessor in document.get("accessors", []):
        view = document["bufferViews"][accessor["bufferView"]]
        dtype = {5126: "<f4", 5123: "<u2"}[accessor["componentType"]]
        assert view["byteOffset"] % 4 == 0
        part = chunks[b"BIN\0"][view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        table = np.frombuffer(part, dtype).reshape(accessor["count"], KINDS[accessor["type"]])
        if "min" in accessor:
            assert (table.min(0).tolist(), table.max(0).tolist()) == (accessor["min"], accessor["max"])
        rows.append(table)
    return document, rows


def draw_cloud(seed, count=5):
    draws = np.random.default_rng(seed)
    return Cloud(draws.normal(size=(count, 3)).astype(np.float32), draws.integers(0, 256, (count, 3)).astype(np.uint8))


def test_points_and_colours_are_read_back_with_y_up_and_z_towards_the_viewer(tmp_path):
    cloud = draw_cloud(0)
    Scene([cloud]).save(tmp_path / "a.glb")
    document, rows = read(tmp_path / "a.glb")
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0
    assert np.array_equal(rows[primitive["attributes"]["POSITION"]], cloud.points_M3)
    colours = rows[primitive["attributes"]["COLOR_0"]]
    assert (colours[:, 3] == 65535).all()
    share = colours[:, :3] / 65535  # light, so that a half of it is much brighter than the half of 255
    back = np.where(share <= 0.0031308, share * 12.92, 1.055 * share ** (1 / 2.4) - 0.055) * 255
    np.testing.assert_allclose(back, cloud.colours_M3, atol=0.1)
    x, y, z, w = document["nodes"][0]["rotation"]
    assert (x, y, z, w) == (1, 0, 0, 0)  # half a turn round x: y and z change their signs
    assert document["nodes"][0]["children"] == [1]
    assert document["extensionsUsed"] == ["KHR_materials_unlit"]
    assert "animations" not in document


def test_clouds_with_a_rate_are_seen_one_after_the_other_and_the_last_one_stays(tmp_path):
    Scene([draw_cloud(seed) for seed in range(3)], rate=4).save(tmp_path / "a.glb")
    document, rows = read(tmp_path / "a.glb")
    (animation,) = document["animations"]
    shown = []
    for time in (0.0, 0.1, 0.25, 0.3, 0.6, 0.75):
        sizes = []
        for channel in animation["channels"]:
            sampler = animation["samplers"][channel["sampler"]]
            assert (channel["target"]["path"], sampler["interpolation"]) == ("scale", "STEP")
            times = rows[sampler["input"]][:, 0]
            assert (np.diff(times) > 0).all()
            assert times[0] == 0
            sizes.append(float(rows[sampler["output"]][np.searchsorted(times, time, "right") - 1].max()))
        shown.append(sizes)
    assert shown == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize("clouds", [[], [draw_cloud(0, 0)], [draw_cloud(0, 0), draw_cloud(1)]])
def test_a_cloud_without_points_takes_no_place_in_a_file_that_is_valid(clouds, tmp_path):
    Scene(clouds, rate=2).save(tmp_path / "a.glb")
    document, rows = read(tmp_path / "a.glb")
    assert len(document.get("meshes", [])) == sum(len(cloud.points_M3) > 0 for cloud in clouds)
    assert len(document["nodes"]) == 1 + len(document.get("meshes", []))
    assert ("children" in document["nodes"][0]) == bool(rows)
    assert ("buffers" in document) == bool(rows)


def test_a_scene_of_a_walk_lies_in_the_first_cameras_axes_and_normals_mend_its_depth():
    world, draws = Raycast(24, 32), np.random.default_rng(3)
    world.reset(1, draws)
    episode = walk(world, "wander", 5, 4, draws)
    space = {name: torch.from_numpy(array) for name, array in episode.geometry.arrays().items()}
    frames = torch.from_numpy(episode.frames_THWC).movedim(-1, 1) / 255
    given = frames, space["depth"], space["intrinsics"], space["poses"]
    exact = build_scene(*given, rate=2)
    assert (len(exact.clouds), exact.rate) == (5, 2)
    for cloud in exact.clouds:
        there = cloud.points_M3 @ space["poses"][0, :3, :3].numpy().T + space["poses"][0, :3, 3].numpy()
        flat = np.abs(np.abs(there[:, 1]) - EYE) < 1e-3
        assert (flat | (np.minimum(*np.abs(there[:, [0, 2]] - there[:, [0, 2]].round()).T) < 1e-3)).all()
    noise = torch.randn(space["depth"].shape, generator=torch.Generator().manual_seed(0))
    noisy = space["depth"] * (0.03 * noise).exp()
    mended = torch.stack(
        [refine_depth(*each) for each in zip(noisy, space["normals"], space["intrinsics"], strict=True)]
    )
    before, after = ((each / space["depth"]).log().abs().mean() for each in (noisy, mended))
    assert after < 0.6 * before
    refined = build_scene(frames, noisy, space["intrinsics"], space["poses"], space["normals"])
    assert sum(len(cloud.points_M3) for cloud in refined.clouds) > 0.5 * frames[:, 0].numel()
