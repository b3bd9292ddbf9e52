"""Every test and figure that needs a GPU, in one call of under nine minutes: ``make gpu-report``.

Each row runs in a process of its own, with a limit on its time. One that fails, takes too long or lacks a package says
so in its place, and the others go on. Prints a table with the card's name, and the same as one JSON object in the last
line. Nothing is downloaded. Options: ``--rows NAME …``, ``--seconds`` for all, ``--device cpu`` and ``--shape`` to try
it without a GPU, ``--out FILE`` for the JSON.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

REPO = Path(__file__).resolve().parents[1]
LIMIT = 525.0
"""Seconds of the whole report."""
LEAST = 5.0
"""Seconds below which no further row is begun."""
CARD = """
import json, torch
gpu = torch.cuda.is_available()
of = torch.cuda.get_device_properties(0) if gpu else None
print(json.dumps({"card": of.name if gpu else None, "gib": round(of.total_memory / 2**30, 1) if gpu else None,
                  "torch": torch.__version__, "cuda": torch.version.cuda}))
"""


@dataclass(frozen=True)
class Row:
    """Something to run.

    Attributes:
        words: of ``python -m``; ``{device}``, ``{shape}`` (of a 7B) and ``{less}`` (of a 3B) are filled in.
        seconds: limit on its time.
        what: in words.
    """

    words: str
    seconds: float
    what: str


def latents(key: str, shape: str = "less") -> str:
    """The words for one figure of ``benchmarks.latents``."""
    return f"benchmarks.latents --json --only {key} --repeats 5 --device {{device}} --shape {{{shape}}}"


ROWS = {
    "tests": Row("pytest -q -m gpu -p no:cacheprovider", 120, "the tests that need a GPU"),
    "lora": Row(
        "benchmarks.lora --json --device {device} --shape {shape} --ways full lora qlora",
        120,
        "a step of a 7B's shape: LoRA and QLoRA against full fine-tuning",
    ),
    "mfu": Row(latents("stage1_mfu", "shape"), 75, "a stage-1 step of a 7B's shape: share of the card's peak"),
    "memory": Row(latents("memory_ratio"), 60, "checkpointing and chunked cross-entropy against neither"),
    "liger": Row("benchmarks.liger --json", 40, "Liger's cross-entropy against chunks"),
    "batch": Row(latents("batch_speedup"), 60, "a batch of 16 against 16 batches of one"),
    "stages": Row(latents("stage2_over_stage1"), 60, "a stage-2 step against a stage-1 step"),
    "generation": Row(latents("generation_speedup"), 75, "32 answers at a time against one by one"),
    "single": Row(latents("single_answer_cost"), 75, "an answer against the stock model's generate"),
    "jacobi": Row(latents("jacobi_speedup"), 60, "two sweeps against the sequential recurrence"),
    "checkpoint": Row(
        "benchmarks.checkpoint --json --repeats 3 --accelerator {device}", 60, "training waits for a checkpoint"
    ),
    "epoch": Row(latents("epoch_speedup"), 60, "an epoch with stored image features against without"),
}
"""What matters most comes first, for time may run out."""


def run_row(row: Row, filled: dict[str, str], limit: float) -> dict[str, Any]:
    """Run one row: its state, seconds, and figures or why there are none."""
    words = row.words.format(**filled).split()
    if words[0] == "pytest":
        words += [str(file) for file in sorted((REPO / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text()]
        if not any(word.endswith(".py") for word in words):
            return {"state": "failed", "seconds": 0.0, "why": "no tests are here: they come with the checkout"}
    started = perf_counter()
    code, out, said = call([sys.executable, "-m", *words], min(row.seconds, limit))
    found: dict[str, Any] = {"seconds": round(perf_counter() - started, 1)}
    if code is None:
        return found | {"state": "failed", "why": f"it took longer than {min(row.seconds, limit):.0f} s"}
    if words[0] == "pytest":
        last = next((line for line in reversed(out.splitlines()) if " in " in line), last_line(out, said))
        return found | {"state": "failed" if code else "done", "why" if code else "figures": last.strip("= ")}
    if code:
        return found | {"state": "failed", "why": last_line(out, said)}
    try:
        return found | {"state": "done", "figures": json.loads(out.strip().splitlines()[-1])}
    except (IndexError, ValueError):
        return found | {"state": "failed", "why": f"printed no figures, but {last_line(out, said)}"}


def call(command: Sequence[str], limit: float) -> tuple[int | None, str, str]:
    """Run a command: exit code (``None``: out of time), output, errors. What it has started ends with it."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(REPO), os.environ.get("PYTHONPATH")]))}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=REPO, env=environment, start_new_session=True, **pipes)
    try:
        out, said = process.communicate(timeout=limit)
        return process.returncode, out, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None, "", ""


def last_line(*texts: str) -> str:
    """The last line that says something, of the last text that does."""
    lines = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "nothing was said"


def report(names: Sequence[str], filled: dict[str, str], seconds: float) -> dict[str, Any]:
    """Run rows one after another while there is time."""
    started, rows = perf_counter(), dict[str, Any]()
    for name in names:
        left = seconds - (perf_counter() - started)
        if left < LEAST:
            rows[name] = {"state": "left out", "seconds": 0.0, "why": "the time of the report was over"}
            continue
        print(f"{name}: {ROWS[name].what} …", file=sys.stderr, flush=True)
        rows[name] = run_row(ROWS[name], filled, left)
    return {"rows": rows, "seconds": round(perf_counter() - started, 1)}


def table(found: dict[str, Any]) -> str:
    """Lay the rows out, a line each."""
    name = f"{found['card']}, {found['gib']} GiB" if found["card"] else "no GPU"
    lines = [f"{name}, torch {found['torch']}, {found['seconds']:.0f} s"]
    for key, row in found["rows"].items():
        said = row["why"] if "why" in row else write_figures(row["figures"])
        lines.append(f"{key:12}{row['state']:10}{row['seconds']:6.0f} s  {said}")
    return "\n".join(lines)


def write_figures(figures: Any, prefix: str = "") -> str:
    """Numbers by name, the deeper ones after a dot; what only explains them is left to the JSON."""
    if not isinstance(figures, dict):
        return str(figures)
    parts = []
    for key, value in figures.items():
        if isinstance(value, dict) and key != "details":
            parts.append(write_figures(value, f"{prefix}{key}."))
        elif isinstance(value, int | float):
            parts.append(f"{prefix}{key} {value:.4g}")
    return ", ".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="only these, in this order")
    parser.add_argument("--seconds", type=float, default=LIMIT, help="for all rows together")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--shape", help="in place of both shapes, 7b and 3b")
    parser.add_argument("--out", type=Path, help="a file for the JSON, too")
    options = parser.parse_args(arguments)
    code, out, said = call([sys.executable, "-c", CARD], 60)
    if code != 0:
        raise SystemExit(f"error: torch can't be used here: {last_line(out, said)}")
    card = json.loads(out.strip().splitlines()[-1])
    if options.device == "cuda" and not card["card"]:
        raise SystemExit(
            "error: this machine has no GPU that torch can use; --device cpu --shape tiny tries the report"
        )
    filled = {"device": options.device, "shape": options.shape or "7b", "less": options.shape or "3b"}
    found = card | report(options.rows, filled, options.seconds)
    print(table(found))
    print(json.dumps(found))
    if options.out:
        options.out.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
