"""Liger's fused cross-entropy against ours in chunks, on a GPU: ``python -m benchmarks.liger``; ``--json``.

Forward and backward of the loss of 4,096 supervised positions over a 7B's vocabulary, in bfloat16, in turns.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from benchmarks.timing import in_turns
from mirage_pl.mirage.losses import fused_ce, text_ce

POSITIONS, WIDTH, VOCABULARY, CHUNK = 4096, 3584, 152064, 256


def measure(repeats: int) -> dict[str, float]:
    """Ratios of time and of peak memory, and of the two losses."""
    torch.manual_seed(0)
    options = {"device": "cuda", "dtype": torch.bfloat16}
    head = nn.Linear(WIDTH, VOCABULARY, bias=False, **options)
    hidden_MD = torch.randn(POSITIONS, WIDTH, requires_grad=True, **options)  # type: ignore[call-overload]
    targets_M = torch.randint(VOCABULARY, (POSITIONS,), device="cuda")
    sides: dict[str, Callable[[], Tensor]] = {
        "fused": lambda: fused_ce(hidden_MD, head, targets_M),
        "chunked": lambda: text_ce(hidden_MD, head, targets_M, CHUNK),
    }
    peaks, losses = {}, {}
    for name, loss in sides.items():
        torch.cuda.reset_peak_memory_stats()
        value = loss()
        value.backward()
        peaks[name], losses[name] = torch.cuda.max_memory_allocated(), value.item()
    pair = in_turns(lambda: sides["fused"]().backward(), lambda: sides["chunked"]().backward(), repeats)
    return {
        "liger_speedup": pair.ratio,
        "liger_memory_ratio": peaks["fused"] / peaks["chunked"],
        "liger_loss_ratio": losses["fused"] / losses["chunked"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        raise SystemExit("error: Liger's kernels need a GPU, and this machine has none")
    if find_spec("liger_kernel") is None:
        raise SystemExit("error: liger-kernel isn't installed; pip install 'mirage_pl[gpu]'")
    figures = measure(options.repeats)
    print(json.dumps(figures) if options.json else "\n".join(f"{key} {value:.3f}" for key, value in figures.items()))


if __name__ == "__main__":
    main()
