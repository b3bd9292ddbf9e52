"""What latents look like as vectors: are they alike, do they carry their image, how long are they?

Shapes: R rows, n latents of one row, N latents of all rows, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize


def compare_within(latents: Sequence[Tensor]) -> Tensor:
    """Cosines of every two latents of the same row, for all rows."""
    return join_parts([multiply_pairs(normalize(row.double(), dim=-1)) for row in latents])


def compare_across(latents: Sequence[Tensor]) -> Tensor:
    """Cosines of the latents in the same place of every two rows, for all places."""
    return join_parts([multiply_pairs(normalize(place_RD.double(), dim=-1)) for place_RD in group_by_place(latents)])


def multiply_pairs(units_ND: Tensor) -> Tensor:
    """Products of every two vectors, each pair once."""
    first, second = torch.triu_indices(len(units_ND), len(units_ND), offset=1, device=units_ND.device)
    return (units_ND @ units_ND.T)[first, second]


def group_by_place(latents: Sequence[Tensor]) -> list[Tensor]:
    """The latents of all rows in their first place, in their second, …, each ``[R or fewer, D]``."""
    depth = max(map(len, latents), default=0)
    return [torch.stack([row[place] for row in latents if len(row) > place]) for place in range(depth)]


def cosine_within(latents: Sequence[Tensor]) -> float:
    """Mean cosine of two latents of the same row; 1 where a row's latents all say the same."""
    return float(compare_within(latents).mean())


def cosine_across(latents: Sequence[Tensor]) -> float:
    """Mean cosine of the latents in the same place of two rows; 1 where latents don't depend on the question."""
    found = []
    for place_RD in group_by_place(latents):
        units_RD = normalize(place_RD.double(), dim=-1)
        count = len(units_RD)
        if count > 1:  # of the squared length of the sum, the squares are count, the rest is every pair twice
            found.append(float((units_RD.sum(0).square().sum() - count) / (count * (count - 1))))
    return average(found)


def effective_rank(latents: Sequence[Tensor]) -> float:
    """Directions that the latents use: the exponential of the entropy of their singular values (Roy, Vetterli 2007)."""
    shares = compute_spectrum(latents)
    return float(torch.special.entr(shares).sum().exp()) if len(shares) else 0.0


def compute_spectrum(latents: Sequence[Tensor]) -> Tensor:
    """Singular values of all latents about their mean, as shares of their sum, the largest first."""
    all_ND = join_parts(latents).double()
    if not len(all_ND):
        return all_ND
    values = torch.linalg.svdvals(all_ND - all_ND.mean(0))
    return values / values.sum().clamp(min=1e-30)


def find_retrieved(latents: Sequence[Tensor], targets: Sequence[Tensor]) -> list[bool]:
    """Whether each row's latents are nearest to its own helper image, among the helper images of all rows."""
    return [int(found_R.argmax()) == row for row, found_R in enumerate(compare_with_targets(latents, targets))]


def compare_with_targets(latents: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Cosine of each row's latents to the helper image of each row, ``[R, R]``; a row's own is on the diagonal.

    Both are centred over the rows first: averaged features of different images are nearly parallel. Of rows of
    different sizes the places that all have are compared.

    Args:
        latents: of each row, ``[n, D]``.
        targets: compressed helper features of each row, as many at least.

    Returns:
        Nothing, ``[0, 0]``, if some row has no latents.
    """
    depth = min(map(len, (*latents, *targets)), default=0)
    if not depth:
        return torch.zeros(0, 0)
    own_RX, theirs_RX = (torch.stack([row[:depth].double().flatten() for row in rows]) for rows in (latents, targets))
    own_RX, theirs_RX = (normalize(each - each.mean(0), dim=-1) for each in (own_RX, theirs_RX))
    return own_RX @ theirs_RX.T


def mean_norm(vectors_ND: Tensor) -> float:
    """Mean length."""
    return float(vectors_ND.double().norm(dim=-1).mean())


def average(values: Sequence[float]) -> float:
    """Mean, not a number without values."""
    return sum(values) / len(values) if values else float("nan")


def join_parts(parts: Sequence[Tensor]) -> Tensor:
    """All parts in one; empty without any."""
    return torch.cat(list(parts)) if parts else torch.zeros(0)
