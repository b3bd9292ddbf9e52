"""Read answers again: questions and their answers in one batch, with other latents in the answers' slots; and what
helper images are as latents.

Shapes: B rows, T columns, n latents of one row, D width.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from data_modules.samples import Sample
from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.model.columns import Embeds
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.placing import Row


def join_answers(collate: Collator, prompts: Batch, answers: Sequence[Sequence[int]], without: bool = False) -> Batch:
    """Place each question and its answer in one row; targets are the answer's tokens after its first latent.

    Args:
        collate: knows the special tokens.
        prompts: the questions.
        answers: the tokens of each, latent slots included.
        without: leave the slots out.
    """
    rows = []
    for tokens_T, real_T, tokens in zip(prompts.tokens_BT, prompts.real_BT, answers, strict=True):
        question, answer = tokens_T[real_T].tolist(), mask_stray_tokens(collate, tokens)
        after = answer.index(collate.latent_pad) if collate.latent_pad in answer else len(answer)
        labels = [IGNORE] * after + [IGNORE if token == collate.latent_pad else token for token in answer[after:]]
        pairs = [pair for pair in zip(answer, labels, strict=True) if not (without and pair[0] == collate.latent_pad)]
        tokens, labels = [token for token, _ in pairs], [label for _, label in pairs]
        rows.append(Row(question + tokens, [IGNORE] * len(question) + labels))
    grids = collate.pictures.merged(prompts.images)
    batch = collate.place(rows, grids)
    return replace(batch, images=prompts.images)


def embed_latents(net: LatentVLM, batch: Batch, latents: Sequence[Tensor]) -> Embeds:
    """Input embeddings of a batch, with the latents of each row, ``[n, D]``, in its slots."""
    embeds = net.embed(batch)
    if not batch.latent_BT.any():
        return embeds
    latents_ND = torch.cat(list(latents)).to(embeds.inputs_BTD)
    return embeds._replace(inputs_BTD=embeds.inputs_BTD.masked_scatter(batch.latent_BT.unsqueeze(-1), latents_ND))


@torch.no_grad()
def compress_helpers(net: LatentVLM, collate: Collator, samples: Sequence[Sample]) -> list[list[Tensor]]:
    """Compressed features ``[k, D]`` of each row's helper images, as stage 1 teaches them.

    Raises:
        ValueError: no row has one, or one is smaller than its block.
    """
    images, sizes = collate.helper_images(samples)
    blocks = iter(net.compress(images.to(net.backbone.device), [k for row in sizes for k in row]))
    return [[next(blocks) for _ in row] for row in sizes]


def mask_stray_tokens(collate: Collator, answer: Sequence[int]) -> list[int]:
    """Replace stray latent pads and image tokens by padding: a model may write them as words, outside a block."""
    slot, tokens = collate.latent_pad, list[int]()
    for token in answer:
        in_block = bool(tokens) and tokens[-1] in (collate.latent_start, slot)
        odd = token == collate.image_pad or (token == slot and not in_block)
        tokens.append(collate.pad if odd else token)
    return tokens


def count_latents(collate: Collator, answer: Sequence[int]) -> list[int]:
    """Count the latents of each block of an answer, in order."""
    tokens, sizes = mask_stray_tokens(collate, answer), list[int]()
    for before, token in zip([collate.pad, *tokens], tokens, strict=False):
        if token == collate.latent_pad:
            if before == collate.latent_pad:
                sizes[-1] += 1
            else:
                sizes.append(1)
    return sizes
