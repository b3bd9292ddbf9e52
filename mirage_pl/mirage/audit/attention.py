"""How much of its attention an answer's text gives to latents, layer by layer.

Shapes: B rows, T columns, L layers that attend, M columns of answers' text.
"""

from typing import Any

import torch
from torch import Tensor

from mirage_pl.mirage.audit.interventions import AuditInterventions
from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.probing.reading import embed_latents, join_answers
from mirage_pl.mirage.probing.sight import record_attention

MOST_ROWS = 200
"""Rows that are looked at: the first ones."""


def share_attention(probe: AuditInterventions) -> dict[str, Any]:
    """Share the attention of the answers' text after the first latent among what it can see.

    Returns:
        ``layers``: their numbers. ``latents``, ``image``, ``rest``: the mean share of each of them, over columns and
        heads; ``even``: what latents would have if every column were given the same. Empty without such columns.
    """
    sums, count = dict[str, Tensor](), 0
    for rows, prompts, answers in probe.batches():
        if rows.start >= MOST_ROWS:
            break
        batch = join_answers(probe.collate, prompts, answers.tokens).to(prompts.tokens_BT.device)
        reading_BT = (batch.targets_BT != IGNORE) & ~batch.latent_BT
        if not reading_BT.any():
            continue
        shares_LMT = record_attention(probe.net, batch, embed_latents(probe.net, batch, answers.latents), reading_BT)
        for name, total in add_shares(batch, reading_BT, shares_LMT, probe.collate.image_pad).items():
            sums[name] = sums.get(name, 0) + total
        count += int(reading_BT.sum())
    if not count:
        return {}
    return {"layers": list(probe.net.architecture.attending)} | {n: (each / count).tolist() for n, each in sums.items()}


def add_shares(batch: Batch, reading_BT: Tensor, shares_LMT: Tensor, image_pad: int) -> dict[str, Tensor]:
    """Sums over columns of the shares of each layer, ``[L]``."""
    row_M, column_M = reading_BT.nonzero().unbind(1)
    columns_T = torch.arange(batch.tokens_BT.shape[1], device=row_M.device)
    seen_MT = batch.real_BT[row_M] & (columns_T <= column_M.unsqueeze(1))
    masks = {"latents": batch.latent_BT, "image": (batch.tokens_BT == image_pad) & batch.real_BT}
    sums = {name: (shares_LMT * mask_BT[row_M]).sum((1, 2)).double().cpu() for name, mask_BT in masks.items()}
    even_M = (batch.latent_BT[row_M] & seen_MT).sum(1) / seen_MT.sum(1)
    rest_L = len(row_M) - sums["latents"] - sums["image"]
    return sums | {"rest": rest_L, "even": even_M.sum().double().cpu().expand(len(rest_L))}
