"""Score a checkpoint: ``python -m mirage_pl.evaluate ckpt=RUN task=vsp``."""

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from data_modules.images import open_image
from mirage_pl.engine.cli import compose
from mirage_pl.engine.evaluation.answers import Asked, ask, describe_test, training_questions
from mirage_pl.engine.evaluation.intervene import check_names, chosen, intervene, print_interventions
from mirage_pl.engine.evaluation.journal import Journal
from mirage_pl.engine.evaluation.statistics import wilson
from mirage_pl.engine.runs.folder import METRICS, write_json

NUMBERS_IN = "latents"
MEASURES = {
    "success": {"kind": "share", "better": "higher", "unit": "", "meaning": "right answers"},
    "optimal": {"kind": "share", "better": "higher", "unit": "", "meaning": "right, and as short as possible"},
    "invalid": {"kind": "share", "better": "lower", "unit": "", "meaning": "no answer could be read"},
}


def run(cfg: DictConfig) -> dict[str, Any]:
    """Answer the test file, grade the answers, and write predictions, metrics, pictures and the report.

    Answers are kept as they come: the same command continues an interrupted evaluation.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        ValueError: a mistake in config, data or checkpoint.
    """
    from hydra.utils import instantiate

    from mirage_pl.engine.checkpoints.trained import load_trained
    from mirage_pl.engine.reports.evaluation import write_report

    started = time.time()
    trained = load_trained(cfg.ckpt, cfg.accelerator)
    cfg.model = trained.config.model
    out = trained.folder / "evaluation" / cfg.label
    others = [evaluation_of(other, cfg.label) for other in cfg.compare]
    check_names(cfg.interventions, trained.module)
    data: Any = instantiate(cfg.task.data, collate=trained.collator)
    data.prepare("test")
    data.setup("test")
    dataset = data.datasets["test"]
    learnt = training_questions(trained.config.task)
    facts = describe(cfg, trained, dataset, learnt)
    asked_as = {"written": trained.checkpoint.stat().st_mtime_ns, "width": data.loader.eval_batch_size}
    journal = Journal(out / "unfinished", facts | asked_as, trained.device)
    answers, rows = answer(trained, dataset, data.loader.eval_batch_size, facts, journal)
    if facts["test"]["seen"]:
        rows = [row | {"seen": row["id"] in (learnt or ())} for row in rows]
        print(f"{facts['test']['seen']} of the test questions are in {facts['test']['train_file']}; see group unseen")
    failures = [failure for part in answers for failure in part.failures]
    metrics = {"name": trained.folder.name, "command": " ".join(sys.argv), "task": cfg.task.name} | facts
    metrics |= summarize(rows) | {"failures": failures, "finished": False}
    publish(out, metrics, rows)  # what was answered is kept, whatever becomes of the interventions
    draw_gallery(out / "gallery", dataset, rows, cfg.num_shown)
    print_table(metrics)
    metrics |= probed(trained, cfg, dataset, answers, rows, journal)
    metrics |= {"finished": True, "seconds": round(time.time() - started, 1)}
    publish(out, metrics, rows)
    show_pictures(trained.folder, out, int(facts["steps"]))
    write_report(out / "report.html", [out, *others])
    journal.close()
    print(f"report: {out / 'report.html'}")
    return metrics


def evaluate_run(training: DictConfig, folder: Path) -> None:
    """Score a run that has just ended on its own task, unless that has been done.

    Args:
        training: the run's config; its ``evaluate`` holds values of ``conf/evaluate.yaml``.
        folder: the run's.

    Raises:
        ValueError: a value that isn't there.
    """
    cfg = compose("evaluate", [])
    cfg.ckpt, cfg.data, cfg.task = str(folder), training.data, OmegaConf.create(OmegaConf.to_container(training.task))
    OmegaConf.set_struct(cfg, True)
    cfg.merge_with(training.evaluate)
    file = folder / "evaluation" / cfg.label / METRICS
    done = json.loads(file.read_text()) if file.is_file() else {}
    if not (done.get("finished") and done["steps"] == json.loads((folder / METRICS).read_text())["step"]):
        run(cfg)


def describe(cfg: DictConfig, trained: Any, dataset: Any, learnt: set[str] | None) -> dict[str, Any]:
    """What is evaluated: checkpoint, steps, decoding, and the test set."""
    decoding = OmegaConf.to_container(cfg.decoding, resolve=True)
    test = describe_test(dataset, cfg.task.test_file, trained.config.task, learnt)
    kind = {"evaluation": "answers", "measures": MEASURES, "conditions_in": "interventions", "numbers_in": NUMBERS_IN}
    kind["words"] = "mirage_pl.mirage.report"
    return kind | {
        "ckpt": str(trained.checkpoint),
        "steps": steps_of(trained.checkpoint),
        "decoding": decoding,
        "test": test,
    }


def evaluation_of(run_folder: str, label: str) -> Path:
    """Find the evaluation of another run.

    Raises:
        ValueError: it hasn't been evaluated.
    """
    folder = Path(run_folder) / "evaluation" / label
    if not (folder / "metrics.json").is_file():
        raise ValueError(
            f"compare={run_folder} has no {folder}; run python -m mirage_pl.evaluate ckpt={run_folder} first"
        )
    return folder


def answer(
    trained: Any, dataset: Any, width: int, facts: Mapping[str, Any], journal: Journal
) -> tuple[list[Asked], list[dict[str, Any]]]:
    """Answer and grade the test set; predictions are appended to a file beside the journal as they come.

    Raises:
        ValueError: not one question can be asked.
    """
    answers, rows = list[Asked](), list[dict[str, Any]]()
    with (journal.folder / "predictions.jsonl").open("w") as file:
        for part in ask(trained, dataset, width, facts["decoding"], journal):
            answers.append(part)
            rows += graded(dataset, part)
            file.writelines(json.dumps(row) + "\n" for row in rows[len(rows) - len(part.samples) :])
            file.flush()
    failures = [failure for part in answers for failure in part.failures]
    if failures:
        print(f"{len(failures)} question(s) could not be asked and are left out; the first: {failures[0]['error']}")
    if not rows:
        raise ValueError(f"no question of {facts['test']['file']} could be asked; {failures[0]['error']}")
    if cut := sum(not row["finished"] for row in rows):
        print(f"{cut} answer(s) were cut at decoding.max_new_tokens={facts['decoding']['max_new_tokens']}; raise it?")
    return answers, rows


def graded(dataset: Any, part: Asked) -> Iterator[dict[str, Any]]:
    """Yield one graded prediction for each sample of a batch."""
    for number, sample in enumerate(part.samples):
        grade, answered = dataset.grade(sample, part.generation.texts[number]), part.generation.describe(number)
        identity = dataset.identity(sample)
        yield {
            "where": sample.where,
            "id": identity,
            **grade.values,
            "outcome": grade.outcome,
            "group": grade.group,
            "truth": sample.answer_text,
            **answered,
        }


def probed(
    trained: Any,
    cfg: DictConfig,
    dataset: Any,
    answers: Sequence[Asked],
    rows: Sequence[dict[str, Any]],
    journal: Journal,
) -> dict[str, Any]:
    """Make the interventions that were asked for, if the model has anything to tamper with, and draw what it sees."""
    parts = [part for part in answers if part.samples]
    if cfg.interventions is None or not hasattr(trained.module, "interventions"):
        return {}
    samples = [sample for part in parts for sample in part.samples]
    probe = trained.module.interventions(trained.collator, samples, [part.generation for part in parts], **cfg.decoding)
    names = chosen(cfg.interventions, probe)
    if not names:
        print("no answer has latents, so there is nothing to intervene in")
        return {}
    found = intervene(probe, names, dataset, samples, rows, journal)
    print_interventions(found)
    folder = trained.folder / "evaluation" / cfg.label / NUMBERS_IN
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, picture in probe.pictures(spread(len(rows), cfg.num_pictured)):
        picture.save(folder / f"{name}.png", optimize=True)
    return {"interventions": found, NUMBERS_IN: probe.describe()}


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Success, invalid and optimal rates with Wilson 95 % intervals, by group and over all; and outcome counts.

    The group ``unseen`` leaves out what the model was trained on, if it was.
    """
    groups = {group: [row for row in rows if row["group"] == group] for group in sorted({row["group"] for row in rows})}
    if unseen := [row for row in rows if row.get("seen") is False]:
        groups["unseen"] = unseen
    groups["all"] = list(rows)
    flags = {
        "success": lambda row: row["success"],
        "invalid": lambda row: row["outcome"] == "invalid",
        "optimal": lambda row: row.get("optimal", row["success"]),
    }
    rates = {
        name: {group: wilson(sum(map(flag, members)), len(members)) for group, members in groups.items()}
        for name, flag in flags.items()
    }
    cut = sum(not row["finished"] for row in rows)
    return rates | {"outcomes": dict(Counter(row["outcome"] for row in rows)), "cut": cut}


def publish(out: Path, metrics: Mapping[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write predictions and metrics beside and rename."""
    partial = out / "predictions.partial"
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    partial.rename(out / "predictions.jsonl")
    write_json(out / METRICS, metrics)


def spread(total: int, count: int) -> list[int]:
    """``count`` indices, spread evenly over ``total``."""
    return [number * total // min(count, total) for number in range(min(count, total))]


def draw_gallery(folder: Path, dataset: Any, rows: Sequence[dict[str, Any]], count: int) -> None:
    """Draw ``count`` answers, spread evenly over the test file, and the true ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    samples = {sample.where: sample for sample in map(dataset.__getitem__, range(len(dataset)))}
    for index in spread(len(rows), count):
        sample = samples[rows[index]["where"]]
        dataset.draw(sample, rows[index]["text"]).save(folder / f"{index}.png")
        dataset.draw(sample, rows[index]["truth"]).save(folder / f"{index}_truth.png")


def show_pictures(run: Path, out: Path, step: int) -> None:
    """Put the pictures of latents into the run's TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    files = sorted((out / NUMBERS_IN).glob("*.png"))
    if not files:
        return
    with SummaryWriter(run / "tensorboard") as board:
        for file in files:
            pixels = np.asarray(open_image(file, str(file)))
            board.add_image(f"evaluation {out.name}/{file.stem}", pixels, step, dataformats="HWC")


def steps_of(checkpoint: Path) -> int:
    """Optimizer steps a checkpoint has taken."""
    from mirage_pl.engine.checkpoints.weights import read_checkpoint

    return int(read_checkpoint(checkpoint)["global_step"])


def print_table(metrics: dict[str, Any]) -> None:
    """Print rates by group."""
    from rich.console import Console
    from rich.table import Table

    table = Table("group", "success", "95 % interval", "optimal", "invalid", "n", title=metrics["name"])
    for group, rate in metrics["success"].items():
        interval = f"{rate['low']:.1%} to {rate['high']:.1%}"
        others = [f"{metrics[name][group]['mean']:.1%}" for name in ("optimal", "invalid")]
        table.add_row(group, f"{rate['mean']:.1%}", interval, *others, str(int(rate["n"])))
    Console().print(table)
