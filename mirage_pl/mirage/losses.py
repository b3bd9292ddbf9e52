"""The two losses of Mirage.

Shapes: M supervised positions, V vocabulary, N latents, D width.
"""

from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.utils.checkpoint import checkpoint

from mirage_pl.engine.checkpoints.parts import is_split


def text_ce(hidden_MD: Tensor, head: nn.Module, targets_M: Tensor, chunk: int | None = None, most: int = 0) -> Tensor:
    """Mean cross-entropy over supervised tokens, computed in float32 or better.

    Args:
        hidden_MD: hidden states of the supervised positions.
        head: hidden states -> logits ``[M, V]``.
        targets_M: the right tokens.
        chunk: positions whose logits exist at a time, so that ``[M, V]`` never does; they are computed again for the
            gradient. ``None``: all at once.
        most: positions of the rank that has the most; all ranks make as many pieces, so that they call ``head`` alike.
    """
    count = 1 if chunk is None else -(-max(most, len(targets_M)) // chunk)
    if count <= 1:
        return summed_ce(head, hidden_MD, targets_M) / len(targets_M)
    pieces = zip(hidden_MD.tensor_split(count), targets_M.tensor_split(count), strict=True)
    sums = [checkpoint(summed_ce, head, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    return torch.stack(sums).sum() / len(targets_M)


def summed_ce(head: nn.Module, hidden_MD: Tensor, targets_M: Tensor) -> Tensor:
    """Cross-entropy summed over positions."""
    return cross_entropy(precise(head(hidden_MD)), targets_M, reduction="sum")


def precise(values: Tensor) -> Tensor:
    """In float32, or in float64 if they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def fused_ce(hidden_MD: Tensor, head: Any, targets_M: Tensor) -> Tensor:
    """Compute :func:`text_ce` with Liger's kernel: logits and gradients a piece at a time, in one go. CUDA only."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    loss: Tensor = LigerFusedLinearCrossEntropyLoss()(head.weight, hidden_MD, targets_M, head.bias)
    return loss


def can_fuse(hidden_MD: Tensor, head: Any) -> bool:
    """Liger is installed, there is a GPU, and the head is a plain linear layer whose weight is all here."""
    return (
        hidden_MD.is_cuda
        and type(head) is nn.Linear
        and not is_split(head.weight)
        and find_spec("liger_kernel") is not None
    )


def latent_cosine(predicted_ND: Tensor, target_ND: Tensor, places_N: Tensor | None = None) -> Tensor:
    """One minus the mean cosine similarity of each hidden state with the latent it should become (L_visual).

    Averaged features of different images are nearly parallel, so that the plain cosine is near 1 for any of them.
    Centred, it asks only for what tells a sample's latent from the others'.

    Args:
        predicted_ND: hidden states before each latent.
        target_ND: the latents.
        places_N: the place of each latent in its block: both sides are centred over the batch's latents in the same
            place. ``None``: not centred, as in the paper.

    Returns:
        Between 0 and 2; 0 where there are no latents.
    """
    if not len(target_ND):
        return predicted_ND.sum()
    predicted_ND, target_ND = precise(predicted_ND), precise(target_ND)
    if places_N is not None:
        predicted_ND, target_ND = centred(predicted_ND, places_N), centred(target_ND, places_N)
    return 1 - cosine_similarity(predicted_ND, target_ND, dim=-1).mean()


def centred(latents_ND: Tensor, places_N: Tensor) -> Tensor:
    """Less the mean of the latents in the same place."""
    counts_P = places_N.bincount().to(latents_ND.dtype)
    sums_PD = latents_ND.new_zeros(len(counts_P), latents_ND.shape[1]).index_add(0, places_N, latents_ND)
    return latents_ND - (sums_PD / counts_P.clamp(min=1).unsqueeze(1))[places_N]
