"""Clips through the VAE, scored: depth by hand, copying, the page, the session, and bad input."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from data_modules.episodes.form import Form
from data_modules.episodes.recording import read_episode
from mirage_pl.deepverse.batch import Batch, crop_middle, fit_depth, fit_frames
from mirage_pl.deepverse.evaluations.reconstruction import Reconstruct
from mirage_pl.deepverse.model.codec import StateCodec
from mirage_pl.deepverse.pictures import draw_disparity, find_scales, measure_angles, measure_depth_error, read_depth
from mirage_pl.deepverse.report import verdict
from mirage_pl.engine import evaluate, export
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.training import fit
from tests.conftest import compose
from tests.deepverse.conftest import QUIET, compose_small


@pytest.fixture(scope="module")
def scored(run):
    metrics = evaluate.run(compose("evaluate", f"ckpt={run}", "evaluation=deepverse/reconstruction", "num_shown=2"))
    rows = [json.loads(line) for line in (run / "evaluation/raycast/predictions.jsonl").read_text().splitlines()]
    return metrics, rows


def test_depth_comes_back_from_its_picture_whatever_the_scale_and_what_is_unknown_isnt_scored():
    depth = torch.tensor([2.0, 3.0, 50.0, 0.0, 1.0]).view(1, 1, 1, 5)
    codec, scale = StateCodec(), find_scales(depth)
    assert scale.item() == 1
    back = read_depth(codec, draw_disparity(codec, depth, scale), scale)
    torch.testing.assert_close(back[..., :3], depth[..., :3], rtol=1e-4, atol=0)
    assert back[..., 3].item() == pytest.approx(1000)
    assert measure_depth_error(back, depth).item() == pytest.approx(0, abs=1e-4)
    assert measure_depth_error(depth * 1.1, depth).item() == pytest.approx(0.1, abs=1e-5)
    assert measure_depth_error(back, depth * 0).item() == 0


def test_copying_the_first_frame_is_scored_by_frames_and_depth_themselves(run, walks, scored):
    metrics, rows = scored
    levels, errors = [], []
    for row in rows:
        line, first = map(int, row["where"].rpartition(":")[2].split("@"))
        index = walks / "raycast-16x12" / "test.jsonl"
        name = json.loads(index.read_text().splitlines()[line - 1])["episode"]
        episode = np.load(index.parent / name)
        frames, depth = episode["frames"][first : first + 5] / 255, episode["depth"][first : first + 5]
        levels.append(np.mean([-10 * np.log10(((frame - frames[0]) ** 2).mean() + 1e-8) for frame in frames[1:]]))
        errors.append(np.mean([(np.abs(depth[0] - far) / far).mean() for far in depth[1:]]))
    assert [row["conditions"]["copy_first"]["psnr"] for row in rows] == pytest.approx(levels, abs=1e-3)
    assert [row["conditions"]["copy_first"]["absrel"] for row in rows] == pytest.approx(errors, abs=1e-4)
    assert metrics["conditions"]["copy_first"]["measures"]["absrel"]["mean"] == pytest.approx(np.mean(errors), abs=1e-4)


def test_clips_that_arent_of_whole_units_are_refused_with_lengths_that_are(walks, tmp_path):
    cfg = compose_small("train", *QUIET, f"data={walks}", f"run_dir={tmp_path}/run", "task.window.length=7")
    with pytest.raises(ValueError, match=r"jsonl:\d+.*a clip of 7 frames.*give task.window.length=5 or 9"):
        fit.run(cfg)


def test_colours_are_learnt_by_each_frames_squared_error_and_depth_by_its_share(run):
    module = load_trained(run).module.eval()
    frames, depth = torch.randint(256, (2, 5, 3, 12, 16), dtype=torch.uint8), 1 + torch.rand(2, 5, 12, 16)
    batch = Batch((), frames, depth, torch.zeros(2, 5, 12, 16, 3))
    with torch.no_grad():
        losses, (_, back) = module.losses(batch), module.reconstruct(batch)
    truth = module.draw_pictures(batch)
    squares = (back["colours"] - truth[:2]).square().mean((1, 3, 4))
    torch.testing.assert_close(losses["colours"], squares.sqrt().mean(), rtol=1e-4, atol=0)
    shares = (back["disparity"] - truth[2:]).abs() / ((truth[2:] + 1) / 2).clamp(0.1, 1)
    torch.testing.assert_close(losses["disparity"], shares.mean())


def test_intervals_draw_walks_maps_are_groups_and_the_page_plays_clips_beside_their_depth(run, scored):
    metrics, rows = scored
    assert len(rows) == 2 * len({row["unit"] for row in rows}) == 8
    assert {"known map", "new map"} <= metrics["psnr"].keys()
    assert metrics["codes"]["first_deviation"] > 0
    page = (run / "evaluation/raycast/report.html").read_text()
    assert page.count("data:image/gif") == 4
    assert "copying the first frame" in page
    with Image.open(next((run / "evaluation/raycast/gallery").glob("*.gif"))) as clip:
        assert clip.n_frames == 5
        assert clip.width > clip.height * 2


def test_codes_mean_and_deviation_are_those_of_all_numbers(run, walks, scored):
    trained = load_trained(run)
    data = trained.config.task
    index = walks / "raycast-16x12" / "test.jsonl"
    numbers = []
    for line in index.read_text().splitlines():
        episode = read_episode(index.parent / json.loads(line)["episode"], Form(dict(data.form["keys"])))
        for first in (0, 4):
            depth = torch.from_numpy(episode.geometry.depth_THW[first : first + 5])[None]
            frames = torch.from_numpy(episode.frames_THWC[first : first + 5]).movedim(-1, 1)[None]
            colours = (frames / 127.5 - 1).transpose(1, 2)
            pictures = torch.cat((colours, draw_disparity(StateCodec(), depth, find_scales(depth))))
            with torch.no_grad():
                numbers.append(trained.module.vae.encode(pictures).mean_BCNhw[:, :, 0])
    first = torch.stack(numbers)
    codes = scored[0]["codes"]
    assert codes["first_mean"] == pytest.approx(first.mean().item(), abs=1e-4)
    assert codes["first_deviation"] == pytest.approx(first.std(correction=0).item(), abs=1e-4)


def test_what_the_verdict_says_agrees_with_the_interval():
    def say(low, high, better):
        change = {"difference": (low + high) / 2, "low": low, "high": high, "n": 9}
        name = "psnr" if better == "higher" else "absrel"
        measure = {"kind": "mean", "better": better, "unit": "", "meaning": ""}
        return verdict(
            {"measures": {name: measure}, "conditions": {"copy_first": {"measures": {name: {"difference": change}}}}}
        )

    assert "beats copying the first frame" in say(-3, -2, "higher")[0]
    assert "beats copying the first frame" in say(0.2, 0.3, "lower")[0]
    assert "is worse than copying" in say(-0.3, -0.2, "lower")[0]
    assert "isn't shown to beat" in say(-1, 1, "higher")[0]
    assert list(verdict({"measures": {}})) == []


def test_frames_of_another_shape_are_cut_around_their_middle():
    wide = torch.arange(20).repeat(4, 1)
    assert crop_middle(wide, (3, 4))[0].tolist() == [7, 8, 9, 10, 11]
    assert crop_middle(wide.T, (3, 4)).shape == (3, 4)
    frames = np.repeat(np.arange(20, dtype=np.uint8)[None, None, :, None], 12, 1).repeat(3, 3)
    assert fit_frames(frames, (6, 8)).shape == (1, 3, 6, 8)
    assert fit_frames(frames, (6, 8))[0, 0, 0].tolist()[0] in (2, 3)
    depth = np.where(np.arange(16) < 8, 1.0, 9.0).astype(np.float32)[None, None].repeat(12, 1)
    assert set(fit_depth(depth, (6, 8)).flatten().tolist()) == {1.0, 9.0}


def test_angles_between_normals_are_those_that_one_draws_and_what_isnt_known_isnt_scored():
    truth = torch.tensor([[0.0, 0, -1], [0, 0, -1], [0, 0, -1], [0, 0, 0]]).view(1, 1, 1, 4, 3)
    ours = torch.tensor([[0.0, 0, -1], [0, -1, -1], [0, 0, 0], [1, 0, 0]]).view(1, 1, 1, 4, 3)
    angles = measure_angles(torch.nn.functional.normalize(ours, dim=-1), truth).flatten()
    torch.testing.assert_close(angles[:3], torch.tensor([0.0, 45, 90]), atol=1e-4, rtol=0)
    assert angles[3].isnan()


@pytest.mark.parametrize("modalities", ["rgb", "rgbdn"])
def test_modalities_are_learnt_scored_and_shown_as_far_as_they_go(modalities, walks, tmp_path):
    folder, normals = tmp_path / "run", modalities == "rgbdn"
    given = [f"data={walks}", f"run_dir={folder}", "loader.batch_size=4", f"modalities={modalities}"]
    fit.run(compose_small("train", *QUIET, "trainer.max_steps=1", *given))
    metrics = evaluate.run(compose("evaluate", f"ckpt={folder}", "evaluation=deepverse/reconstruction", "num_shown=1"))
    scored = {name for name in metrics["measures"] if metrics[name]["all"]["n"]}
    assert scored == {"psnr", "ssim"} | ({"absrel", "angle", "angle_mean", "within"} if normals else set())
    assert not metrics["ungraded"]
    if normals:
        copied = metrics["conditions"]["copy_first"]["measures"]
        assert 0 <= copied["angle"]["mean"] < copied["angle_mean"]["mean"] < 60
        assert 0 <= copied["within"]["mean"] <= 1
    episode = next((walks / "raycast-16x12" / "episodes").glob("test_*.npz"))
    use = infer.run(
        compose("infer", "session=deepverse/reconstruct", f"ckpt={folder}", f"out={tmp_path}/a", f"clip={episode}")
    )
    with Image.open(use[0]["files"][1]) as clip:
        assert (clip.height > clip.width) == normals
    assert len(use[0]["files"]) == (4 if normals else 2)


def test_clips_without_depth_are_refused_in_training_and_failures_in_evaluation(run, walks, tmp_path):
    with pytest.raises(ValueError, match="zero"):
        Reconstruct(["zero"], "rgbd")
    index = walks / "raycast-16x12" / "test.jsonl"
    rows = [json.loads(line) for line in index.read_text().splitlines()[:2]]
    flat = np.load(index.parent / rows[0]["episode"])
    np.savez(tmp_path / "flat.npz", frames=flat["frames"][:, ::-1], actions=flat["actions"])
    moved = [row | {"episode": str(index.parent / row["episode"])} for row in rows]
    moved.append({"episode": "flat.npz", "length": 9})
    (tmp_path / "some.jsonl").write_text("".join(json.dumps(row) + "\n" for row in moved))
    given = [f"ckpt={run}", f"task.test_file={tmp_path}/some.jsonl", "label=some", "conditions=[]"]
    metrics = evaluate.run(compose("evaluate", "evaluation=deepverse/reconstruction", *given))
    assert metrics["psnr"]["all"]["n"] == 4
    assert ["no depth; name its array" in failure["error"] for failure in metrics["failures"]] == [True, True]


def test_a_clip_is_written_beside_its_reconstruction_with_depth_where_it_has_one(run, walks, tmp_path):
    episode = next((walks / "raycast-16x12" / "episodes").glob("test_*.npz"))
    given = ["session=deepverse/reconstruct", f"ckpt={run}"]
    (use,) = infer.run(compose("infer", *given, f"out={tmp_path}/a", f"clip={episode}"))
    assert use["text"].startswith("1152 numbers of 9 frames")  # 2 x 16 channels x 3 units x 3 x 4 places
    assert [file.rpartition(".")[2] for file in use["files"]] == ["mp4", "gif", "ply", "glb"]
    with Image.open(use["files"][1]) as clip:
        assert clip.n_frames == 9
        shape = clip.size
    (use,) = infer.run(compose("infer", *given, f"out={tmp_path}/b", f"clip={use['files'][1]}"))
    assert use["text"].startswith("576 numbers of 9 frames")
    with Image.open(use["files"][1]) as clip:
        assert clip.width / clip.height > 1.9 * shape[0] / shape[1]  # no depth below
    with pytest.raises(ValueError, match="does not exist"):
        infer.run(compose("infer", *given, f"out={tmp_path}/c", f"clip={tmp_path}/gone.gif"))


def test_an_export_is_read_back_as_a_model_to_begin_with(run, walks, tmp_path):
    out = export.run(compose("export", f"ckpt={run}", f"out={tmp_path}/out"))
    config = json.loads((out / "config.json").read_text())
    assert {"latent_channels": 16, "patch": 4, "channels": [8, 8, 8]}.items() <= config.items()
    weights = load_trained(run).module.vae.state_dict()
    from mirage_pl.deepverse.model.released import read_weights

    assert all(torch.equal(weight, weights[name]) for name, weight in read_weights(str(out), weights).items())
