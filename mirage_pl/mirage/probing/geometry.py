"""Latents as vectors: whether they are alike, whether they carry their image, how long they are.

Shapes: R rows, n latents of one row, N latents of all rows, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

TIE = 1e-9
"""Cosines in double precision that differ by less are the same."""


def compare_within(latents: Sequence[Tensor]) -> Tensor:
    """Cosine of every pair of latents of the same row, for all rows."""
    return join_parts([multiply_pairs(normalize(row.double(), dim=-1)) for row in latents])


def compare_across(latents: Sequence[Tensor]) -> Tensor:
    """Cosine of the latents in the same place, of every pair of rows, for all places."""
    return join_parts([multiply_pairs(normalize(place_RD.double(), dim=-1)) for place_RD in group_by_place(latents)])


def multiply_pairs(units_ND: Tensor) -> Tensor:
    """Dot product of every pair of vectors, each pair once."""
    first, second = torch.triu_indices(len(units_ND), len(units_ND), offset=1, device=units_ND.device)
    return (units_ND @ units_ND.T)[first, second]


def group_by_place(latents: Sequence[Tensor]) -> list[Tensor]:
    """Group the latents of all rows by place: the first of each row, the second, …, each ``[R or fewer, D]``."""
    depth = max(map(len, latents), default=0)
    return [torch.stack([row[place] for row in latents if len(row) > place]) for place in range(depth)]


def cosine_within(latents: Sequence[Tensor]) -> float:
    """Mean cosine of two latents of the same row; 1 if each row's latents are all parallel."""
    return float(compare_within(latents).mean())


def cosine_across(latents: Sequence[Tensor]) -> float:
    """Mean cosine of the latents in the same place of two rows; 1 if latents don't depend on the question."""
    cosines = []
    for place_RD in group_by_place(latents):
        units_RD = normalize(place_RD.double(), dim=-1)
        count = len(units_RD)
        if count > 1:  # the squared length of the sum is count (the squares) plus every pair twice
            cosines.append(float((units_RD.sum(0).square().sum() - count) / (count * (count - 1))))
    return average(cosines)


def effective_rank(latents: Sequence[Tensor]) -> float:
    """Effective rank: exponential of the entropy of the latents' singular values (Roy, Vetterli 2007)."""
    shares = compute_spectrum(latents)
    return float(torch.special.entr(shares).sum().exp()) if len(shares) else 0.0


def compute_spectrum(latents: Sequence[Tensor]) -> Tensor:
    """Singular values of all latents less their mean, as shares of their sum, the largest first."""
    all_ND = join_parts(latents).double()
    if not len(all_ND):
        return all_ND
    values = torch.linalg.svdvals(all_ND - all_ND.mean(0))
    return values / values.sum().clamp(min=1e-30)


def find_retrieved(latents: Sequence[Tensor], targets: Sequence[Tensor]) -> list[bool]:
    """Whether each row's latents are nearest to its own helper image, among the helper images of all rows.

    Another row's image that is the same counts as its own. Latents that are the same in all rows are near to none.
    """
    cosines_RR = compare_with_targets(latents, targets)
    if not len(cosines_RR):
        return []
    nearest_R = cosines_RR.amax(1)
    return ((cosines_RR.diagonal() > nearest_R - TIE) & (nearest_R > 0)).tolist()


def compare_with_targets(latents: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Cosine of each row's latents to the helper image of each row, ``[R, R]``; a row's own is on the diagonal.

    Both are centered over the rows first: averaged features of different images are nearly parallel. If rows differ in
    size, the places that all of them have are compared.

    Args:
        latents: of each row, ``[n, D]``.
        targets: compressed helper features of each row, at least as many.

    Returns:
        ``[R, R]``; empty ``[0, 0]`` if a row has no latents.
    """
    depth = min(map(len, (*latents, *targets)), default=0)
    if not depth:
        return torch.zeros(0, 0)
    own_RX, theirs_RX = (torch.stack([row[:depth].double().flatten() for row in rows]) for rows in (latents, targets))
    own_RX, theirs_RX = (normalize(each - each.mean(0), dim=-1) for each in (own_RX, theirs_RX))
    return own_RX @ theirs_RX.T


def mean_norm(vectors_ND: Tensor) -> float:
    """Mean length of vectors."""
    return float(vectors_ND.double().norm(dim=-1).mean())


def average(values: Sequence[float]) -> float:
    """Average values; NaN without any."""
    return sum(values) / len(values) if values else float("nan")


def join_parts(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate parts; empty without any."""
    return torch.cat(list(parts)) if parts else torch.zeros(0)
