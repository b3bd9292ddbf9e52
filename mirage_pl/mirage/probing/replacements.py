"""What latents are replaced by: zeros, noise, another row's, or targets that speak their dialect.

Shapes: R rows of the whole test set, n latents of one row, N of all rows, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

ORACLES = ("oracle", "matched_oracle")
"""They need helper images."""
NAMES = ("identity", "zero", "noise", "matched_noise", "first_repeated", "shuffled", *ORACLES, "none")
"""In the order in which they are shown."""


def build_replacements(name: str, latents: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
    """What each row's latents are replaced by.

    Args:
        name: ``identity``: themselves; ``zero``; ``noise``: Gaussian of the latents' overall mean and variance;
            ``matched_noise``: Gaussian of their mean and covariance over all rows; ``first_repeated``: the row's first;
            ``shuffled``: those of another row.
        latents: of each row, ``[n, D]``.
        seed: of noise and shuffling.

    Raises:
        ValueError: unknown name.
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
    """Give every row that has latents those of another; where there are too few, they come round again."""
    rows = [number for number, row in enumerate(latents) if len(row)]
    order = torch.randperm(len(rows), generator=random).tolist()
    donors = {rows[order[i]]: rows[order[(i + 1) % len(rows)]] for i in range(len(rows))}
    result = list(latents)
    for row, donor in donors.items():
        result[row] = latents[donor][torch.arange(len(latents[row])) % len(latents[donor])]
    return result


def draw_noise(latents: Sequence[Tensor], random: torch.Generator, matched: bool) -> list[Tensor]:
    """Draw Gaussian vectors: with the latents' mean and covariance, or with one mean and variance for all numbers."""
    all_ND = torch.cat(list(latents)).double().cpu()
    mean_D = all_ND.mean(0) if matched else all_ND.mean().expand(all_ND.shape[1])
    if matched:
        # Real latents less their mean, mixed with Gaussian weights: exactly their covariance, without a root of it.
        directions_ND = (all_ND - mean_D) / max(1, len(all_ND) - 1) ** 0.5
    drawn = []
    for row in latents:
        if matched:
            vectors_nD = torch.randn(len(row), len(all_ND), generator=random, dtype=torch.float64) @ directions_ND
        else:
            vectors_nD = torch.randn(row.shape, generator=random, dtype=torch.float64) * all_ND.std()
        drawn.append((mean_D + vectors_nD).to(row))
    return drawn


def match_targets(targets: Sequence[Tensor], latents: Sequence[Tensor]) -> list[Tensor]:
    """Move and scale targets, slot by slot of the row, to the latents' mean and spread.

    A cosine leaves a latent's length to the model, and a centred one its mean too: raw targets then speak another
    dialect than the latents that the model is used to.
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


def fit_slots(given: Sequence[Tensor], latents: Sequence[Tensor]) -> list[Tensor]:
    """As many vectors for each row as it has latents; where too few are given, they come round again."""
    pairs = zip(given, latents, strict=True)
    return [g[torch.arange(len(row)) % len(g)] if len(row) else row for g, row in pairs]
