"""Replacements of latents: zeros, noise, another row's latents, or targets with the latents' statistics.

Shapes: R rows of the whole test set, n latents of one row, N of all rows, D width.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

ORACLES = ("oracle", "matched_oracle")
"""Interventions that need helper images."""
DONOR = "donor"
"""The intervention that needs right answers."""
NAMES = ("identity", "zero", "noise", "matched_noise", "first_repeated", "shuffled", DONOR, *ORACLES, "none")
"""All interventions, in the order in which they are shown."""


def build_replacements(name: str, latents: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """Build the replacement of each row's latents.

    Args:
        name: ``identity``: themselves; ``zero``; ``noise``: Gaussian of the latents' overall mean and variance;
            ``matched_noise``: Gaussian of their mean and covariance over all rows; ``first_repeated``: the row's first;
            ``shuffled``: those of another row.
        latents: of each row, ``[n, D]``.
        seed: of noise and shuffling.

    Raises:
        ValueError: the name is unknown.
    """
    random = torch.Generator().manual_seed(seed)
    if name == "identity":
        return list(latents)
    if name == "zero":
        return [torch.zeros_like(row) for row in latents]
    if name == "first_repeated":
        return [row[:1].expand_as(row) for row in latents]
    if name == "shuffled":
        return shuffle_latents(latents, random)
    if name in ("noise", "matched_noise"):
        return draw_noise(latents, random, matched=name == "matched_noise")
    raise ValueError(f"interventions={name} is unknown; choose from {', '.join(NAMES)}, or all")


def shuffle_latents(latents: Sequence[Tensor], random: torch.Generator) -> list[Tensor]:
    """Give every row with latents those of another row, repeated where there are too few."""
    rows = [number for number, row in enumerate(latents) if len(row)]
    order = torch.randperm(len(rows), generator=random).tolist()
    return give_latents(latents, {rows[order[i]]: rows[order[(i + 1) % len(rows)]] for i in range(len(rows))})


def give_latents(latents: Sequence[Tensor], donors: Mapping[int, int]) -> list[Tensor]:
    """Give rows those of their donors, repeated where there are too few; others keep theirs."""
    return exchange_latents(latents, {row: latents[donor] for row, donor in donors.items()})


def exchange_latents(latents: Sequence[Tensor], others: Mapping[int, Tensor]) -> list[Tensor]:
    """Give rows other vectors ``[n, D]``, repeated where there are too few; rows without any keep their own."""
    result = list(latents)
    for row, vectors_nD in others.items():
        result[row] = vectors_nD[torch.arange(len(latents[row])) % len(vectors_nD)]
    return result


def choose_donors(
    latents: Sequence[Tensor], answers: Sequence[str], groups: Sequence[str], seed: int = 0
) -> dict[int, int]:
    """Choose for each row with latents another one with latents whose right answer is another.

    Args:
        latents: of each row, ``[n, D]``.
        answers: the right ones.
        groups: of the rows; a donor is of the same group where there is one.
        seed: of the choice.

    Returns:
        Row -> donor; rows for which there is none are left out.
    """
    random = torch.Generator().manual_seed(seed)
    rows, donors = [number for number, row in enumerate(latents) if len(row)], dict[int, int]()
    for row in rows:
        others = [other for other in rows if answers[other] != answers[row]]
        alike = [other for other in others if groups[other] == groups[row]]
        if chosen := alike or others:
            donors[row] = chosen[int(torch.randint(len(chosen), (), generator=random))]
    return donors


def draw_noise(latents: Sequence[Tensor], random: torch.Generator, matched: bool) -> list[Tensor]:
    """Draw Gaussian vectors: with the latents' mean and covariance, or with one mean and variance for all numbers."""
    all_ND = torch.cat(list(latents)).double().cpu()
    mean_D = all_ND.mean(0) if matched else all_ND.mean().expand(all_ND.shape[1])
    if matched:
        # Centered latents mixed with Gaussian weights have exactly their covariance, without a matrix root.
        directions_ND = (all_ND - mean_D) / max(1, len(all_ND) - 1) ** 0.5
    noise = []
    for row in latents:
        if matched:
            vectors_nD = torch.randn(len(row), len(all_ND), generator=random, dtype=torch.float64) @ directions_ND
        else:
            vectors_nD = torch.randn(row.shape, generator=random, dtype=torch.float64) * all_ND.std()
        noise.append((mean_D + vectors_nD).to(row))
    return noise


def match_targets(targets: Sequence[Tensor], latents: Sequence[Tensor]) -> list[Tensor]:
    """Shift and scale targets, slot by slot, to the latents' mean and spread.

    A cosine loss doesn't constrain a latent's length, and a centered one not its mean either, so raw targets may differ
    in both from the latents that the model is used to.
    """
    result = [row.clone() for row in targets]
    for slot in range(min(max(map(len, targets)), max(map(len, latents)))):
        rows = [number for number, row in enumerate(targets) if len(row) > slot]
        own_RD = torch.stack([row[slot] for row in latents if len(row) > slot])
        target_RD = torch.stack([targets[number][slot] for number in rows])
        own, other = ((each - each.mean(0)).square().mean().sqrt() for each in (own_RD, target_RD))
        moved_RD = own_RD.mean(0) + (target_RD - target_RD.mean(0)) * own / other.clamp(min=1e-12)
        for number, vector_D in zip(rows, moved_RD, strict=True):
            result[number][slot] = vector_D
    return result


def fit_slots(vectors: Sequence[Tensor], latents: Sequence[Tensor]) -> list[Tensor]:
    """Give each row as many vectors as it has latents, repeated where there are too few."""
    pairs = zip(vectors, latents, strict=True)
    return [g[torch.arange(len(row)) % len(g)] if len(row) else row for g, row in pairs]
