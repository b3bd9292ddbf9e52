"""Clips through their codes, scored: measures by hand, conditions, words, and the session that shows one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mirage_pl.engine import evaluate, export
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.evaluation.frames import psnr, squared_error, ssim
from mirage_pl.engine.sessions import infer
from mirage_pl.ivideogpt.evaluations.reconstruction import Reconstruct
from mirage_pl.ivideogpt.report import verdict
from tests.conftest import compose


@pytest.fixture(scope="module")
def scored(run):
    metrics = evaluate.run(compose("evaluate", f"ckpt={run}", "evaluation=ivideogpt/reconstruction", "num_shown=2"))
    rows = [json.loads(line) for line in (run / "evaluation/episodes/predictions.jsonl").read_text().splitlines()]
    return metrics, rows


def test_frames_that_are_the_same_and_frames_that_are_shifted_by_a_shade():
    frames = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert psnr(squared_error(frames, frames)).tolist() == pytest.approx([80, 80])
    assert psnr(squared_error(frames + 0.1, frames)).tolist() == pytest.approx([20, 20], abs=1e-4)
    assert ssim(frames, frames).tolist() == pytest.approx([1, 1])
    flat = torch.full((1, 3, 16, 16), 0.5)
    assert ssim(flat, flat + 0.25).item() == pytest.approx((2 * 0.375 + 1e-4) / (0.25 + 0.5625 + 1e-4), abs=1e-3)
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_copying_the_context_is_scored_by_the_frames_themselves(run, scored):
    metrics, rows = scored
    by_hand = []
    for row in rows:
        index, _, place = row["where"].rpartition(":")
        line, first = map(int, place.split("@"))
        episode = json.loads(Path(index).read_text().splitlines()[line - 1])["episode"]
        frames = np.load(f"{index.rpartition('/')[0]}/{episode}")["frames"][first : first + 3] / 255
        by_hand.append([-10 * np.log10(((frame - frames[0]) ** 2).mean() + 1e-8) for frame in frames[1:]])
    copied, each = metrics["conditions"]["copy_context"]["measures"]["psnr"], np.mean(by_hand, 1)
    assert [row["conditions"]["copy_context"]["psnr"] for row in rows] == pytest.approx(each, abs=1e-3)
    assert copied["mean"] == pytest.approx(np.mean(by_hand), abs=1e-3)
    for frame, level in enumerate(np.mean(by_hand, 0), start=1):
        assert metrics["codes"][f"copy_context_psnr_{frame}"] == pytest.approx(level, abs=1e-3)
    own = metrics["psnr"]["all"]["mean"]
    assert (metrics["codes"]["psnr_1"] + metrics["codes"]["psnr_2"]) / 2 == pytest.approx(own, abs=1e-3)


def test_intervals_draw_episodes_and_codes_are_counted(scored):
    metrics, rows = scored
    assert len(rows) == 2 * len({row["unit"] for row in rows}) == 8
    assert metrics["psnr"]["all"]["n"] == 8
    codes = metrics["codes"]
    for book in ("context", "dynamics"):
        assert 1 <= codes[f"{book}_perplexity"] <= codes[f"{book}_used"] <= codes[f"{book}_codes"] == 1000


def test_the_page_plays_clips_and_says_whether_copying_is_beaten(run, scored):
    page = (run / "evaluation/episodes/report.html").read_text()
    assert page.count("data:image/gif") == 4
    assert "copying the newest context frame" in page
    with Image.open(next((run / "evaluation/episodes/gallery").glob("*.gif"))) as clip:
        assert clip.n_frames == 3


def test_what_the_verdict_says_agrees_with_the_interval():
    def say(low, high):
        change = {"difference": (low + high) / 2, "low": low, "high": high, "n": 9}
        measure = {"kind": "mean", "better": "higher", "unit": "dB", "meaning": ""}
        condition = {"measures": {"psnr": {"difference": change}}}
        return verdict(
            {"measures": {"psnr": measure}, "conditions": {"copy_context": condition, "no_context": condition}}
        )

    assert "beats copying the newest context frame: +2.50 dB [+2.00, +3.00]" in say(-3, -2)[0]
    assert say(-3, -2)[1].startswith("A gray context costs -2.50 dB")
    assert "is worse than copying" in say(1, 2)[0]
    assert "isn't shown to beat" in say(-1, 1)[0]
    assert verdict({"measures": {}}) == []


def test_a_condition_that_there_isnt_is_refused_and_a_clip_that_cant_be_read_is_a_failure(run, squares, tmp_path):
    with pytest.raises(ValueError, match="shuffled"):
        Reconstruct(["shuffled"], None)
    rows = (squares / "episodes" / "test.jsonl").read_text().splitlines()
    moved = [json.dumps(row | {"episode": str(squares / "episodes" / row["episode"])}) for row in map(json.loads, rows)]
    gone = json.dumps({"episode": "gone.npz", "length": 5})
    (tmp_path / "some.jsonl").write_text("\n".join([*moved[:2], gone]))
    given = [
        f"ckpt={run}",
        "evaluation=ivideogpt/reconstruction",
        f"task.test_file={tmp_path}/some.jsonl",
        "label=some",
    ]
    metrics = evaluate.run(compose("evaluate", *given, "conditions=[copy_context]"))
    assert metrics["psnr"]["all"]["n"] == 4
    assert ["gone.npz does not exist" in failure["error"] for failure in metrics["failures"]] == [True, True]


def test_a_clip_is_written_beside_its_reconstruction_as_mp4_and_gif(run, squares, tmp_path):
    episode = next((squares / "episodes" / "episodes").glob("test_*.npz"))
    given = ["session=ivideogpt/reconstruct", f"ckpt={run}", f"out={tmp_path}"]
    (use,) = infer.run(compose("infer", *given, f"clip={episode}", "first=1"))
    assert use["text"].startswith("4 + 2 codes")
    assert [file.rpartition(".")[2] for file in use["files"]] == ["mp4", "gif"]
    again = infer.run(compose("infer", *given, f"clip={use['files'][1]}", f"out={tmp_path}/again"))
    assert len(again[0]["files"]) == 2
    for clip, words in ((tmp_path / "a.gif", "does not exist"), (tmp_path / "a.txt", "no clip"), (episode, "first=4")):
        with pytest.raises(ValueError, match=words):
            infer.run(compose("infer", *given, f"clip={clip}", "first=4"))


def test_an_export_has_the_names_of_the_release_and_says_its_sizes(run, tmp_path):
    out = export.run(compose("export", f"ckpt={run}", f"out={tmp_path}/out"))
    config = json.loads((out / "config.json").read_text())
    tokenizer = load_trained(run).module.tokenizer
    assert {
        "resolution": 16,
        "context_length": 1,
        "num_vq_embeddings": 1000,
        "decode": "gated",
    }.items() <= config.items()
    assert (out / "diffusion_pytorch_model.safetensors").stat().st_size > 4 * sum(
        weight.numel() for weight in tokenizer.parameters()
    )
