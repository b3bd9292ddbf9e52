"""An evaluation that is interrupted, that meets bad rows, or that asks what the model was trained on."""

import json
import shutil
from pathlib import Path

import pytest

from mirage_pl.engine import evaluate
from mirage_pl.engine.training import fit
from tests.conftest import SMALL, compose

QUIET = ["callbacks.progress=null", "callbacks.scores=null", "trainer.limit_val_batches=0", "trainer.max_steps=2"]
TEST = ["task.per_level={train: 12, val: 4, test: 4}", "loader.eval_batch_size=3"]


@pytest.fixture(scope="module")
def run_folder(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit.run(compose("train", *SMALL, *QUIET, "stage=sft", f"data={data}", f"run_dir={folder}"))
    return folder


@pytest.fixture
def ask(run_folder, data):
    """Evaluate; each label is an evaluation of its own."""

    def ask(label, *overrides):
        return evaluate.run(
            compose("evaluate", f"ckpt={run_folder}", f"data={data}", f"label={label}", *TEST, *overrides)
        )

    return ask


def predictions(folder, label):
    return [json.loads(line) for line in (folder / "evaluation" / label / "predictions.jsonl").read_text().splitlines()]


def copied(data: Path, folder: Path, lines) -> Path:
    """A test file of ours beside copies of its images."""
    shutil.copytree(data / "vsp-28px" / "images", folder / "images")
    (folder / "test.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "test.jsonl"


def rows_of(data, split="test"):
    return [json.loads(line) for line in (data / "vsp-28px" / f"{split}.jsonl").read_text().splitlines()]


def test_an_interrupted_evaluation_goes_on_where_it_stopped(ask, run_folder, monkeypatch):
    whole = ask("whole")
    generate, calls = evaluate_module().generate, []

    def interrupted(self, *args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return generate(self, *args, **options)

    monkeypatch.setattr(evaluate_module(), "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask("broken")
    unfinished = run_folder / "evaluation" / "broken" / "unfinished"
    assert len((unfinished / "predictions.jsonl").read_text().splitlines()) == 3
    again = ask("broken")
    assert len(calls) == 4, "two batches were left of three"
    assert again["success"] == whole["success"]
    assert predictions(run_folder, "broken") == predictions(run_folder, "whole")
    assert not unfinished.exists()


def evaluate_module():
    from mirage_pl.mirage.module import MirageModule

    return MirageModule


def test_a_row_that_can_not_be_asked_leaves_the_others_their_results(ask, run_folder, data, tmp_path, capsys):
    ask("whole")
    file = copied(data, tmp_path, rows_of(data))
    bad = tmp_path / rows_of(data)[4]["image_input"]
    bad.write_bytes(bad.read_bytes()[:60])
    metrics = ask("bad", f"task.test_file={file}")
    assert metrics["success"]["all"]["n"] == 7
    assert [failure["where"] for failure in metrics["failures"]] == [f"{file}:5"]
    assert "cannot be read" in metrics["failures"][0]["error"]
    assert "1 item(s) could not be scored" in capsys.readouterr().out
    texts = [row["text"] for row in predictions(run_folder, "whole")]
    assert [row["text"] for row in predictions(run_folder, "bad")] == texts[:4] + texts[5:]


def test_a_picture_that_is_gone_is_left_out_too(ask, run_folder, data, tmp_path):
    """Rows without a map are told apart by their pictures, which are read before anything is asked."""
    rows = [{key: row[key] for key in ("text_input", "image_input")} for row in rows_of(data)[:3]]
    file = copied(data, tmp_path, [row | {"text_output": "\\boxed{A}"} for row in rows])
    (tmp_path / rows[1]["image_input"]).unlink()
    metrics = ask("gone", f"task.test_file={file}")
    assert [failure["where"] for failure in metrics["failures"]] == [f"{file}:2"]
    assert [row["where"] for row in predictions(run_folder, "gone")] == [f"{file}:1", f"{file}:3"]


def test_a_test_set_of_which_nothing_can_be_asked_is_refused(ask, data, tmp_path):
    file = copied(data, tmp_path, rows_of(data)[:2])
    for row in rows_of(data)[:2]:
        (tmp_path / row["image_input"]).write_bytes(b"no image")
    with pytest.raises(ValueError, match="no item of .*test.jsonl could be scored; .*cannot be read"):
        ask("nothing", f"task.test_file={file}")


def test_test_questions_are_held_against_the_training_file(ask, run_folder, data, tmp_path, capsys):
    facts = ask("whole")["test"]
    assert (facts["rows"], facts["seen"]) == (8, 0)
    assert facts["train_file"].endswith("train.jsonl")
    mixed = ask("mixed", f"task.test_file={copied(data, tmp_path, rows_of(data)[:3] + rows_of(data, 'train')[:2])}")
    assert mixed["test"]["seen"] == 2
    assert mixed["test"]["digest"] != facts["digest"]
    assert mixed["success"]["unseen"]["n"] == 3
    assert [row["seen"] for row in predictions(run_folder, "mixed")] == [False] * 3 + [True] * 2
    assert "2 of the test items are in" in capsys.readouterr().out


def test_answers_that_never_end_are_counted(ask, capsys):
    assert ask("short", "decoding.max_new_tokens=1")["cut"] == 8
    assert "8 answer(s) were cut at decoding.max_new_tokens=1" in capsys.readouterr().out


def test_a_misspelt_intervention_is_refused_before_a_question_is_asked(ask, run_folder):
    with pytest.raises(ValueError, match="interventions=sero is unknown; choose from identity, zero"):
        ask("typo", "interventions=[sero]")
    assert not (run_folder / "evaluation" / "typo").exists()


def test_a_run_is_evaluated_when_it_has_ended_and_only_once(data, tmp_path, monkeypatch):
    common = [*SMALL, *QUIET, "stage=sft", f"data={data}", f"run_dir={tmp_path}/run", "evaluate={num_shown: 1}"]
    fit.run(compose("train", *common, "task.rule=benchmark"))
    folder = tmp_path / "run" / "evaluation" / "vsp"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["finished"]
    assert metrics["test"]["seen"] == 0
    assert len(list((folder / "gallery").glob("*.png"))) == 2
    monkeypatch.setattr(evaluate, "run", lambda cfg: pytest.fail("it is there already"))
    fit.run(compose("train", *common, "task.rule=benchmark"))


def test_a_misspelt_value_of_evaluate_is_refused(data, tmp_path):
    common = [*SMALL, *QUIET, "stage=sft", f"data={data}", f"run_dir={tmp_path}/run", "evaluate={num_shwon: 1}"]
    with pytest.raises(Exception, match="num_shwon"):
        fit.run(compose("train", *common))


def test_what_a_run_cost_and_started_from_is_told(data, tmp_path):
    first = [*SMALL, *QUIET, "stage=stage1", f"data={data}", f"run_dir={tmp_path}/one"]
    metrics = fit.run(compose("train", *first))
    assert metrics["starts"] == {}
    assert metrics["seconds"] > 0
    assert (metrics["devices"], metrics["device"]) == (1, "cpu")
    second = [*SMALL, *QUIET, "stage=stage2", f"data={data}", f"init_from={tmp_path}/one", f"run_dir={tmp_path}/two"]
    assert fit.run(compose("train", *second))["starts"] == {"weights": f"{tmp_path}/one"}
