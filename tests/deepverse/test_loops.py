"""Whole walks that are imagined on: what is given, what counts as seen again, and what each condition shows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.deepverse.evaluations.loops_trial import LoopTrial, MisledRollout
from mirage_pl.deepverse.evaluations.loops_words import verdict
from mirage_pl.deepverse.model.rollout import Rollout
from mirage_pl.engine import evaluate
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.evaluation.test_set import open_split
from tests.conftest import compose
from tests.deepverse.conftest import compose_world

LOOPS = ["task.length=25", "task.walks=[out_and_back,wander]", "task.episodes={train: 1, val: 1, test: 4}"]


@pytest.fixture(scope="module")
def loops(run_of_world, tmp_path_factory):
    """The scores of a run on walks that come back, their rows, and the folder of the walks."""
    data, folder = tmp_path_factory.mktemp("loops"), run_of_world / "world"
    instantiate(compose_world("train", *LOOPS, f"data={data}").task.data.maker, num_workers=1).make()
    options = [*LOOPS, f"data={data}", "label=loops", "steps=1", "seen=0.5"]
    metrics = evaluate.run(compose("evaluate", f"ckpt={folder}", "evaluation=deepverse/loops", *options))
    rows = [json.loads(line) for line in (folder / "evaluation/loops/predictions.jsonl").read_text().splitlines()]
    return metrics, rows, data / "raycast-16x16"


def test_half_of_each_walk_is_imagined_and_only_what_was_seen_before_counts_as_seen_again(loops):
    metrics, rows, folder = loops
    assert set(metrics["conditions"]) == {"copy_last", "no_memory", "placebo_memory"}
    assert [row["group"] for row in rows] == ["out_and_back", "wander"] * 2
    assert {row["map"] for row in rows} == {"known map", "new map"}
    names = [json.loads(line)["episode"] for line in (folder / "test.jsonl").read_text().splitlines()]
    for row, name in zip(rows, names, strict=True):
        assert row["imagined"] == 12  # 7 units, of which round(3.5) are given: 3 more of 4 frames
        assert len(row["psnr_by_unit"]) == 3
        assert row["psnr_all"] == pytest.approx(np.mean(row["psnr_by_unit"]))
        assert (row["psnr"] is None) == (row["seen_again"] == 0)
        if row["group"] == "out_and_back":
            assert row["seen_again"] > 0
        frames = np.load(folder / name)["frames"] / 255
        error = ((frames[13:] - frames[12]) ** 2).mean((1, 2, 3))
        assert row["conditions"]["copy_last"]["psnr_all"] == pytest.approx(
            np.mean(-10 * np.log10(error + 1e-8)), abs=1e-2
        )
        assert row["conditions"]["copy_last"]["psnr_all"] == pytest.approx(np.mean(row["copied_by_unit"]), abs=1e-2)
    assert metrics["psnr_by_unit"] == pytest.approx(np.mean([row["psnr_by_unit"] for row in rows], 0).tolist())


@pytest.fixture
def trial(run_of_world, loops):
    """A trial of the same walks."""
    _, _, folder = loops
    trained = load_trained(run_of_world / "world")
    cfg = compose_world("train", *LOOPS, f"data={folder.parent}")
    data = open_split(cfg.task, trained.collator)
    options = compose("evaluate", f"ckpt={run_of_world}/world", "evaluation=deepverse/loops", "steps=1", "seen=0.5")
    return instantiate(options.evaluation).open(trained.module, data, lambda _, make: make())


def test_a_walk_begins_as_it_was_and_turns_back_as_its_poses_say(trial):
    walk = trial.open_walk(trial.walks[0])
    number = trial.count_given(walk)
    walked = walk.take(number)
    assert number == 4
    assert walked.colours_3THW.shape[1] == 13
    torch.testing.assert_close(walked.disparity_THW * walk.depth_THW[:13], walk.scale.expand(13, 16, 16))
    assert walked.disparity_THW[0].max() == pytest.approx(1)
    torch.testing.assert_close(walked.poses_N44[0], torch.eye(4), atol=1e-6, rtol=0)
    step = (torch.linalg.inv(walk.poses_T44[0]) @ walk.poses_T44[12])[:3, 3]
    torch.testing.assert_close(walked.poses_N44[-1, :3, 3] * walk.scale, step, atol=1e-5, rtol=1e-4)
    rows = trial.score_walk(0, "own")["rows"]
    copied = walk.take(len(walk.told))
    truth = trial.write_row(walk, copied, *trial.read(walk, copied))
    assert truth["psnr_all"] > 70  # the walk itself, by the scores of an imagined one
    assert truth["absrel_all"] < 1e-5
    assert truth["turn_error"] < 0.05
    assert truth["move_error"] < 1e-3
    assert rows[0]["psnr_all"] < 40


def test_without_memory_none_is_chosen_and_the_placebo_shows_another_walk_where_the_right_view_was(trial, monkeypatch):
    walk, drawn, chosen = trial.open_walk(trial.walks[0]), [], []
    original = Rollout.draw_past

    def draw_past(self, walked, unit, given, scale):
        drawn.append((type(self), unit, walked.colours_3THW[:, unit * walk.stride], walked.poses_N44[unit]))
        return original(self, walked, unit, given, scale)

    monkeypatch.setattr(Rollout, "draw_past", draw_past)
    for condition in ("own", "no_memory", "placebo_memory"):
        trial.imagine(walk, 0, condition)
        chosen.append(len(drawn))
    assert 0 < chosen[0] == chosen[1] < chosen[2]
    (_, unit, right, pose), (kind, other_unit, wrong, other_pose) = drawn[0], drawn[chosen[1]]
    assert kind is MisledRollout
    assert unit == other_unit
    torch.testing.assert_close(pose, other_pose)
    assert not torch.equal(right, wrong)
    other = trial.open_walk(trial.find_other(0))
    assert torch.equal(wrong, other.take(len(other.told)).colours_3THW[:, unit * walk.stride])
    assert trial.find_other(0).entry.where != trial.walks[0].entry.where


def test_a_walk_that_leaves_nothing_to_imagine_and_bad_options_are_refused(trial, monkeypatch):
    short = trial.walks[0]
    short = replace(short, window=replace(short.window, length=5))
    monkeypatch.setattr(trial, "walks", [short])
    trial.sizes = replace(trial.sizes, given=2)
    (failure,) = trial.score_walk(0, "own")["failures"]
    assert "2 unit(s)" in failure["error"]
    for given, words in (("share=1", "share=1"), ("seen=0", "seen=0"), ("conditions=[fly]", "fly")):
        with pytest.raises(Exception, match=words):
            instantiate(compose("evaluate", "ckpt=none", "evaluation=deepverse/loops", given).evaluation)


def test_the_verdict_says_whether_memory_is_shown_to_help():
    def say(low, high):
        change = {"difference": (low + high) / 2, "low": low, "high": high, "n": 9}
        measure = {"kind": "mean", "better": "higher", "unit": "dB", "meaning": ""}
        return verdict(
            {"measures": {"psnr": measure}, "conditions": {"no_memory": {"measures": {"psnr": {"difference": change}}}}}
        )

    assert "A view of the past helps" in say(-2, -1)[0]
    assert "isn't shown to help" in say(-1, 1)[0]
    assert "it is worse" in say(1, 2)[0]
    assert issubclass(LoopTrial, object)
