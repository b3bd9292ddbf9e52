"""The slow reference of the engine: one row, no cache, everything computed again for every latent and every token.

Tests compare the fast path (``latents``, ``layers``, ``recurrence``, ``generate``) with it. It uses the stock model
with the model's own positions and causal mask.

Shapes: T columns of the row, D width, k latents of a block.
"""

import torch
from torch import Tensor

from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.model.columns import Embeds
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import OnePass


def hidden_states(net: LatentVLM, tokens_T: Tensor, embeds: Embeds, batch: Batch) -> Tensor:
    """Hidden states ``[T, D]`` of the first columns of a row, by one call of the stock language model."""
    grids, deep = batch.images.grids if batch.images else (), [table_MD[1:] for table_MD in embeds.deep]
    return net.architecture.stock_hidden(embeds.inputs_BTD, tokens_T.unsqueeze(0), grids, deep)[0]


def join(embeds: Embeds, embeds_TD: Tensor) -> Embeds:
    """The same row with other inputs."""
    return embeds._replace(inputs_BTD=embeds_TD.unsqueeze(0))


def recurrent_row(net: LatentVLM, batch: Batch) -> Tensor:
    """Stage 2 for a batch of one row: every latent is the last hidden state of everything before it.

    Returns:
        Hidden states ``[T, D]``.
    """
    tokens_T, embeds = batch.tokens_BT[0], net.embed(batch)
    embeds_TD = embeds.inputs_BTD[0]
    for column in batch.latent_BT[0].nonzero().flatten().tolist():
        first = next(c for c in range(column, -1, -1) if c == 0 or not batch.latent_BT[0, c - 1])
        latent_1D = next_latent(net, tokens_T[:column], embeds, embeds_TD[:column], column - first, batch)
        embeds_TD = torch.cat([embeds_TD[:column], latent_1D, embeds_TD[column + 1 :]])
    return hidden_states(net, tokens_T, join(embeds, embeds_TD), batch)


def next_latent(
    net: LatentVLM, tokens_T: Tensor, embeds: Embeds, embeds_TD: Tensor, number: int, batch: Batch
) -> Tensor:
    """The latent ``[1, D]`` after some columns of a row.

    Args:
        net: the model.
        tokens_T: of the columns.
        embeds: of the row.
        embeds_TD: inputs of the columns.
        number: latents of its block before it.
        batch: the row.
    """
    if isinstance(net.recurrence, OnePass):  # queries in place of the block's latents so far, and of this one
        queries_kD = net.recurrence.embeds(number + 1).to(embeds_TD)
        embeds_TD = torch.cat([embeds_TD[: len(embeds_TD) - number], queries_kD])
        tokens_T = torch.cat([tokens_T, tokens_T.new_zeros(1)])  # of no image
    hidden_TD = hidden_states(net, tokens_T, join(embeds, embeds_TD), batch)
    latent_1D: Tensor = net.feedback(hidden_TD[-1:])
    return latent_1D


def teacher_forced_row(net: LatentVLM, batch: Batch) -> tuple[Tensor, Tensor]:
    """Stage 1 for a batch of one row: its latents are the compressed helper features, block by block.

    Returns:
        Hidden states ``[T, D]`` and the latents ``[N, D]``.
    """
    embeds = net.embed(batch)
    embeds_TD, latents = embeds.inputs_BTD[0], []
    if batch.helpers is not None:
        merge = net.architecture.merge
        pairs = zip(net.image_features(batch.helpers), batch.helpers.grids, batch.sizes[0], strict=True)
        latents = [
            net.compression(feature[:, : net.width], (t * h // merge, w // merge), k) for feature, (t, h, w), k in pairs
        ]
    latents_ND = torch.cat([embeds_TD[:0], *latents])
    for latent_D, column in zip(latents_ND, batch.latent_BT[0].nonzero().flatten().tolist(), strict=True):
        embeds_TD = torch.cat([embeds_TD[:column], latent_D.unsqueeze(0), embeds_TD[column + 1 :]])
    return hidden_states(net, batch.tokens_BT[0], join(embeds, embeds_TD), batch), latents_ND


def summed_losses(net: LatentVLM, batch: Batch, stage: int) -> dict[str, Tensor]:
    """The losses of one row, summed over its tokens and its latents, token by token."""
    if stage == 1:
        hidden_TD, latents_ND = teacher_forced_row(net, batch)
        columns = batch.latent_BT[0].nonzero().flatten().tolist()
        pairs = [(hidden_TD[column - 1], latent_D) for latent_D, column in zip(latents_ND, columns, strict=True)]
        cosines = [predicted @ latent / (predicted.norm() * latent.norm()) for predicted, latent in pairs]
        losses = {"latent": sum((1 - cosine for cosine in cosines), hidden_TD.new_zeros(()))}
    else:
        hidden_TD, losses = recurrent_row(net, batch), {}
    text = hidden_TD.new_zeros(())
    for column, target in enumerate(batch.targets_BT[0].tolist()):
        if target != IGNORE:
            text = text - net.logits(hidden_TD[column]).log_softmax(-1)[target]
    return losses | {"text": text}


@torch.no_grad()
def greedy_answer(
    net: LatentVLM, prompt: Batch, sizes: list[int], end: int, start: int, pad: int, stop: int, max_new_tokens: int
) -> list[int]:
    """Answer one prompt greedily, running the whole sequence for every token.

    Args:
        net: the model.
        prompt: of one row.
        sizes: latents of each possible block.
        end: id of ``<|latent_end|>``.
        start: id of ``<|latent_start|>``.
        pad: id of ``<|latent_pad|>``.
        stop: id of the token that ends a turn.
        max_new_tokens: most tokens and latents to write.

    Raises:
        ValueError: the model opens more blocks than ``sizes`` has.
    """
    tokens_T, embeds = prompt.tokens_BT[0], net.embed(prompt)
    embeds_TD = embeds.inputs_BTD[0]
    written: list[int] = []
    queue: list[int] = []
    blocks = list(sizes)
    while len(written) < max_new_tokens:
        hidden_D = hidden_states(net, tokens_T, join(embeds, embeds_TD), prompt)[-1]
        latent = bool(queue) and queue[0] == pad
        token = queue.pop(0) if queue else int(net.logits(hidden_D).argmax())
        if token == stop:
            break
        if token == start:
            if not blocks:
                raise ValueError(f"the answer has more latent blocks than sizes={list(sizes)} names; give one for each")
            queue = [pad] * blocks.pop(0) + [end]
        if latent:
            number = next(n for n in range(len(written)) if written[len(written) - 1 - n] != pad)
            embed_D = next_latent(net, tokens_T, embeds, embeds_TD, number, prompt)[0]
        else:
            embed_D = net.embed_tokens(tokens_T.new_tensor(token))
        tokens_T, embeds_TD = torch.cat([tokens_T, tokens_T.new_tensor([token])]), torch.cat([embeds_TD, embed_D[None]])
        written.append(token)
    return written
