"""Greedy decoding in batches: every row is a machine with two states, text and latent.

In the latent state the hidden state is fed back as the next input embedding; after k latents the row goes back to
text with ``<|latent_end|>``. Rows change state by themselves, any number of times.

Shapes: B rows, T columns, D width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from transformers import DynamicCache

from mirage_pl.mirage.batch import LATENT_TOKENS, Batch
from mirage_pl.mirage.latents import LatentVLM, visible


@dataclass(frozen=True)
class Step:
    """One decoded column: the token of each row, where it is a latent, and the latents themselves."""

    tokens_B: Tensor
    latent_B: Tensor
    alive_B: Tensor
    hidden_BD: Tensor


@dataclass(frozen=True)
class Generation:
    """Answers to a batch of prompts.

    Attributes:
        texts: answers without special tokens.
        tokens: generated ids, latent slots included, the end token excluded.
        latents: each row's recycled hidden states ``[n, D]``.
        finished: false where the answer was cut at ``max_new_tokens``.
    """

    texts: list[str]
    tokens: list[list[int]]
    latents: list[Tensor]
    finished: list[bool]

    def describe(self, row: int) -> dict[str, Any]:
        """What a predictions file says of one answer."""
        return {"text": self.texts[row], "latents": len(self.latents[row]), "finished": self.finished[row]}


class Decoder:
    """Answer prompts greedily.

    Args:
        processor: for its tokenizer.
        latent_size: latents a block.
    """

    def __init__(self, processor: Any, latent_size: int) -> None:
        self.tokenizer, self.latent_size = processor.tokenizer, latent_size
        self.latent_pad, self.latent_start, self.latent_end = self.tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))
        self.end, self.pad = self.tokenizer.convert_tokens_to_ids("<|im_end|>"), self.tokenizer.pad_token_id

    @torch.no_grad()
    def steps(self, net: LatentVLM, prompts: Batch, max_new_tokens: int) -> Iterator[Step]:
        """Decode column by column until every row has ended or ``max_new_tokens`` columns are written."""
        real_BT, positions_3BT, cache = prompts.real_BT, net.positions(prompts), DynamicCache()
        hidden_BD = net.run(net.embed(prompts), positions_3BT, visible(real_BT), cache)[:, -1]
        position_B = positions_3BT.amax((0, 2)) + 1
        left_B = torch.full_like(position_B, -1)  # latents still to come; 0: leave the block now; -1: text
        alive_B = torch.ones_like(position_B, dtype=torch.bool)
        for _ in range(max_new_tokens):
            latent_B = left_B > 0
            tokens_B = net.logits(hidden_BD).argmax(-1)
            tokens_B = torch.where(left_B == 0, self.latent_end, tokens_B)
            tokens_B = torch.where(latent_B, self.latent_pad, tokens_B)
            left_B = torch.where(left_B >= 0, left_B - 1, left_B)
            left_B = torch.where(~latent_B & (tokens_B == self.latent_start), self.latent_size, left_B)
            alive_B = alive_B & (tokens_B != self.end)
            yield Step(torch.where(alive_B, tokens_B, self.pad), latent_B & alive_B, alive_B, hidden_BD)
            if not alive_B.any():
                return
            embeds_BD = torch.where(latent_B.unsqueeze(1), hidden_BD, net.embed_tokens(tokens_B))
            real_BT = torch.cat([real_BT, torch.ones_like(alive_B).unsqueeze(1)], dim=1)
            positions_3B1 = position_B.view(1, -1, 1).expand(3, -1, 1)
            hidden_BD = net.run(embeds_BD.unsqueeze(1), positions_3B1, real_BT.unsqueeze(1), cache)[:, -1]
            position_B = position_B + 1

    def __call__(self, net: LatentVLM, prompts: Batch, max_new_tokens: int) -> Generation:
        """Answer all prompts."""
        steps = list(self.steps(net, prompts, max_new_tokens))
        tokens: list[list[int]] = []
        latents: list[Tensor] = []
        for row in range(len(prompts)):
            written = [step for step in steps if step.alive_B[row]]
            tokens.append([int(step.tokens_B[row]) for step in written])
            states = [step.hidden_BD[row] for step in written if step.latent_B[row]]
            latents.append(torch.stack(states) if states else steps[0].hidden_BD[:0])
        texts = [self.tokenizer.decode(row, skip_special_tokens=True) for row in tokens]
        return Generation(texts, tokens, latents, [not bool(alive) for alive in steps[-1].alive_B])

    def stream(self, net: LatentVLM, prompts: Batch, max_new_tokens: int) -> Iterator[str]:
        """Answer the first prompt piece by piece, then describe its latents, a line each."""
        tokens: list[int] = []
        states: list[Tensor] = []
        printed = ""
        for step in self.steps(net, prompts, max_new_tokens):
            if not step.alive_B[0]:
                break
            if step.latent_B[0]:
                states.append(step.hidden_BD[0])
                yield f"[latent {len(states)}]"
            tokens.append(int(step.tokens_B[0]))
            text = self.tokenizer.decode(tokens, skip_special_tokens=True)
            yield text[len(printed) :]
            printed = text
        yield "\n"
        for number, state in enumerate(states):
            yield f"latent {number + 1}: {self.describe_latent(net, state, states[number - 1] if number else None)}\n"

    def describe_latent(self, net: LatentVLM, state_D: Tensor, before_D: Tensor | None) -> str:
        """Say a latent's norm, its cosine to the one before, and the words its hidden state is nearest to."""
        shares, ids = net.logits(state_D.unsqueeze(0)).squeeze(0).float().softmax(-1).topk(3)
        pairs = zip(ids.tolist(), shares.tolist(), strict=True)
        words = ", ".join(f"{self.tokenizer.decode([token])!r} {share:.0%}" for token, share in pairs)
        cosine = (
            "" if before_D is None else f", cosine to the one before {cosine_similarity(before_D, state_D, dim=0):.2f}"
        )
        return f"norm {state_D.norm():.2f}{cosine}; read as words: {words}"
