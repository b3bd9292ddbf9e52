"""Work divided among processes: each does its share, then all have all, as if one had done it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import distributed

Item = TypeVar("Item")
Result = TypeVar("Result")


def do_shares(items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]], divided: bool) -> list[Result]:
    """Return ``work(items)``, one result for each item in their order.

    Args:
        items: the same in all processes.
        work: on some of them; results are plain values and tensors on the CPU.
        divided: ``False``: every process does all.
    """
    if not divided or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return list(work(items))
    rank, ranks = distributed.get_rank(), distributed.get_world_size()
    own, shares = list(work(items[rank::ranks])), list[Any]([None] * ranks)
    distributed.all_gather_object(shares, own)
    return [shares[place % ranks][place // ranks] for place in range(len(items))]
