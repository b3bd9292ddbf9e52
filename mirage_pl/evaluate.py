"""Score a checkpoint: ``python -m mirage_pl.evaluate ckpt=RUN task=vsp``."""

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mirage_pl.cli import verb
from mirage_pl.intervene import chosen, intervene, print_interventions
from mirage_pl.runs import write_json
from mirage_pl.statistics import wilson


def run(cfg: DictConfig) -> dict[str, Any]:
    """Answer the test file, grade the answers, and write predictions, metrics, pictures and the report.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        ValueError: a mistake in config, data or checkpoint.
    """
    from hydra.utils import instantiate

    from mirage_pl.report import write_report
    from mirage_pl.trained import load_trained

    started = time.time()
    trained = load_trained(cfg.ckpt, cfg.accelerator)
    cfg.model = trained.config.model
    out = trained.folder / "evaluation" / cfg.label
    others = [evaluation_of(other, cfg.label) for other in cfg.compare]
    data: Any = instantiate(cfg.task.data, collate=trained.collator)
    data.prepare("test")
    data.setup("test")
    dataset = data.datasets["test"]
    samples = [dataset[index] for index in range(len(dataset))]
    generations = list(answer(trained, samples, data.eval_batch_size, cfg.decoding))
    rows = list(graded(dataset, samples, generations))
    out.mkdir(parents=True, exist_ok=True)
    write_predictions(out / "predictions.jsonl", rows)
    draw_gallery(out / "gallery", dataset, rows, cfg.num_shown)
    identity = {"name": trained.folder.name, "ckpt": str(trained.checkpoint), "command": " ".join(sys.argv)}
    steps = {"task": cfg.task.name, "steps": steps_of(trained.checkpoint), "seconds": round(time.time() - started, 1)}
    metrics = identity | steps | {"decoding": OmegaConf.to_container(cfg.decoding, resolve=True)} | summarize(rows)
    write_json(out / "metrics.json", metrics)  # what was answered is kept, whatever becomes of the interventions
    print_table(metrics)
    metrics |= probed(trained, cfg, dataset, samples, generations, rows)
    if metrics.get("interventions"):
        write_json(out / "metrics.json", metrics)
        print_interventions(metrics["interventions"])
    write_report(out / "report.html", [out, *others])
    print(f"report: {out / 'report.html'}")
    return metrics


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


def answer(trained: Any, samples: Sequence[Any], width: int, decoding: Any) -> Iterator[Any]:
    """Answer all samples in order, ``width`` at a time."""
    from rich.progress import track

    for first in track(range(0, len(samples), width), f"Answering {len(samples)} questions"):
        prompts = trained.collator.prompts(samples[first : first + width]).to(trained.device)
        yield trained.module.generate(prompts, **decoding)


def graded(dataset: Any, samples: Sequence[Any], generations: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Yield one graded prediction for each sample."""
    answers = [(g.texts[row], g.describe(row)) for g in generations for row in range(len(g.texts))]
    for sample, (text, description) in zip(samples, answers, strict=True):
        grade = dataset.grade(sample, text)
        yield {"where": sample.where, **asdict(grade), "truth": sample.answer_text, **description}


def probed(
    trained: Any,
    cfg: DictConfig,
    dataset: Any,
    samples: Sequence[Any],
    generations: Sequence[Any],
    rows: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """Make the interventions that were asked for, if the model has anything to tamper with."""
    if cfg.interventions is None or not hasattr(trained.module, "interventions"):
        return {}
    probe = trained.module.interventions(trained.collator, samples, generations, **cfg.decoding)
    names = chosen(cfg.interventions, probe)
    return {"interventions": intervene(probe, names, dataset, rows), "latents": probe.describe()} if names else {}


def summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Success, invalid and optimal rates with Wilson 95 % intervals, by group and over all; and outcome counts."""
    groups = {group: [row for row in rows if row["group"] == group] for group in sorted({row["group"] for row in rows})}
    groups["all"] = list(rows)
    flags = {
        "success": lambda row: row["success"],
        "invalid": lambda row: row["outcome"] == "invalid",
        "optimal": lambda row: row["optimal"],
    }
    rates = {
        name: {group: wilson(sum(map(flag, members)), len(members)) for group, members in groups.items()}
        for name, flag in flags.items()
    }
    return rates | {"outcomes": dict(Counter(row["outcome"] for row in rows))}


def write_predictions(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write predictions beside and rename."""
    partial = file.with_suffix(".partial")
    partial.write_text("".join(json.dumps(row) + "\n" for row in rows))
    partial.rename(file)


def draw_gallery(folder: Path, dataset: Any, rows: Sequence[dict[str, Any]], count: int) -> None:
    """Draw ``count`` answers, spread evenly over the test file, and the true ones."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(min(count, len(rows))):
        index = number * len(rows) // min(count, len(rows))
        dataset.draw(dataset[index], rows[index]["text"]).save(folder / f"{index}.png")
        dataset.draw(dataset[index], rows[index]["truth"]).save(folder / f"{index}_truth.png")


def steps_of(checkpoint: Path) -> int:
    """Optimizer steps a checkpoint has taken."""
    from mirage_pl.weights import read_checkpoint

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


main = verb("evaluate")(run)

if __name__ == "__main__":
    main()
