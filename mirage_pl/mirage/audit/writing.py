"""Writing as a choice: which of the helper images do latents stand for?

Cosines say little: features of pictures are nearly parallel, and so are those of one picture before and after a change.
So each vector is asked which target it is nearest to, less the mean in its place on either side: by place in the block,
since in teacher forcing the first latents of a block give the others away.

Shapes: R rows, J blocks, k latents of a block, D width, P parts of a picture, n rows that have a place, C candidates.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mirage_pl.engine.evaluation.measures import estimate_change, estimate_interval
from mirage_pl.engine.evaluation.multiplicity import normal_p
from mirage_pl.engine.seams import Measure
from mirage_pl.mirage.audit.table import Slots

SAME = 1e-3
"""Two targets are the same if they differ by less than this share of what tells targets apart."""
NOTHING = 1e-5
"""Vectors that differ from their mean by less than this share of their length are the same but for rounding."""
FAR = 0.5
"""Least distance of a target from its rivals for a slot to count, relative to the slot of the row that differs most."""


def judge_writing(slots: Slots) -> dict[str, Any]:
    """Judge what was written, slot by slot and block by block.

    Returns:
        ``written``: share of rows whose answers have all latents that they should. And of each measure that can be
        made, ``chance`` and of each source ``{"all": interval, "places": [interval, …]}``, over rows; with ``gain``,
        how far ``free`` is above ``last``.
    """
    here_RJk = ~slots.true_RJkD[..., 0].isnan()
    written_R = ~(slots.free_RJkD[..., 0].isnan() & here_RJk).flatten(1).any(1)
    states, by_luck_RJk = judge_states(slots)
    hits = {
        "retrieved": {name: retrieve(each, slots.true_RJkD) for name, each in slots.sources.items()},
        "told_apart": {name: tell_apart(each, slots) for name, each in slots.sources.items()},
        **states,
        "block_retrieved": {name: retrieve(flat(each), flat(slots.true_RJkD)) for name, each in slots.sources.items()},
    }
    chances = {
        "retrieved": average_rows(find_luck(slots.true_RJkD))["mean"],
        "told_apart": 1 / 3 if has_any(slots.changed_RJkD) else 1 / 2,
        "changed": average_rows(by_luck_RJk)["mean"],
        "block_retrieved": average_rows(find_luck(flat(slots.true_RJkD)))["mean"],
    }
    measures = {
        name: {"chance": chances.get(name), **summarize_hits(each)}
        for name, each in hits.items()
        if has_any(each["last"]) or name.endswith("retrieved")
    }
    return {"written": float(written_R.double().mean()), "measures": measures}


def has_any(values: Tensor) -> bool:
    """Whether a table holds a number."""
    return bool((~values.isnan()).any())


def flat(vectors_RJkD: Tensor) -> Tensor:
    """Blocks as one vector each, ``[R, J, 1, k D]``; shorter blocks are filled up with zeros."""
    gone_RJ1 = vectors_RJkD[..., 0].isnan().all(2, keepdim=True)
    filled_RJ1X = vectors_RJkD.nan_to_num().flatten(2).unsqueeze(2)
    return filled_RJ1X.masked_fill(gone_RJ1.unsqueeze(-1), float("nan"))


def each_place(*tables_RJkD: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Yield block, place, and the rows that all tables have there."""
    here_RJk = torch.stack([~table[..., 0].isnan() for table in tables_RJkD]).all(0)
    for block in range(here_RJk.shape[1]):
        for place in range(here_RJk.shape[2]):
            rows_n = here_RJk[:, block, place].nonzero().squeeze(1)
            if len(rows_n):
                yield block, place, rows_n


def less_mean(vectors_nD: Tensor) -> Tensor:
    """Vectors less their mean; zeros for one that is the mean but for rounding, and so says nothing."""
    apart_nD = vectors_nD - vectors_nD.mean(0)
    return apart_nD * (apart_nD.norm(dim=1) > NOTHING * vectors_nD.norm(dim=1)).unsqueeze(1)


def retrieve(written_RJkD: Tensor, true_RJkD: Tensor) -> Tensor:
    """1 where a vector is nearest to its own target among those of all rows in its place, 0 elsewhere; NaN: no vector.

    Targets of other rows that are the same count as its own. A vector that is the same in all rows is near to none.
    """
    hits_RJk = torch.full(written_RJkD.shape[:3], float("nan"))
    for block, place, rows_n in each_place(written_RJkD, true_RJkD):
        targets_nD, vectors_nD = (less_mean(each[rows_n, block, place]) for each in (true_RJkD, written_RJkD))
        apart_n = (targets_nD[find_nearest(vectors_nD, targets_nD)] - targets_nD).norm(dim=1)
        near_n = (apart_n <= SAME * targets_nD.norm(dim=1)) & says(vectors_nD)
        hits_RJk[rows_n, block, place] = near_n.float()
    return hits_RJk


def find_luck(true_RJkD: Tensor) -> Tensor:
    """How often a target drawn at random among those of all rows is the own one, or the same; NaN: no target."""
    luck_RJk = torch.full(true_RJkD.shape[:3], float("nan"))
    for block, place, rows_n in each_place(true_RJkD):
        targets_nD = less_mean(true_RJkD[rows_n, block, place])
        apart_nn = torch.cdist(targets_nD, targets_nD, compute_mode="donot_use_mm_for_euclid_dist")
        same_nn = apart_nn <= SAME * targets_nD.norm(dim=1).unsqueeze(1)
        luck_RJk[rows_n, block, place] = same_nn.float().mean(1)
    return luck_RJk


def says(vectors_nD: Tensor) -> Tensor:
    """Whether vectors less their mean are anything but zeros."""
    return (vectors_nD != 0).any(1)


def find_nearest(vectors_nD: Tensor, targets_CD: Tensor) -> Tensor:
    """Number of the target with the largest cosine to each vector, ``[n]``; the first of several."""
    return (normalize(vectors_nD, dim=1) @ normalize(targets_CD, dim=1).T).argmax(1)


def tell_apart(written_RJkD: Tensor, slots: Slots) -> Tensor:
    """1 where a vector is nearest to its own target among three: that of the changed question, and the picture before.

    Where no question has a changed one, there are two. Only slots count whose target differs from both, at least
    :data:`FAR` as far as in the slot of the row where it differs most; NaN elsewhere.
    """
    rivals = [slots.last_RJkD] + ([slots.changed_RJkD] if has_any(slots.changed_RJkD) else [])
    shape = written_RJkD.shape[:3]
    hits_RJk, far_RJk = (torch.full(shape, float("nan")) for _ in range(2))
    for block, place, rows_n in each_place(written_RJkD, slots.true_RJkD, *rivals):
        at = rows_n, block, place
        mean_D = slots.true_RJkD[at].mean(0)
        # what all pictures gain by the path, or lose, is no choice: the picture before is centred for itself
        others = [less_mean(rivals[0][at]), *(rival[at] - mean_D for rival in rivals[1:])]
        candidates_CnD = torch.stack([slots.true_RJkD[at] - mean_D, *others])
        cosines_Cn = (normalize(candidates_CnD, dim=2) * normalize(less_mean(written_RJkD[at]), dim=1)).sum(2)
        hits_RJk[at] = (cosines_Cn[0] > cosines_Cn[1:].amax(0)).float()
        far_RJk[at] = (candidates_CnD[1:] - candidates_CnD[0]).norm(dim=2).amin(0)
    most_R = far_RJk.nan_to_num().flatten(1).amax(1)
    counted_RJk = (far_RJk >= FAR * most_R[:, None, None]) & (far_RJk > 0)
    return torch.where(counted_RJk, hits_RJk, float("nan"))


def judge_states(slots: Slots) -> tuple[dict[str, dict[str, Tensor]], Tensor]:
    """``changed``: parts that differ from the picture before, and are right; ``state``: blocks whose parts all are.

    A vector is right if what its part shows is what the nearest target in its place shows, of all rows and blocks. Only
    where a block has a latent for each part. And of changed parts, how often a target drawn at random would be right.
    """
    rows, blocks, k, _ = slots.true_RJkD.shape
    luck_RJk = torch.full((rows, blocks, k), float("nan"))
    if slots.states_RJP.shape[2] != k:
        return {}, luck_RJk
    known_RJk = (slots.states_RJP >= 0) & ~slots.true_RJkD[..., 0].isnan()
    moved_RJk = slots.states_RJP != slots.before_RJP
    changed, state = dict[str, Tensor](), dict[str, Tensor]()
    for name, written_RJkD in slots.sources.items():
        right_RJk = torch.full((rows, blocks, k), float("nan"))
        for place in range(k):
            here_RJ = known_RJk[:, :, place] & ~written_RJkD[:, :, place, 0].isnan()
            targets_nD = less_mean(slots.true_RJkD[:, :, place][here_RJ])
            if len(targets_nD):
                vectors_nD = less_mean(written_RJkD[:, :, place][here_RJ])
                shown_n = slots.states_RJP[:, :, place][here_RJ]
                right_n = (shown_n[find_nearest(vectors_nD, targets_nD)] == shown_n) & says(vectors_nD)
                right_RJk[:, :, place][here_RJ] = right_n.float()
                luck_RJk[:, :, place][here_RJ] = (shown_n.unsqueeze(1) == shown_n).float().mean(1)
        changed[name] = torch.where(moved_RJk, right_RJk, float("nan"))
        whole_RJ1 = right_RJk.nan_to_num(0).amin(2, keepdim=True)
        state[name] = torch.where(right_RJk.isnan().all(2, keepdim=True), float("nan"), whole_RJ1)
    return {"changed": changed, "state": state}, torch.where(moved_RJk, luck_RJk, float("nan"))


def summarize_hits(hits: Mapping[str, Tensor]) -> dict[str, Any]:
    """Summarize hits ``[R, J, k]`` of each source, in all and by place, and the gain of ``free`` on ``last``."""
    numbers = {name: {"all": average_rows(each), "places": average_places(each)} for name, each in hits.items()}
    free_R, last_R = (hits[name].flatten(1).nanmean(1) for name in ("free", "last"))
    both_R = ~(free_R.isnan() | last_R.isnan())
    return numbers | ({"gain": compare_rows(last_R[both_R], free_R[both_R])} if both_R.any() else {})


def average_places(hits_RJk: Tensor) -> list[dict[str, Any]]:
    """The mean of each place of a block, over rows."""
    return [average_rows(hits_RJk[..., place]) for place in range(hits_RJk.shape[2])]


def average_rows(values: Tensor) -> dict[str, Any]:
    """The mean over rows of the mean of each, with an interval; of rows that have a number."""
    means_R = values.reshape(len(values), -1).double().nanmean(1)
    means_n = means_R[~means_R.isnan()]
    if not len(means_n):
        return {"mean": None, "low": None, "high": None, "n": 0}
    return dict(estimate_interval(choose_measure(means_n), means_n.tolist()))


def choose_measure(*values_n: Tensor) -> Measure:
    """A share where all values are 0 or 1, whose interval has a width even if all are alike; else a mean."""
    return Measure("share" if all(bool(((each == 0) | (each == 1)).all()) for each in values_n) else "mean")


def compare_rows(before_n: Tensor, after_n: Tensor) -> dict[str, Any]:
    """The paired difference of rows, after less before, with ``p``."""
    difference = dict(estimate_change(choose_measure(before_n, after_n), before_n.tolist(), after_n.tolist()))
    return {"p": normal_p(difference), **difference}
