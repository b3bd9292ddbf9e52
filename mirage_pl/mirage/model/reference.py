"""The slow reference of the engine: one row, no cache, everything computed again for every latent and every token.

Tests compare the fast path (``latents``, ``layers``, ``recurrence``, ``generate``) with it. It uses the stock model
with the model's own positions and causal mask.

Shapes: T columns of the row, D width, k latents of a block.
"""

import torch
from torch import Tensor

from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.model.latents import LatentVLM


def hidden_states(net: LatentVLM, tokens_T: Tensor, embeds_TD: Tensor, grids_N3: Tensor | None) -> Tensor:
    """Hidden states ``[T, D]`` of a whole row, by one call of the stock language model."""
    config = net.backbone.config
    kinds_1T = (tokens_T == config.image_token_id).int().unsqueeze(0)
    positions_31T, _ = net.backbone.model.get_rope_index(tokens_T.unsqueeze(0), kinds_1T, image_grid_thw=grids_N3)
    decoded = net.decoder(inputs_embeds=embeds_TD.unsqueeze(0), position_ids=positions_31T, use_cache=False)
    return decoded.last_hidden_state[0]


def recurrent_row(net: LatentVLM, batch: Batch) -> Tensor:
    """Stage 2 for a batch of one row: every latent is the last hidden state of everything before it.

    Returns:
        Hidden states ``[T, D]``.
    """
    tokens_T, embeds_TD, grids_N3 = batch.tokens_BT[0], net.embed(batch)[0], stack_grids(batch)
    for column in batch.latent_BT[0].nonzero().flatten().tolist():
        before_TD = hidden_states(net, tokens_T[:column], embeds_TD[:column], grids_N3)
        embeds_TD = torch.cat([embeds_TD[:column], net.feedback(before_TD[-1:]), embeds_TD[column + 1 :]])
    return hidden_states(net, tokens_T, embeds_TD, grids_N3)


def teacher_forced_row(net: LatentVLM, batch: Batch) -> tuple[Tensor, Tensor]:
    """Stage 1 for a batch of one row: its latents are the compressed helper features, block by block.

    Returns:
        Hidden states ``[T, D]`` and the latents ``[N, D]``.
    """
    embeds_TD, latents = net.embed(batch)[0], []
    if batch.helpers is not None:
        merge = net.tower.spatial_merge_size
        pairs = zip(net.image_features(batch.helpers), batch.helpers.grids, batch.sizes[0], strict=True)
        latents = [net.compression(feature, (h // merge, w // merge), k) for feature, (_, h, w), k in pairs]
    latents_ND = torch.cat([embeds_TD[:0], *latents])
    for latent_D, column in zip(latents_ND, batch.latent_BT[0].nonzero().flatten().tolist(), strict=True):
        embeds_TD = torch.cat([embeds_TD[:column], latent_D.unsqueeze(0), embeds_TD[column + 1 :]])
    return hidden_states(net, batch.tokens_BT[0], embeds_TD, stack_grids(batch)), latents_ND


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


def stack_grids(batch: Batch) -> Tensor | None:
    """Stack the grids of the input images as stock transformers expects them."""
    return None if batch.images is None else torch.tensor(batch.images.grids)


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
        stop: id of ``<|im_end|>``.
        max_new_tokens: most tokens and latents to write.

    Raises:
        ValueError: the model opens more blocks than ``sizes`` has.
    """
    tokens_T, embeds_TD, grids_N3 = prompt.tokens_BT[0], net.embed(prompt)[0], stack_grids(prompt)
    written: list[int] = []
    queue: list[int] = []
    blocks = list(sizes)
    while len(written) < max_new_tokens:
        hidden_D = hidden_states(net, tokens_T, embeds_TD, grids_N3)[-1]
        latent = bool(queue) and queue[0] == pad
        token = queue.pop(0) if queue else int(net.logits(hidden_D).argmax())
        if token == stop:
            break
        if token == start:
            if not blocks:
                raise ValueError(f"the answer has more latent blocks than sizes={list(sizes)} names; give one for each")
            queue = [pad] * blocks.pop(0) + [end]
        embed_D = net.feedback(hidden_D) if latent else net.embed_tokens(tokens_T.new_tensor(token))
        tokens_T, embeds_TD = torch.cat([tokens_T, tokens_T.new_tensor([token])]), torch.cat([embeds_TD, embed_D[None]])
        written.append(token)
    return written
