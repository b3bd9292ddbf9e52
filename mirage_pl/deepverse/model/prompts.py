"""What is said of a unit, as numbers: a learnt table of moves and turns, or the release's texts.

Shapes: B rows, n tokens, E numbers of a token, P of a summary.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_modules.worlds.walking import ACTIONS, MOVES, TURNS
from mirage_pl.deepverse.actions import EMPTY, SENTENCES

PROMPTS = (EMPTY, *SENTENCES.values())
"""All that may be said, by number: nothing, and the 27 sentences."""
NUMBERS = {code: number for number, code in enumerate(ACTIONS, 1)}
"""Code of an action -> its sentence's number."""
Text = tuple[Tensor, Tensor, Tensor]
"""Tokens, [B, n, E], which of them are real, [B, n], and the text's summary, [B, P]."""

CODES = ("", *ACTIONS)
"""The other way round; nothing is said by none."""
OTHER_TURN = {"N": "L", "L": "R", "R": "N"}


def turn_prompts(prompts: Tensor) -> Tensor:
    """The same moves with another turn: left in place of none, right in place of left, none in place of right."""
    others = [0, *(NUMBERS[code[:-1] + OTHER_TURN[code[-1]]] for code in ACTIONS)]
    return torch.tensor(others, device=prompts.device)[prompts]


class PromptTable(nn.Module):
    """A learnt text of two tokens, the move and the turn, so that what is learnt of one serves all that have it.

    Args:
        text_dim: E.
        pooled_dim: P, an even number.
    """

    parts_N2: Tensor

    def __init__(self, text_dim: int, pooled_dim: int) -> None:
        super().__init__()
        counts = len(MOVES) + 1, len(TURNS) + 1
        self.tokens = nn.ModuleList([nn.Embedding(count, text_dim) for count in counts])
        self.pooled = nn.ModuleList([nn.Embedding(count, pooled_dim // 2) for count in counts])
        moves, turns = ([*each] for each in (MOVES, TURNS))
        parts = [(0, 0), *((1 + moves.index(code[:-1]), 1 + turns.index(code[-1])) for code in ACTIONS)]
        self.register_buffer("parts_N2", torch.tensor(parts), persistent=False)

    def forward(self, prompts_B: Tensor) -> Text:
        """The texts of prompts, by number."""
        parts = self.parts_N2[prompts_B].unbind(1)
        tokens, pooled = (
            [table(part) for table, part in zip(each, parts, strict=True)] for each in (self.tokens, self.pooled)
        )
        tokens_B2E = torch.stack(tokens, 1)
        return tokens_B2E, torch.ones_like(tokens_B2E[..., 0], dtype=torch.bool), torch.cat(pooled, 1)


class ReleasedPrompts(nn.Module):
    """The release's texts, as CLIP and T5 read them, out of its file: sentence -> embeddings.

    Args:
        file: with ``prompt_embeds``, ``prompt_attention_mask`` and ``pooled_prompt_embeds`` of each sentence.

    Raises:
        ValueError: it can't be read, or lacks a sentence.
    """

    tokens_NnE: Tensor
    valid_Nn: Tensor
    pooled_NP: Tensor

    def __init__(self, file: str) -> None:
        super().__init__()
        texts = read_texts(Path(file))
        for name, key in (
            ("tokens_NnE", "prompt_embeds"),
            ("valid_Nn", "prompt_attention_mask"),
            ("pooled_NP", "pooled_prompt_embeds"),
        ):
            rows = torch.cat([texts[prompt][key] for prompt in PROMPTS])
            self.register_buffer(name, rows.bool() if name == "valid_Nn" else rows.float(), persistent=False)

    def forward(self, prompts_B: Tensor) -> Text:
        """The texts of prompts, by number."""
        return self.tokens_NnE[prompts_B], self.valid_Nn[prompts_B], self.pooled_NP[prompts_B]


def read_texts(file: Path) -> dict[str, Any]:
    """Read the release's texts.

    Raises:
        ValueError: it can't be read, or lacks a sentence.
    """
    try:
        texts: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        missing = [prompt for prompt in PROMPTS if prompt not in texts]
    except Exception as error:
        raise ValueError(f"model.prompts.file={file} can't be read as texts ({type(error).__name__})") from None
    if missing:
        raise ValueError(f"model.prompts.file={file} lacks {missing[0]!r} and {len(missing) - 1} more sentences")
    return texts
