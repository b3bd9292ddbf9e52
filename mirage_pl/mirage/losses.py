"""The losses of Mirage: of text, and of latents.

Shapes: M supervised positions, V vocabulary, N latents, D width.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, normalize
from torch.utils.checkpoint import checkpoint

from mirage_pl.engine.checkpoints.parts import is_split


def text_ce(hidden_MD: Tensor, head: nn.Module, targets_M: Tensor, chunk: int | None = None, most: int = 0) -> Tensor:
    """Mean cross-entropy over supervised tokens, computed in float32 or better.

    Args:
        hidden_MD: hidden states of the supervised positions.
        head: hidden states -> logits ``[M, V]``.
        targets_M: the right tokens.
        chunk: number of positions whose logits are in memory at a time; they are computed again for the gradient.
            ``None``: all at once.
        most: largest M of all ranks, which then all use the same number of chunks: every rank has to call ``head``
            equally often.
    """
    count = 1 if chunk is None else -(-max(most, len(targets_M)) // chunk)
    if count <= 1:
        return summed_ce(head, hidden_MD, targets_M) / len(targets_M)
    pieces = zip(hidden_MD.tensor_split(count), targets_M.tensor_split(count), strict=True)
    sums = [checkpoint(summed_ce, head, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    return torch.stack(sums).sum() / len(targets_M)


def summed_ce(head: nn.Module, hidden_MD: Tensor, targets_M: Tensor) -> Tensor:
    """Cross-entropy summed over positions."""
    return cross_entropy(to_float32(head(hidden_MD)), targets_M, reduction="sum")


def to_float32(values: Tensor) -> Tensor:
    """Convert to float32; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def fused_ce(hidden_MD: Tensor, head: Any, targets_M: Tensor) -> Tensor:
    """Compute :func:`text_ce` with Liger's fused kernel, which never holds all logits. CUDA only."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    loss: Tensor = LigerFusedLinearCrossEntropyLoss()(head.weight, hidden_MD, targets_M, head.bias)
    return loss


def can_fuse(hidden_MD: Tensor, head: Any) -> bool:
    """Whether Liger is installed, tensors are on a GPU, and the head is its weight, unsharded, and no more."""
    return (
        hidden_MD.is_cuda
        and type(head) is nn.Linear
        and not head._forward_hooks
        and not is_split(head.weight)
        and find_spec("liger_kernel") is not None
    )


def latent_cosine(
    predicted_ND: Tensor, target_ND: Tensor, places_N: Tensor | None = None, weights_N: Tensor | None = None
) -> Tensor:
    """One minus the mean cosine similarity of hidden states and the latents they should become (L_visual, section 3).

    Averaged features of different images are nearly parallel, so the plain cosine is near 1 for any of them. The
    centered one depends only on what tells a sample's latent from the others'.

    Args:
        predicted_ND: hidden states before each latent.
        target_ND: the latents.
        places_N: the place of each latent in its block; both sides are centered over the batch's latents in the same
            place. ``None``: not centered, as in the paper.
        weights_N: of the latents in the mean, 1 on average; ``None``: all alike.

    Returns:
        Between 0 and 2; 0 where there are no latents.
    """
    if not len(target_ND):
        return predicted_ND.sum()
    predicted_ND, target_ND = to_float32(predicted_ND), to_float32(target_ND)
    if places_N is not None:
        predicted_ND, target_ND = center_by_place(predicted_ND, places_N), center_by_place(target_ND, places_N)
    return weighted_mean(1 - cosine_similarity(predicted_ND, target_ND, dim=-1), weights_N)


def latent_contrast(
    predicted_ND: Tensor, target_ND: Tensor, temperature: float, weights_N: Tensor | None = None
) -> Tensor:
    """How badly hidden states tell which of the batch's latents they should become.

    ``KL(softmax_j cos(t_i, t_j) / T || softmax_j cos(h_i, t_j) / T)``, with hidden states h and latents t of length 1,
    less the mean of t. Of their own length, hidden states less a mean of features would all have the direction of that
    mean, whatever they say: they are shorter by far. Unlike a cross-entropy with one right latent, it asks nobody to
    tell latents apart that are alike; it is 0 for ``h = t``.

    Args:
        predicted_ND: hidden states that should become latents.
        target_ND: the latents; constant.
        temperature: T.
        weights_N: as in :func:`latent_cosine`.

    Returns:
        In nats; 0 where there are no latents.
    """
    if not len(target_ND):
        return predicted_ND.sum()
    predicted_ND, target_ND = (normalize(to_float32(each), dim=-1) for each in (predicted_ND, target_ND.detach()))
    mean_D = target_ND.mean(0)
    units_ND = normalize(target_ND - mean_D, dim=-1)
    right_NN = (units_ND @ units_ND.T / temperature).log_softmax(-1)
    likely_NN = (normalize(predicted_ND - mean_D, dim=-1) @ units_ND.T / temperature).log_softmax(-1)
    return weighted_mean(kl_div(likely_NN, right_NN, reduction="none", log_target=True).sum(-1), weights_N)


def weighted_mean(values_N: Tensor, weights_N: Tensor | None) -> Tensor:
    """The mean of values, each times its weight; weights are 1 on average."""
    return values_N.mean() if weights_N is None else (values_N * weights_N.to(values_N)).mean()


def weigh_changes(target_ND: Tensor, sizes: Sequence[Sequence[int]], still: float) -> Tensor:
    """Weights of latents by how much they differ from those in the same place of the block before.

    ``still + (1 - still) d / mean d``, with d the squared distance; that of a row's first block, and of places that the
    block before hasn't, is the mean.

    Args:
        target_ND: latents, block after block and row after row.
        sizes: of the blocks of each row.
        still: weight of a latent that hasn't changed; 1: all weigh alike.

    Returns:
        ``[N]``, 1 on average.
    """
    target_ND = to_float32(target_ND.detach())
    differs_N = target_ND.new_full((len(target_ND),), torch.nan)
    start = 0
    for row in sizes:
        for number, size in enumerate(row):
            if number and (both := min(size, before := row[number - 1])):
                pair = target_ND[start : start + both] - target_ND[start - before : start - before + both]
                differs_N[start : start + both] = pair.square().sum(-1)
            start += size
    mean = differs_N.nanmean()
    shares_N = torch.where(differs_N.isnan() | ~(mean > 0), 1.0, differs_N / mean)
    return still + (1 - still) * shares_N


def center_by_place(latents_ND: Tensor, places_N: Tensor) -> Tensor:
    """Subtract from each latent the mean of the latents in the same place."""
    counts_P = places_N.bincount().to(latents_ND.dtype)
    sums_PD = latents_ND.new_zeros(len(counts_P), latents_ND.shape[1]).index_add(0, places_N, latents_ND)
    return latents_ND - (sums_PD / counts_P.clamp(min=1).unsqueeze(1))[places_N]
