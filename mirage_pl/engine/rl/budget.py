"""Rollouts that are made together: of similar lengths, and as many as the cache has room for."""

from collections.abc import Sequence

GIB = 2**30


def divide(sizes: Sequence[int], budget_gib: float, most: int | None = None) -> list[list[int]]:
    """Divide rollouts into some at a time: each costs as much as the largest of them, so they are taken by size.

    Args:
        sizes: bytes that each takes, at most.
        budget_gib: what those of a time may take together.
        most: of a time; ``None``: any number.

    Returns:
        Their numbers.

    Raises:
        ValueError: one alone takes more; says how much.
    """
    times: list[list[int]] = []
    for number in sorted(range(len(sizes)), key=lambda number: sizes[number]):
        if sizes[number] > budget_gib * GIB:
            raise ValueError(f"{sizes[number] / GIB:.2g} GiB of keys and values, but cache_gib={budget_gib:g}")
        last = times[-1] if times else []
        if not last or len(last) == most or (len(last) + 1) * sizes[number] > budget_gib * GIB:
            times.append([])
        times[-1].append(number)
    return times
