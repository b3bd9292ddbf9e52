"""A training step beside a frozen model against one of the whole model: ``python -m benchmarks.lora``.

Stage 2 with AdamW on 8 rows of about 500 tokens, checkpointed, a process for each way: ``full``, ``lora``, ``dora``,
``qlora``. Peak memory is that of tensors on a GPU; on a CPU that of the process less what it held before the model was
made. On a GPU weights are in bfloat16, and adapters in float32 under autocast. Options: ``--device``, ``--shape``,
``--ways``, ``--json``.
"""

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import seconds
from benchmarks.workload import SHAPES, Workload
from mirage_pl.engine.adapters.lora import Lora
from mirage_pl.mirage.module import Stage2

GIB = 2**30
ROWS, LENGTH = 8, 500
WAYS: dict[str, Lora | None] = {
    "full": None,
    "lora": Lora(rank=16, alpha=32, parts=["language"]),
    "dora": Lora(rank=16, alpha=32, parts=["language"], dora=True),
    "qlora": Lora(rank=16, alpha=32, parts=["language"], bits=4),
}


def take_steps(way: str, device: str, shape: str) -> dict[str, float]:
    """Two steps in this process: peak memory of both, seconds of the second, weights that learn."""
    gpu = device == "cuda"
    before = 0 if gpu else int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    work = Workload(shape, device, torch.bfloat16 if gpu else torch.float32)
    options: dict[str, Any] = {"loss_weights": {"text": 1.0}, "optimizer": None, "schedule": None, "weight_decay": 0.0}
    net, decoder = work.net(checkpointing=True), work.decoder()
    module = Stage2(decoder=decoder, ce_chunk=256, ce_fused=False, net=net, **options)
    if lora := WAYS[way]:
        lora.inject(module)
        module.to(device)  # adapters, and weights that were quantized
    batch = work.batch(work.rows(ROWS, LENGTH))
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=gpu):
            loss = module.losses(batch)["text"]
        loss.backward()
        optimizer.step()

    step()
    taken = seconds(step)
    peak = torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    learnt = sum(weight.numel() for weight in weights)
    return {"peak_gib": (peak - before) / GIB, "seconds": taken, "trained": learnt}


def measure(device: str, shape: str, ways: Sequence[str]) -> dict[str, Any]:
    """All ways, each in a process of its own, and the ratios to the first."""
    figures: dict[str, Any] = {}
    for way in ways:
        command = [sys.executable, "-m", "benchmarks.lora", "--device", device, "--shape", shape, "--alone", way]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"error: {way}: {(done.stderr.strip().splitlines() or ['it was killed'])[-1]}")
        figures[way] = json.loads(done.stdout.strip().splitlines()[-1])
    first = figures[ways[0]]
    for way in ways[1:]:
        figures[f"{way}_memory_ratio"] = figures[way]["peak_gib"] / first["peak_gib"]
        figures[f"{way}_time_ratio"] = figures[way]["seconds"] / first["seconds"]
    return figures


def table(figures: dict[str, Any]) -> str:
    """Lay the figures out, a line each."""
    lines = [f"{'':8}{'peak memory':>14}{'a step':>12}{'weights that learn':>22}"]
    for way, found in figures.items():
        if isinstance(found, dict):
            lines.append(f"{way:8}{found['peak_gib']:10.2f} GiB{found['seconds']:10.2f} s{found['trained']:22,.0f}")
    return "\n".join([*lines, *(f"{key} {value:.2f}" for key, value in figures.items() if "_ratio" in key)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--shape", choices=list(SHAPES), help="small on a CPU and 7b on a GPU by default")
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=["full", "lora"], help="the first is compared to"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--alone", choices=list(WAYS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    shape = options.shape or ("7b" if options.device == "cuda" else "small")
    if options.alone:
        print(json.dumps(take_steps(options.alone, options.device, shape)))
        return
    figures = measure(options.device, shape, options.ways)
    print(json.dumps(figures) if options.json else table(figures))


if __name__ == "__main__":
    main()
