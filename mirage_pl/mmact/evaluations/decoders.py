"""What filling in a chunk of actions costs: passes of the network, milliseconds, and what is only approximated."""

from collections.abc import Callable, Mapping, Sequence
from statistics import mean, median
from time import perf_counter
from typing import Any

import torch

from data_modules.demonstrations.steps import Step
from mirage_pl.mmact.evaluations.deviation import measure_deviation
from mirage_pl.mmact.model.decoding import Decoder

Plain = bool | int | float | str | None
TIMED = 20
"""Steps at most whose chunks are timed, one by one."""
EXACT = {"deviation": 0.0, "departs": 0.0}
"""Of decoding that approximates nothing."""


def describe_decoder(decode: Decoder) -> dict[str, Any]:
    """Its kind and its options as plain values; a schedule as text."""
    options = {name: value if isinstance(value, Plain) else str(value) for name, value in vars(decode).items()}
    return {"kind": type(decode).__name__} | options


def measure_departure(
    module: Any, collate: Callable[[Sequence[Step]], Any], steps: Sequence[Step], decode: Decoder
) -> Mapping[str, float]:
    """``deviation`` and ``departs`` of the chunks at some steps; nothing where decoding is exact.

    Args:
        module: has ``choose_actions``.
        collate: steps -> batch.
        steps: at which a chunk is chosen.
        decode: how.
    """
    batch = collate(steps).to(module.device)

    def choose(way: Decoder) -> Any:
        streams = [torch.Generator().manual_seed(place) for place in range(len(steps))]
        return module.choose_actions(batch, way, streams).double().cpu().numpy()

    return measure_deviation(decode, choose)


def measure_cost(
    module: Any, collate: Callable[[Sequence[Step]], Any], steps: Sequence[Step], decode: Decoder
) -> dict[str, float]:
    """``forwards`` and ``ms`` of a chunk, each chosen by itself: mean passes of the network, median time.

    Args:
        module: has ``choose_actions`` and ``net``.
        collate: steps -> batch.
        steps: at which a chunk is chosen; the first of them is done once more before, untimed.
        decode: how.
    """
    batches = [collate([step]).to(module.device) for step in [steps[0], *steps[:TIMED]]]
    forwards, times = list[int](), list[float]()
    for place, batch in enumerate(batches):
        count, streams = list[bool](), [torch.Generator().manual_seed(place)]
        handle = module.net.register_forward_hook(lambda *_, count=count: count.append(True))
        try:
            began = perf_counter()
            module.choose_actions(batch, decode, streams).cpu()
            times.append(1000 * (perf_counter() - began))
        finally:
            handle.remove()
        forwards.append(len(count))
    return {"forwards": mean(forwards[1:]), "ms": median(times[1:])}
