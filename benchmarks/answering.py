"""What an answer costs with one trained run and with others: ``python -m benchmarks.answering RUN OTHER ...``.

Each answers the first questions of its own test file, as ``evaluate`` does: one by one, and ``--batch`` at a time. The
first is timed with each other in turns. Columns are an answer's tokens and latents, which greedy decoding makes one
after another; milliseconds an answer are the least of all repeats, ratios medians with their least and most.

Options: ``--questions``, ``--batch``, ``--repeats``, ``--json``. Times are of the processor, which other processes
hardly change, or of the clock where there is a GPU.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from benchmarks.timing import in_turns
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.cli import compose
from mirage_pl.engine.evaluation.setup import complete_config
from mirage_pl.engine.evaluation.test_set import open_split


@dataclass
class Answering:
    """A trained run with its questions."""

    name: str
    module: Any
    collate: Any
    samples: Sequence[Any]
    decoding: dict[str, Any]

    def ask(self, at_once: int) -> list[Any]:
        """Answer all questions, so many at a time."""
        parts = [self.samples[first : first + at_once] for first in range(0, len(self.samples), at_once)]
        return [self.module.generate(self.collate.prompts(part), **self.decoding) for part in parts]

    @cached_property
    def columns(self) -> float:
        """Mean length of an answer."""
        lengths = [len(tokens) for generation in self.ask(len(self.samples)) for tokens in generation.tokens]
        return sum(lengths) / len(lengths)


def read_run(folder: Path, count: int) -> Answering:
    """Load a run and the first questions of its test file."""
    trained = load_trained(str(folder), "auto")
    config = complete_config(compose("evaluate", [f"ckpt={folder}"]), trained.config, trained.folder)
    data = open_split(config.task, trained.collator)
    questions = data.datasets["test"]
    samples = [questions[number] for number in range(min(count, len(questions)))]
    return Answering(folder.name, trained.module, data.collate, samples, dict(config.decoding))


def compare(first: Answering, other: Answering, at_once: int, repeats: int) -> dict[str, float]:
    """Time both, so many questions at a time."""
    clock: Callable[[], float] = perf_counter if torch.cuda.is_available() else process_time
    pair = in_turns(partial(first.ask, at_once), partial(other.ask, at_once), repeats, 1, clock)
    (low, high), count = pair.spread, len(other.samples)
    return {
        "at_once": at_once,
        "ms": 1000 * min(pair.theirs) / count,
        "first_ms": 1000 * min(pair.ours) / len(first.samples),
        "times": pair.ratio,
        "low": low,
        "high": high,
    }


@torch.no_grad()
def main() -> None:
    """Print a line for each run and number of questions at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    first, *others = [read_run(folder, options.questions) for folder in options.runs]
    print(f"{first.name}: {first.columns:.1f} columns an answer")
    figures: list[dict[str, Any]] = [{"name": first.name, "columns": first.columns}]
    for other in others:
        found = [compare(first, other, at_once, options.repeats) for at_once in (1, options.batch)]
        figures.append({"name": other.name, "columns": other.columns, "timed": found})
        print(f"{other.name}: {other.columns:.1f} columns an answer")
        for each in found:
            print(
                f"  {each['at_once']} at a time: {each['ms']:.1f} ms an answer, {first.name} {each['first_ms']:.1f}; "
                f"{each['times']:.2f} times ({each['low']:.2f} to {each['high']:.2f})",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
