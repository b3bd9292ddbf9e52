"""Score a checkpoint: each item by each measure, as the model is and under each condition."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mirage_pl.engine.checkpoints.trained import Trained, load_trained
from mirage_pl.engine.checkpoints.weights import checkpoint_of, read_checkpoint, run_of
from mirage_pl.engine.evaluation import publishing, tables
from mirage_pl.engine.evaluation.journal import Journal
from mirage_pl.engine.evaluation.setup import build_evaluation, complete_config
from mirage_pl.engine.evaluation.summary import describe_evaluation, summarize_scores
from mirage_pl.engine.evaluation.test_set import TestSet, describe_test_set, open_split
from mirage_pl.engine.keys import check_keys
from mirage_pl.engine.runs.config import read_config, read_record
from mirage_pl.engine.runs.folder import CONFIG, METRICS
from mirage_pl.engine.seams import OWN, Evaluation, Row, Trial
from mirage_pl.engine.words import load_words


def run(cfg: DictConfig, report: Callable[[Path, Sequence[Path], str | None], None] | None = None) -> dict[str, Any]:
    """Score the test split as the model is, then under each condition, and write metrics, rows and pictures.

    Results are saved as they are computed: the same command continues an interrupted evaluation.

    Args:
        cfg: composed from ``conf/evaluate.yaml``.
        report: ``report(file, folders, words)`` writes an HTML page of evaluation folders, this one first, with the
            family's words at a dotted path; ``None``: no page is written.

    Returns:
        What ``metrics.json`` holds, see ``docs/reference/metrics.md``.

    Raises:
        ValueError: a mistake in config, data or checkpoint.
    """
    started = time.time()
    check_keys(cfg, "evaluate")
    folder = run_of(checkpoint_of(cfg.ckpt))
    cfg = complete_config(cfg, read_config(folder / CONFIG), folder)
    check_keys(cfg, "evaluate")
    check_label(folder / "evaluation", cfg.label)
    evaluation = build_evaluation(cfg)
    check_other_kind(folder / "evaluation" / cfg.label, evaluation)
    trained = load_trained(cfg.ckpt, cfg.accelerator)
    out = trained.folder / "evaluation" / cfg.label
    others = [find_evaluation(other, cfg.label) for other in cfg.compare]
    data = open_split(cfg.task, trained.collator)
    test = describe_test_set(data.datasets["test"], cfg.task.test_file, trained.config.task)
    check_other_file(out, test.facts)
    facts = describe_run(trained, cfg, evaluation, test)
    journal = Journal(out / "unfinished", identify_work(facts, trained, data), trained.device)
    trial = evaluation.open(trained.module, data, journal.once)
    scores = score(Scoring(out, evaluation, trial, facts), test, journal, cfg)
    metrics = scores.publish(finished=True, seconds=round(time.time() - started, 1))
    publishing.show_in_tensorboard(
        trained.folder, out / evaluation.numbers_in, f"evaluation {cfg.label}", facts["steps"]
    )
    if report is not None:
        report(out / "report.html", [out, *others], evaluation.words)
        print(f"report: {out / 'report.html'}")
    journal.close()
    return metrics


def check_label(folder: Path, label: str) -> None:
    """Refuse a label that would put results elsewhere than below a folder.

    Raises:
        ValueError: it leads out.
    """
    place = (folder / label).resolve()
    if place == folder.resolve() or not place.is_relative_to(folder.resolve()):
        raise ValueError(f"label={label} leads out of {folder}; give a plain name, as label=mine")


def check_other_kind(out: Path, evaluation: Evaluation) -> None:
    """Refuse to replace finished scores by those of another kind of evaluation.

    Raises:
        ValueError: names the kind that would be lost.
    """
    kept = read_kept(out)
    if kept.get("finished") and kept.get("evaluation") != evaluation.name:
        raise ValueError(
            f"{out} holds finished scores of another kind, evaluation={kept.get('evaluation')}, which this "
            f"{evaluation.name} would replace; give label=NAME to write beside them, or remove {out}"
        )


def check_other_file(out: Path, test: Mapping[str, Any]) -> None:
    """Refuse to replace finished scores of another test file; those of the same one, made anew, are replaced.

    Raises:
        ValueError: names the file whose scores would be lost.
    """
    kept = read_kept(out)
    had = kept.get("test") or {}
    if kept.get("finished") and had and had.get("file") != test["file"] and had.get("digest") != test["digest"]:
        raise ValueError(
            f"{out} holds finished scores of {had.get('file')}, which those of {test['file']} would replace; give "
            f"label=NAME to write beside them, or remove {out}"
        )


def read_kept(out: Path) -> dict[str, Any]:
    """Read the scores that a folder holds; none where it holds a broken file, which is replaced."""
    try:
        return read_record(out / METRICS)
    except ValueError:
        return {}


@dataclass
class Scoring:
    """The scores so far, and the folder that they are written to.

    Attributes:
        out: the evaluation folder.
        evaluation: the kind.
        trial: of the module that is scored.
        facts: what ``metrics.json`` holds besides scores.
        rows: by condition, ``own`` first.
        numbers: about the model.
    """

    out: Path
    evaluation: Evaluation
    trial: Trial
    facts: Mapping[str, Any]
    rows: dict[str, list[Row]] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def publish(self, **progress: Any) -> dict[str, Any]:
        """Write metrics and rows as they stand; ``progress`` is added to the metrics."""
        scores = summarize_scores(self.evaluation, self.trial, self.rows, self.numbers)
        return publishing.write_scores(self.out, self.evaluation, {**self.facts, **scores, **progress}, self.rows)


def score(scoring: Scoring, test: TestSet, journal: Journal, cfg: DictConfig) -> Scoring:
    """Score the model as it is, then under each condition; write the files after each. Then describe and draw it."""
    out, trial = scoring.out, scoring.trial
    list(trial.conditions)  # refuses what this run can't have, before anything is scored
    own = test.mark(score_own(trial, journal.folder, test))
    check_kept(out, scoring.facts, trial.conditions)
    scoring.rows[OWN] = own
    metrics = scoring.publish(finished=False)
    publishing.draw_gallery(out / "gallery", trial, own, cfg.num_shown)
    tables.print_scores(metrics, trial.remark(own))
    for condition in trial.conditions:
        scoring.rows[condition] = score_condition(trial, condition, own)
        metrics = scoring.publish(finished=False)
    scoring.numbers = trial.describe()
    tables.print_conditions(metrics, load_words(scoring.evaluation.words, trusted=scoring.evaluation.words))
    pictured = publishing.choose_rows(len(own), cfg.num_pictured)
    publishing.draw_pictures(out / scoring.evaluation.numbers_in, trial, pictured)
    return scoring


def check_kept(out: Path, facts: Mapping[str, Any], conditions: Sequence[str]) -> None:
    """Refuse to replace finished scores of a checkpoint by scores of the same kind under fewer conditions.

    Raises:
        ValueError: names the conditions that would be lost.
    """
    kept, key = read_kept(out), facts["conditions_in"]
    same = kept.get("finished") and all(kept.get(name) == facts[name] for name in ("ckpt", "steps", "evaluation"))
    if same and (lost := [name for name in kept.get(key) or {} if name not in conditions]):
        raise ValueError(
            f"{out} holds finished scores under {', '.join(lost)}, which this command leaves out; give label=NAME to "
            f"write beside them, name them in {key}=, or remove {out}"
        )


def score_own(trial: Trial, folder: Path, test: TestSet) -> list[Row]:
    """Score all items as the model is; rows are appended to a file in ``folder`` as they come.

    Raises:
        ValueError: no item can be scored.
    """
    rows: list[Row] = []
    with (folder / publishing.PREDICTIONS).open("w") as file:
        for batch in tables.show_progress(trial.score(OWN), test.facts["rows"], f"Scoring {test.facts['rows']} items"):
            rows += batch
            file.writelines(publishing.write_row(row) for row in batch)
            file.flush()
    tables.print_losses(trial.failures, test)
    if not rows:
        raise ValueError(f"no item of {test.facts['file']} could be scored; {trial.failures[0]['error']}")
    return rows


def score_condition(trial: Trial, condition: str, own: Sequence[Row]) -> list[Row]:
    """Score the items of ``own`` under a condition.

    Raises:
        RuntimeError: the trial scored other items, or in another order.
    """
    rows = [row for batch in tables.show_progress(trial.score(condition), len(own), condition) for row in batch]
    if [row["where"] for row in rows] != [row["where"] for row in own]:
        raise RuntimeError(f"condition {condition} scored other items than {OWN}, or in another order")
    return rows


def describe_run(trained: Trained, cfg: DictConfig, evaluation: Evaluation, test: TestSet) -> dict[str, Any]:
    """Describe the run, the kind of evaluation and the test set for ``metrics.json``."""
    origin = {"name": trained.folder.name, "command": " ".join(sys.argv), "task": cfg.task.name}
    steps = int(read_checkpoint(trained.checkpoint)["global_step"])
    checkpoint = {"ckpt": str(trained.checkpoint), "steps": steps}
    return origin | describe_evaluation(evaluation) | checkpoint | dict(evaluation.facts) | {"test": dict(test.facts)}


def identify_work(facts: Mapping[str, Any], trained: Trained, data: Any) -> dict[str, Any]:
    """Everything that saved results depend on: where any of it has changed, the evaluation starts anew."""
    relevant = {key: value for key, value in facts.items() if key not in ("name", "command", "task", "measures")}
    return relevant | {"written": trained.checkpoint.stat().st_mtime_ns, "width": data.loader.eval_batch_size}


def find_evaluation(run_folder: str, label: str) -> Path:
    """Find the evaluation folder of another run.

    Raises:
        ValueError: there is no such run, or it hasn't been evaluated under this label.
    """
    folder = Path(run_folder) / "evaluation" / label
    if not (Path(run_folder) / CONFIG).is_file():
        raise ValueError(f"compare={run_folder} is no run folder; give those of evaluated runs, as compare=[RUN,RUN]")
    if not (folder / METRICS).is_file():
        command = f"python -m mirage_pl.evaluate ckpt={run_folder} label={label}"
        raise ValueError(f"compare={run_folder} has no {folder}; run {command} first, with this one's evaluation=")
    return folder
