"""Questions that can't be asked, questions without a known answer, and how a run's own task is scored."""

import json
import shutil
from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from data_modules.scores import Scores
from mirage_pl.engine import evaluate
from mirage_pl.engine.evaluation.answers import MEASURES, AnswersTrial, ask_batch, count_every_time
from mirage_pl.engine.evaluation.setup import add_kind, complete_config, find_kind, list_kinds
from mirage_pl.engine.evaluation.statistics import wilson
from mirage_pl.engine.evaluation.summary import summarize_scores
from mirage_pl.engine.training import fit
from tests.conftest import SMALL, compose

QUIET = ["callbacks.progress=null", "callbacks.scores=null", "trainer.limit_val_batches=0", "trainer.max_steps=2"]


class Sample:
    def __init__(self, where):
        self.where = where


class Prompts(list):
    def to(self, device):
        return self


class Collator:
    """Fails at some questions, in all the ways there are."""

    def __init__(self, bad):
        self.bad = bad

    def prompts(self, samples):
        for sample in samples:
            if sample.where in self.bad:
                raise self.bad[sample.where]
        return Prompts(samples)


class Module:
    device = "cpu"

    def generate(self, prompts, **decoding):
        self.texts = [sample.where.upper() for sample in prompts]
        return self


def ask(bad):
    samples = [Sample(f"f:{number}") for number in range(4)]
    return ask_batch(Module(), Collator(bad), samples, {})


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("f:2: image x cannot be read"), "f:2: image x cannot be read"),
        (ValueError("zip() argument 3 is longer"), "f:2: ValueError zip() argument 3 is longer"),
        (StopIteration(), "f:2: StopIteration"),
        (KeyError("pad"), "f:2: KeyError 'pad'"),
        (RuntimeError("shape\n mismatch"), "f:2: RuntimeError shape mismatch"),
    ],
)
def test_whatever_one_question_raises_is_its_own_failure(error, text):
    answered = ask({"f:2": error})
    assert answered["rows"] == [0, 1, 3]
    assert answered["generation"]["texts"] == ["F:0", "F:1", "F:3"]
    assert answered["failures"] == [{"where": "f:2", "error": text}]


def test_a_batch_of_failures_asks_nothing():
    answered = ask({f"f:{number}": ValueError("no") for number in range(4)})
    assert (answered["rows"], answered["generation"], len(answered["failures"])) == ([], None, 4)


def test_memory_that_runs_out_is_nobodys_failure():
    with pytest.raises(MemoryError):
        ask({"f:1": MemoryError()})


def test_questions_that_can_be_asked_but_not_together_are_an_error(monkeypatch):
    collator = Collator({})
    monkeypatch.setattr(collator, "prompts", lambda samples: Prompts(samples) if len(samples) == 1 else {}["no"])
    with pytest.raises(KeyError):
        ask_batch(Module(), collator, [Sample("f:0"), Sample("f:1")], {})


@pytest.fixture(scope="module")
def run_folder(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit.run(compose("train", *SMALL, *QUIET, "stage=sft", f"data={data}", f"run_dir={folder}"))
    return folder


def write_rows(data, folder, withheld, keep=("text_input", "image_input")):
    """Four test rows without their maps, of which some have an answer; returns the file."""
    shutil.copytree(data / "vsp-28px" / "images", folder / "images")
    rows = [json.loads(line) for line in (data / "vsp-28px" / "test.jsonl").read_text().splitlines()[:4]]
    rows = [{key: row[key] for key in keep} for row in rows]
    for number, row in enumerate(rows):
        if number not in withheld:
            row["text_output"] = r"\boxed{A}"
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "test.jsonl"


def read(run_folder, label):
    out = run_folder / "evaluation" / label
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return json.loads((out / "metrics.json").read_text(), parse_constant=pytest.fail), rows


@pytest.mark.parametrize(("withheld", "label"), [((0, 1, 2, 3), "hidden"), ((1, 3), "mixed")])
@pytest.mark.parametrize("task", ["own", "jsonl"])
def test_rows_without_an_answer_are_predicted_and_counted(run_folder, data, tmp_path, capsys, task, withheld, label):
    file, label = write_rows(data, tmp_path, withheld), f"{label}-{task}"
    words = [f"ckpt={run_folder}", f"task={task}", f"task.test_file={file}", f"label={label}"]
    evaluate.run(compose("evaluate", *words, "decoding.max_new_tokens=4"))
    metrics, rows = read(run_folder, label)
    assert metrics["ungraded"] == len(withheld)
    assert metrics["success"]["all"]["n"] == 4 - len(withheld)
    assert metrics["outcomes"]["ungraded"] == len(withheld)
    if len(withheld) == 4:
        assert metrics["success"]["all"] == {"mean": None, "low": None, "high": None, "n": 0}
    for number, row in enumerate(rows):
        assert isinstance(row["text"], str)
        assert row["success"] is None if number in withheld else isinstance(row["success"], bool)
    assert f"{len(withheld)} item(s) have nothing to be graded against" in capsys.readouterr().out
    assert "<html" in (run_folder / "evaluation" / label / "report.html").read_text()[:300]


def test_predictions_hold_the_question(run_folder):
    evaluate.run(compose("evaluate", f"ckpt={run_folder}", "label=plain", "decoding.max_new_tokens=4"))
    metrics, rows = read(run_folder, "plain")
    assert rows[0]["question"] == r"<image>Write the shortest safe path to the goal in \boxed{}."
    assert rows[0]["truth"].startswith(r"\boxed{")
    assert metrics["conditions_in"] == "interventions"


def test_a_row_without_a_picture_is_asked_and_drawn(run_folder, data, tmp_path):
    """A map alone is a question, too."""
    file = write_rows(data, tmp_path, (), keep=("text_input", "map_desc"))
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row | {"text_input": "Find the way.", "image_input": []} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluate.run(compose("evaluate", f"ckpt={run_folder}", f"task.test_file={file}", "label=blind"))
    metrics, rows = read(run_folder, "blind")
    assert (metrics["failures"], len(rows)) == ([], 4)
    assert len(list((run_folder / "evaluation" / "blind" / "gallery").glob("*.png"))) == 8


def test_a_run_is_scored_on_its_own_task_with_that_tasks_values(run_folder, data):
    cfg = compose("evaluate", f"ckpt={run_folder}")
    whole = complete_config(cfg, OmegaConf.load(run_folder / "config.yaml"), run_folder)
    assert (whole.task.name, whole.label, whole.data) == ("vsp", "vsp", str(data))
    assert whole.task.per_level == {"train": 12, "val": 4, "test": 4}
    assert whole.task.test_file == whole.task.data.files.test == f"{data}/vsp-28px/test.jsonl"
    assert (whole.task.cell_px, whole.task.data.seed) == (28, 42)
    assert whole.loader.eval_batch_size == 100


def test_values_of_the_own_task_may_be_set_and_reach_what_reads_them(run_folder):
    cfg = compose("evaluate", f"ckpt={run_folder}", "task.test_file=x.jsonl", "task.rule=benchmark", "data=elsewhere")
    whole = complete_config(cfg, OmegaConf.load(run_folder / "config.yaml"), run_folder)
    assert whole.task.data.files.test == "x.jsonl"
    assert whole.task.data.dataset.rule == "benchmark"
    assert whole.task.train_file == "elsewhere/vsp-28px/train.jsonl"


def test_a_misspelt_value_of_the_own_task_is_refused_before_the_model_is_loaded(run_folder, monkeypatch):
    monkeypatch.setattr("mirage_pl.engine.evaluation.scoring.load_trained", lambda *given: pytest.fail("loaded"))
    with pytest.raises(ValueError, match=r"task.levles isn't a key of the config; did you mean task.levels"):
        evaluate.run(compose("evaluate", f"ckpt={run_folder}", "task.levles=[3]"))


@pytest.mark.parametrize("value", ["task.test_file=x.jsonl", "task.rule=benchmark"])
def test_a_value_that_does_not_reach_its_reader_is_refused(run_folder, tmp_path, value):
    """A run that was submitted has its config resolved."""
    shutil.copytree(run_folder, tmp_path / "run")
    shutil.copy(tmp_path / "run" / "config.yaml", tmp_path / "run" / "composed.yaml")
    cfg, config = compose("evaluate", f"ckpt={run_folder}", value), OmegaConf.load(run_folder / "config.yaml")
    with pytest.raises(ValueError, match=rf"{value} wouldn't reach what reads it.*as task=vsp"):
        complete_config(cfg, config, tmp_path / "run")
    cfg = compose("evaluate", f"ckpt={run_folder}", "task.max_new_tokens=7")
    assert complete_config(cfg, config, tmp_path / "run").decoding.max_new_tokens == 7


def test_another_task_is_taken_as_it_is(run_folder, data):
    cfg = compose("evaluate", f"ckpt={run_folder}", "task=vsp_reading")
    whole = complete_config(cfg, OmegaConf.load(run_folder / "config.yaml"), run_folder)
    assert (whole.task.name, whole.label) == ("vsp_reading", "vsp_reading")
    assert whole.task.test_file == f"{data}/vsp-28px/test.jsonl"


def test_a_task_of_another_kind_of_evaluation_is_refused_in_a_line(run_folder):
    cfg = compose("evaluate", f"ckpt={run_folder}", "task=vsp")
    OmegaConf.update(cfg, "task.evaluation", "prediction", force_add=True)
    with pytest.raises(
        ValueError, match="evaluation=answers doesn't score task=vsp and a run of stage=.*; give evaluation=prediction"
    ):
        evaluate.run(cfg)
    OmegaConf.update(cfg, "task.evaluation", ["prediction", "family/control"])
    with pytest.raises(ValueError, match="give evaluation=prediction or family/control"):
        evaluate.run(cfg)


def test_a_task_may_name_several_kinds_of_evaluation_the_first_of_which_is_its_default():
    kinds = ["family/reconstruction", "answers"]
    assert list_kinds(OmegaConf.create(kinds)) == kinds
    assert [find_kind(OmegaConf.create({"task": {"evaluation": kind}})) for kind in (kinds, "control", None)] == [
        "family/reconstruction",
        "control",
        "answers",
    ]


def test_a_task_without_a_test_file_says_what_to_give(run_folder):
    with pytest.raises(ValueError, match="task=vsp has no test file; give task.test_file=FILE"):
        evaluate.run(compose("evaluate", f"ckpt={run_folder}", "task.test_file=null"))


@pytest.mark.parametrize(
    ("config", "words", "added"),
    [
        ("task: {evaluation: prediction}", [], ["evaluation=prediction"]),
        ("task: {name: x}\nstage: {evaluation: mine/answers}", [], ["evaluation=mine/answers"]),
        ("task: {name: x}", [], []),
        ("task: {evaluation: prediction}", ["evaluation=answers"], []),
        (": no YAML [", [], []),
        (None, [], []),
    ],
)
def test_the_kind_of_evaluation_is_the_runs_unless_it_is_given(tmp_path, config, words, added):
    (tmp_path / "checkpoints").mkdir()
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    for place in (tmp_path, tmp_path / "checkpoints" / "last.ckpt"):
        given = [f"ckpt={place}", *words]
        assert add_kind(given) == given + added
    assert add_kind(["--help"]) == ["--help"]


def test_a_question_that_is_asked_several_times_counts_once_and_has_to_be_right_each_time():
    rows = [{"id": one, "success": success} for one, success in [("a", True), ("b", True), ("a", True), ("b", False)]]
    assert count_every_time(rows)["every_time"] == wilson(1, 2)
    assert count_every_time([*rows, {"id": "a", "success": None}])["every_time"] == wilson(1, 2)
    assert count_every_time([*rows, {"id": "c", "success": True}]) == {}, "one that is asked once"
    assert count_every_time([{"id": "a", "success": None}]) == count_every_time([]) == {}


@pytest.mark.parametrize(
    ("values", "hidden"),
    [({"success": True}, ["optimal"]), ({"success": True, "optimal": False}, [])],
)
def test_a_measure_that_the_task_does_not_grade_is_hidden_and_its_values_stay_those_of_success(values, hidden):
    dataset = SimpleNamespace(grade=lambda sample, text: Scores(values, "success", "all"), identity=lambda sample: "a")
    data = SimpleNamespace(collate=None, datasets={"test": dataset}, loader=SimpleNamespace(eval_batch_size=1))
    evaluation = SimpleNamespace(measures=MEASURES, decoding={})
    trial = AnswersTrial(evaluation, None, data, None, "test", [0])
    sample = SimpleNamespace(where="a:1", answer=None, question=())
    row = trial.grade_answer(sample, "yes") | {"finished": True}
    assert row["optimal"] == values.get("optimal", True)
    assert trial.hidden == hidden
    kind = SimpleNamespace(measures=MEASURES, conditions_in="conditions", numbers_in="numbers")
    described = summarize_scores(kind, trial, {"own": [row]}, {})
    assert described.get("hidden", []) == hidden
