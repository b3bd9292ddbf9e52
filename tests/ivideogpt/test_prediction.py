"""Imagined clips scored: against copying, with something taken from the model, by frame, and by sets."""

import json

import numpy as np
import pytest
import torch

from mirage_pl.engine import evaluate
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.evaluation.frames import psnr, squared_error
from mirage_pl.engine.evaluation.test_set import open_split
from mirage_pl.engine.training import fit
from mirage_pl.ivideogpt.evaluations import fvd
from mirage_pl.ivideogpt.evaluations.fvd import Fvd, compare_halves, frechet_distance
from mirage_pl.ivideogpt.evaluations.measures import FrameScores
from mirage_pl.ivideogpt.evaluations.prediction import Predict
from mirage_pl.ivideogpt.evaluations.prediction_trial import CONDITIONS
from mirage_pl.ivideogpt.evaluations.prediction_words import verdict
from mirage_pl.ivideogpt.model.rollout import Sampling, imagine
from mirage_pl.ivideogpt.model.transformer import symlog
from tests.conftest import compose
from tests.ivideogpt.conftest import QUIET, compose_small
from tests.squares import write_squares

WINDOW = "task.window={length: 4, hop: 1}"
NO_FVD = Fvd([], 256, None)


@pytest.fixture(scope="module")
def world(run, squares, tmp_path_factory):
    """The folder of a world model's run of two steps, of three frames after one."""
    folder = tmp_path_factory.mktemp("predict") / "run"
    words = [*QUIET, f"data={squares}", WINDOW, f"stage.starts.tokenizer.run={run}", f"run_dir={folder}"]
    fit.run(compose_small("train", *words, stage="ivideogpt/world_model"))
    return folder


@pytest.fixture(scope="module")
def trained(world):
    return load_trained(str(world))


def score(world, *words, label="scored"):
    given = [f"ckpt={world}", "evaluation=ivideogpt/prediction", f"label={label}", "num_shown=8", *words]
    metrics = evaluate.run(compose("evaluate", *given))
    rows = (world / "evaluation" / label / "predictions.jsonl").read_text().splitlines()
    return metrics, [json.loads(row) for row in rows]


@pytest.fixture(scope="module")
def scored(world):
    """Metrics and rows of an evaluation under all conditions."""
    return score(world, "draws=2")


def build(**options):
    """An evaluation with defaults."""
    given = {"conditions": None, "sampling": Sampling(), "draws": 0, "drawing": Sampling(1.0), "lpips": None}
    return Predict(**{**given, "fvd": NO_FVD, "compat": False, "seed": 0, **options})


def open_trial(trained, picks=None, **options):
    data = open_split(trained.config.task, trained.collator)
    return build(**options).open(trained.module, data, lambda name, make: make(), picks=picks)


def take_clips(trained):
    """The test clips as a batch, their true frames after the context, and all that the model makes of them."""
    data = open_split(trained.config.task, trained.collator)
    rows = data.datasets["test"]
    batch = trained.collator([rows[index] for index in range(len(rows))])
    frames = batch.frames_BTCHW / 255
    return batch, frames


def test_each_score_is_that_of_the_clip_computed_by_itself(trained, scored):
    metrics, rows = scored
    batch, frames = take_clips(trained)
    module, rest = trained.module, frames[:, 1:]
    assert len(rows) == len(batch) == 8
    for number, row in enumerate(rows):
        clip = frames[[number]]
        with torch.no_grad():
            ours = imagine(module.net, clip[:, :1], 3, batch.actions_BSA[[number]])
            predicted = module.net.read(clip, batch.actions_BSA[[number]])
            losses = module.losses(trained.collator([batch.samples[number]]))
        levels = psnr(squared_error(ours.frames_BFCHW[0], rest[number]))
        assert row["psnr"] == pytest.approx(levels.mean().item(), abs=1e-3)
        assert row["cross_entropy"] == pytest.approx(losses["codes"].item(), rel=1e-4)
        assert row["reward_error_seen"] == pytest.approx(losses["reward"].item(), rel=1e-3, abs=1e-6)
        error = (symlog(ours.rewards_BF) - symlog(batch.rewards_BS[[number]])).square().mean()
        assert row["reward_error"] == pytest.approx(error.item(), rel=1e-3, abs=1e-6)
        assert predicted.codes_BFn.shape == (1, 3, 1)
    assert metrics["psnr"]["all"]["mean"] == pytest.approx(np.mean([row["psnr"] for row in rows]))
    assert metrics["psnr"]["all"]["n"] == 8
    assert len({row["unit"] for row in rows}) == 4


def test_conditions_are_copies_true_codes_other_actions_and_a_gray_context(trained, scored):
    metrics, rows = scored
    batch, frames = take_clips(trained)
    net, rest = trained.module.net, frames[:, 1:]
    copies, gray = frames[:, :1].expand_as(rest), torch.full_like(frames[:, :1], 0.5)
    with torch.no_grad():
        through = trained.module.reconstruct(frames).dynamics_BFCHW.clamp(0, 1)
        still = imagine(net, frames[:, :1], 3, torch.zeros_like(batch.actions_BSA)).frames_BFCHW
        others = imagine(net, frames[:, :1], 3, batch.actions_BSA.roll(-4, 0)).frames_BFCHW
        grown = imagine(net, gray, 3, batch.actions_BSA).frames_BFCHW
    by_hand = {"copy_last": copies, "tokenizer": through, "no_actions": still, "shuffled_actions": others}
    for name, ours in {**by_hand, "no_context": grown}.items():
        levels = psnr(squared_error(ours.flatten(0, 1), rest.flatten(0, 1))).view(8, 3)
        each = [row["conditions"][name]["psnr"] for row in rows]
        assert each == pytest.approx(levels.mean(1).tolist(), abs=2e-3)
        assert metrics["horizon"]["psnr"][name] == pytest.approx(levels.mean(0).tolist(), abs=2e-3)
    assert all(row["conditions"]["copy_last"]["repetition"] == 1 for row in rows)
    assert metrics["conditions"]["unigram"]["n"] == 0
    assert metrics["conditions"]["unigram"]["measures"]["cross_entropy"]["n"] == 8
    assert metrics["ungraded"] == 0


def test_the_gain_by_frame_is_paired_with_copying(scored):
    metrics, _ = scored
    horizon = metrics["horizon"]
    for frame, gain in enumerate(horizon["gain"]):
        level, copied = (horizon["psnr"][name][frame] for name in ("own", "copy_last"))
        assert gain["difference"] == pytest.approx(level - copied, abs=1e-3)
        assert gain["low"] <= gain["difference"] <= gain["high"]
        assert gain["n"] == 8


def test_the_mean_of_draws_and_the_best_by_each_measure_are_apart(scored):
    _, rows = scored
    for row in rows:
        mean, best = (row["conditions"][name] for name in ("drawn", "best_drawn"))
        assert best["psnr"] >= mean["psnr"]
        assert best["ssim"] >= mean["ssim"]
        assert best["mse"] <= mean["mse"]


def test_a_clips_scores_depend_on_no_other_clip(world, scored):
    names = ["shuffled_actions", "drawn", "unigram"]
    words = ["temperature=1", "draws=2", f"conditions=[{','.join(names)}]"]
    _, together = score(world, *words, label="together")
    _, alone = score(world, *words, "loader.eval_batch_size=1", label="alone")
    _, greedy = scored
    assert [row["psnr"] for row in together] != [row["psnr"] for row in greedy]
    for one, other in zip(together, alone, strict=True):
        flat, same = (
            {
                **row,
                **{f"{name}-{key}": value for name, each in row["conditions"].items() for key, value in each.items()},
            }
            for row in (one, other)
        )
        numbers = {name: value for name, value in flat.items() if isinstance(value, float)}
        assert {name: same[name] for name in numbers} == pytest.approx(numbers, rel=1e-3, abs=1e-4)


def test_as_published_context_frames_count_too(world, trained):
    metrics, rows = score(world, "compat=true", "conditions=[copy_last]", label="compat")
    _, frames = take_clips(trained)
    with torch.no_grad():
        context = trained.module.reconstruct(frames).context_BTCHW.clamp(0, 1)
        level = psnr(squared_error(context[:, 0], frames[:, 0])).mean().item()
    assert metrics["context_counts"] is True
    assert [len(means) for means in metrics["horizon"]["psnr"].values()] == [4, 4]
    assert metrics["horizon"]["psnr"]["own"][0] == pytest.approx(level, abs=1e-3)


def test_lpips_is_there_only_with_a_network_and_is_what_that_says(world, scored, tmp_path):
    class Distance(torch.nn.Module):
        def forward(self, x, y):
            return (x - y).abs().mean((1, 2, 3))[:, None, None, None]

    pair = torch.zeros(2, 3, 16, 16), torch.zeros(2, 3, 16, 16)
    torch.jit.trace(Distance(), pair).save(str(tmp_path / "lpips.pt"))
    assert "lpips" not in scored[0]["measures"]
    scores = FrameScores(str(tmp_path / "lpips.pt"))
    ours, truth = torch.rand(2, 3, 3, 16, 16), torch.rand(2, 3, 3, 16, 16)
    by_hand = 2 * (ours - truth).abs().mean((2, 3, 4))
    torch.testing.assert_close(scores(ours, truth)["lpips"], by_hand)
    assert scores.measures["lpips"].better == "lower"
    with pytest.raises(ValueError, match=r"lpips=\S+gone.pt does not exist"):
        build(lpips=str(tmp_path / "gone.pt"))


def test_fvd_is_that_of_the_set_and_never_without_what_it_is_read_with(run, tmp_path, capsys, monkeypatch):
    def see(self, clips):
        return clips.float().mean((2, 3, 4))

    monkeypatch.setattr(Fvd, "see", see)
    monkeypatch.setattr(fvd, "find_weights", lambda weights: None)
    write_squares(tmp_path / "data" / "episodes", length=11)
    words = [*QUIET, f"data={tmp_path}/data", "task.window={length: 10, hop: 1}"]
    start = [f"stage.starts.tokenizer.run={run}", f"run_dir={tmp_path}/run", "trainer.max_steps=0"]
    fit.run(compose_small("train", *words, *start, stage="ivideogpt/world_model"))
    given = ["fvd.scored=[own,copy_last]", "fvd.least=8", "conditions=[copy_last,no_context]"]
    metrics, rows = score(tmp_path / "run", *given, label="fvd")
    _, frames = take_clips(load_trained(str(tmp_path / "run")))
    rest, copies = frames[:, 1:], frames[:, :1].expand(-1, 9, -1, -1, -1)
    true, frozen = (see(None, clips).double().numpy() for clips in (rest, copies))
    measured = {name: each["measures"]["fvd"]["mean"] for name, each in metrics["conditions"].items()}
    assert measured == {"copy_last": pytest.approx(frechet_distance(frozen, true), rel=1e-3), "no_context": None}
    halves = compare_halves(true, true, [row["unit"] for row in rows])
    assert (metrics["fvd"]["all"]["n"], metrics["fvd"]["left"]["mean"]) == (8, None)
    assert {"fvd_clips": 8, "fvd_frames": 9}.items() <= metrics["imagined"].items()
    assert metrics["imagined"]["fvd_real"] == pytest.approx(halves["fvd_real"], rel=1e-3)
    printed = capsys.readouterr().out
    assert printed.count("over 8 clips of 9 frames") == 2
    assert verdict(metrics)[-1] in printed
    assert "of a frozen frame" in verdict(metrics)[-1]
    alone, _ = score(tmp_path / "run", "fvd.scored=[copy_last]", "fvd.least=8", "conditions=[copy_last]", label="alone")
    assert alone["imagined"] == {name: metrics["imagined"][name] for name in ("fvd_clips", "fvd_frames", "fvd_real")}
    with pytest.raises(ValueError, match="FVD of 8 clips says little: fvd.least=256"):
        score(tmp_path / "run", "fvd.scored=[own]", label="few")


def test_what_cant_be_scored_is_refused_in_a_line(trained):
    for options, words in (
        ({"conditions": ["shuffled"]}, "conditions .'shuffled'. are unknown; choose from copy_last"),
        ({"fvd": Fvd(["frozen"], 256, None)}, "conditions .'frozen'. are unknown"),
        ({"conditions": ["best_drawn"]}, "need draws, and draws=0"),
        ({"draws": 3, "drawing": Sampling()}, "temperature=0 above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            build(**options)
    trial = open_trial(trained, picks=[])
    assert (list(trial.score("own")), trial.describe()) == ([], {})
    trial = open_trial(trained)
    assert list(trial.conditions) == [name for name in CONDITIONS if "drawn" not in name]
    trial.failures = [{"where": clip.where, "error": "gone"} for clip in trial.clips[2:]]
    assert "shuffled_actions" not in trial.conditions
    alone = open_trial(trained, conditions=["shuffled_actions"])
    alone.clips = alone.clips[:2]
    with pytest.raises(ValueError, match="shuffled_actions can't be made: there is one episode"):
        _ = alone.conditions


def test_a_model_without_actions_has_no_condition_of_actions(run, squares, tmp_path):
    words = [*QUIET, f"data={squares}", WINDOW, f"stage.starts.tokenizer.run={run}", f"run_dir={tmp_path}/free"]
    fit.run(compose_small("train", *words, "action_dim=0", "reward=false", stage="ivideogpt/world_model"))
    metrics, _ = score(tmp_path / "free")
    assert set(metrics["conditions"]) == {"copy_last", "tokenizer", "no_context", "unigram"}
    assert metrics["reward_error"]["all"]["n"] == 0
    with pytest.raises(ValueError, match="no_actions can't be made: the model takes no actions"):
        score(tmp_path / "free", "conditions=[no_actions]")


def test_the_page_has_curves_clips_and_strips_and_the_verdict_agrees_with_the_intervals(world, scored):
    folder = world / "evaluation" / "scored"
    page = (folder / "report.html").read_text()
    assert "Frame by frame" in page
    assert page.count("data:image/gif") == 16
    assert (folder / "gallery" / "0_strip.png").is_file()
    assert (folder / "imagined" / "horizon.png").is_file()

    def say(low, high, gains):
        change = {"difference": (low + high) / 2, "low": low, "high": high, "n": 9}
        condition = {"difference": change, "measures": {"cross_entropy": {"difference": change}}}
        names = ("copy_last", "shuffled_actions", "no_context", "unigram")
        return verdict({"conditions": dict.fromkeys(names, condition), "horizon": {"gain": gains}})

    ahead = [{"difference": 1, "low": -1, "high": 3}, {"difference": 2, "low": 1, "high": 3}]
    assert say(0.1, 0.3, ahead)[0].startswith("It beats copying the newest context frame from frame 2 on")
    assert "It uses its actions: with those of another clip a code has +0.20 nats [+0.10, +0.30]." in say(
        0.1, 0.3, ahead
    )
    assert "isn't shown to use its actions" in say(-0.1, 0.3, ahead)[1]
    assert "isn't shown to beat copying" in say(-0.1, 0.3, ahead[::-1])[0]
    assert verdict({}) == []
