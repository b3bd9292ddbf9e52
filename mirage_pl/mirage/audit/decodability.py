"""A linear probe: what a block shows, read from its latents on rows that the probe hasn't seen.

The probe is a ridge regression to one number for each part and each of its kinds, in its dual form, since rows are
fewer than numbers. It is fitted on four fifths of the rows, to the vectors that it is asked about or to true latents;
its penalty is chosen on a fifth of these rows. Vectors are less the mean and over the spread of their source.

Shapes: R rows, J blocks, k latents of a block, D width, P parts of a picture, N blocks of all rows, C kinds of parts,
X numbers of a block.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mirage_pl.mirage.audit.table import Slots
from mirage_pl.mirage.audit.writing import average_rows, compare_rows

FOLDS = 5
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Relative to the mean square of a block."""
MOST_BLOCKS = 1200
"""Blocks that are probed: the last ones of each row."""


def list_sources(slots: Slots) -> Mapping[str, tuple[Tensor, Tensor]]:
    """What a probe is fitted to, and what it is asked about, by name."""
    true, free, last = slots.true_RJkD, slots.free_RJkD, slots.last_RJkD
    same = {"free": (free, free), "true": (true, true), "last": (last, last)}
    return same | {"forced_as_true": (true, slots.forced_RJkD), "free_as_true": (true, free)}


def probe_states(slots: Slots) -> dict[str, Any]:
    """Probe latents, and the picture before each block, for what the helper image shows.

    Returns:
        For ``free``, the model's own latents, ``true`` ones, ``last``, the picture before, and for what is written by a
        probe of true ones, ``forced_as_true`` and ``free_as_true``: ``changed``, the share of parts that differ from
        the picture before and are read right, and ``state``, the share of blocks whose parts all are; both over rows.
        ``gain``: how many more changed parts are read from ``free`` than from ``last``. Empty if no state is known, or
        of fewer than two rows in each fold.
    """
    sources, blocks = list_sources(slots), max(1, MOST_BLOCKS // len(slots.true_RJkD))
    known_RJ = (slots.states_RJP >= 0).any(2)
    for _, asked_RJkD in sources.values():
        known_RJ = known_RJ & ~asked_RJkD[..., 0].isnan().all(2)
    known_RJ[:, :-blocks] = False
    changed_R, numbers = dict[str, Tensor](), dict[str, Any]()
    for name, (fitted_RJkD, asked_RJkD) in sources.items():
        right_RJP = read_parts(fitted_RJkD, asked_RJkD, slots.states_RJP, known_RJ)
        if right_RJP.isnan().all():
            return {}
        moved_RJP = torch.where(slots.states_RJP != slots.before_RJP, right_RJP, float("nan"))
        whole_RJ = torch.where(right_RJP.isnan().all(2), float("nan"), right_RJP.nan_to_num(1).amin(2))
        changed_R[name] = moved_RJP.flatten(1).nanmean(1)
        numbers[name] = {"changed": average_rows(changed_R[name]), "state": average_rows(whole_RJ)}
    here_R = ~(changed_R["free"].isnan() | changed_R["last"].isnan())
    if here_R.any():
        numbers["gain"] = compare_rows(changed_R["last"][here_R], changed_R["free"][here_R])
    return numbers


def read_parts(fitted_RJkD: Tensor, asked_RJkD: Tensor, states_RJP: Tensor, known_RJ: Tensor) -> Tensor:
    """1 where a probe of other rows reads a part right, 0 where it doesn't; NaN where nothing is known.

    Pictures of different sizes, as mazes of several levels, have probes of their own.
    """
    right_RJP = torch.full(states_RJP.shape, float("nan"))
    sizes_RJ, slots_RJ = (states_RJP >= 0).sum(2), (~asked_RJkD[..., 0].isnan()).sum(2)
    kinds = {(int(size), int(k)) for size, k in zip(sizes_RJ[known_RJ], slots_RJ[known_RJ], strict=True)}
    for size, k in sorted(kinds):
        here_RJ = known_RJ & (sizes_RJ == size) & (slots_RJ == k)
        ranks_N = torch.unique(here_RJ.nonzero()[:, 0], return_inverse=True)[1]
        if int(ranks_N.max()) + 1 < 2 * FOLDS:
            continue
        fitted_NX, asked_NX = (standardize(each[here_RJ][:, :k].flatten(1)) for each in (fitted_RJkD, asked_RJkD))
        states_NP = states_RJP[here_RJ][:, :size]
        read_NP = cross_validate(fitted_NX, asked_NX, states_NP, ranks_N % FOLDS)
        right_NP = torch.full((len(read_NP), states_RJP.shape[2]), float("nan"))
        right_NP[:, :size] = (read_NP == states_NP).float()
        right_RJP[here_RJ] = right_NP
    return right_RJP


def standardize(vectors_NX: Tensor) -> Tensor:
    """Vectors less their mean and over their spread; what hardly varies isn't blown up."""
    vectors_NX = vectors_NX.double() - vectors_NX.double().mean(0)
    spread_X = vectors_NX.std(0)
    return vectors_NX / spread_X.clamp(min=max(1e-2 * float(spread_X.mean()), 1e-12))


def cross_validate(fitted_NX: Tensor, asked_NX: Tensor, states_NP: Tensor, folds_N: Tensor) -> Tensor:
    """States ``[N, P]`` as a probe that is fitted to the other folds reads them."""
    scale = fitted_NX.square().sum(1).mean().clamp(min=1e-12)
    alike_NN, asked_NN = fitted_NX @ fitted_NX.T / scale, asked_NX @ fitted_NX.T / scale
    wanted_NPC = torch.nn.functional.one_hot(states_NP, int(states_NP.max()) + 1).double()
    read_NP = torch.empty_like(states_NP)
    for fold in range(FOLDS):
        tested_N, tried_N = folds_N == fold, folds_N == (fold + 1) % FOLDS
        first_N = ~tested_N & ~tried_N
        hits = [
            float((read_kinds(alike_NN, alike_NN, wanted_NPC, first_N, tried_N, each) == states_NP[tried_N]).sum())
            for each in PENALTIES
        ]
        best = PENALTIES[max(range(len(hits)), key=hits.__getitem__)]
        read_NP[tested_N] = read_kinds(alike_NN, asked_NN, wanted_NPC, ~tested_N, tested_N, best)
    return read_NP


def read_kinds(
    alike_NN: Tensor, asked_NN: Tensor, wanted_NPC: Tensor, fitted_N: Tensor, tested_N: Tensor, penalty: float
) -> Tensor:
    """The likeliest kind of each part of the tested blocks, by ridge regression on the fitted ones.

    Args:
        alike_NN: products of the vectors that it is fitted to.
        asked_NN: products of those that it is asked about with these.
        wanted_NPC: 1 for the kind of each part.
        fitted_N: bools.
        tested_N: bools.
        penalty: relative to the mean square of a vector.
    """
    mean_PC = wanted_NPC[fitted_N].mean(0)
    inner_nn = alike_NN[fitted_N][:, fitted_N]
    factor_nn = torch.linalg.cholesky(inner_nn + penalty * torch.eye(len(inner_nn), dtype=inner_nn.dtype))
    weights_nX = torch.cholesky_solve((wanted_NPC[fitted_N] - mean_PC).flatten(1), factor_nn)
    read_mX = asked_NN[tested_N][:, fitted_N] @ weights_nX
    return (read_mX.unflatten(1, mean_PC.shape) + mean_PC).argmax(2)
