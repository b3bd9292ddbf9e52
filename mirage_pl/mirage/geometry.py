"""What latents look like as vectors: are they alike, do they carry their image, how long are they?

Shapes: R rows, n latents of one row, N latents of all rows, D width.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def cosine_within(latents: Sequence[Tensor]) -> float:
    """Mean cosine of two latents of the same row; 1 where a row's latents all say the same."""
    rows = [normalize(row.double(), dim=-1) for row in latents if len(row) > 1]
    pairs = [float(row[i] @ row[j]) for row in rows for i, j in combinations(range(len(row)), 2)]
    return mean(pairs)


def cosine_across(latents: Sequence[Tensor]) -> float:
    """Mean cosine of the latents in the same place of two rows; 1 where latents don't depend on the question."""
    depth = max((len(row) for row in latents), default=0)
    found = []
    for place in range(depth):
        units_RD = normalize(torch.stack([row[place].double() for row in latents if len(row) > place]), dim=-1)
        count = len(units_RD)
        if count > 1:  # of the squared length of the sum, the squares are count, the rest is every pair twice
            found.append(float((units_RD.sum(0).square().sum() - count) / (count * (count - 1))))
    return mean(found)


def effective_rank(latents: Sequence[Tensor]) -> float:
    """Directions that the latents use: the exponential of the entropy of their singular values (Roy, Vetterli 2007)."""
    if not any(len(row) for row in latents):
        return 0.0
    all_ND = torch.cat(list(latents)).double()
    values = torch.linalg.svdvals(all_ND - all_ND.mean(0))
    shares = values / values.sum().clamp(min=1e-30)
    return float(torch.special.entr(shares).sum().exp())


def retrieved(latents: Sequence[Tensor], targets: Sequence[Tensor]) -> list[bool]:
    """Whether each row's latents are nearest to its own helper image, among the helper images of all rows.

    Both are centred over the rows first: averaged features of different images are nearly parallel.

    Args:
        latents: of each row, ``[n, D]``.
        targets: compressed helper features of each row, as many at least.
    """
    depth = min((len(row) for row in (*latents, *targets)), default=0)
    if not depth:
        return []
    own_RX, theirs_RX = (torch.stack([row[:depth].double().flatten() for row in rows]) for rows in (latents, targets))
    own_RX, theirs_RX = (normalize(each - each.mean(0), dim=-1) for each in (own_RX, theirs_RX))
    nearest_R = (own_RX @ theirs_RX.T).argmax(1)
    return [int(found) == row for row, found in enumerate(nearest_R)]


def mean_norm(vectors_ND: Tensor) -> float:
    """Mean length."""
    return float(vectors_ND.double().norm(dim=-1).mean())


def mean(values: Sequence[float]) -> float:
    """Mean, not a number without values."""
    return sum(values) / len(values) if values else float("nan")
