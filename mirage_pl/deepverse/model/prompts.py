"""What is said of a unit, as numbers: a learnt table of moves and turns, or of words; or texts of CLIP and T5.

Shapes: B rows, n tokens, E numbers of a token, P of a summary.
"""

from collections.abc import Sequence
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


class WordTable(nn.Module):
    """A learnt text of an instruction and a robot's name, of a token for each word.

    Args:
        sentences: instructions, by number from 1 on; of 0 nothing is said.
        robot: what acts.
        text_dim: E.
        pooled_dim: P.
    """

    words_Nn: Tensor

    def __init__(self, sentences: Sequence[str], robot: str, text_dim: int, pooled_dim: int) -> None:
        super().__init__()
        texts = [[EMPTY], *(write_prompt(sentence, robot).split() for sentence in sentences)]
        numbers = {word: number for number, word in enumerate(sorted({word for text in texts for word in text}))}
        longest = max(map(len, texts))
        rows = [[numbers[word] for word in text] + [-1] * (longest - len(text)) for text in texts]
        self.register_buffer("words_Nn", torch.tensor(rows), persistent=False)
        self.tokens, self.pooled = nn.Embedding(len(numbers), text_dim), nn.Embedding(len(numbers), pooled_dim)
        self.places = nn.Embedding(longest, text_dim)

    def forward(self, prompts_B: Tensor) -> Text:
        """The texts of prompts, by number; a summary is the sum of its words, divided by the root of their number."""
        words_Bn = self.words_Nn[prompts_B]
        valid_Bn = words_Bn >= 0
        known_Bn = words_Bn.clamp(min=0)
        tokens_BnE = self.tokens(known_Bn) + self.places.weight
        pooled_BP = (self.pooled(known_Bn) * valid_Bn[..., None]).sum(1) / valid_Bn.sum(1, keepdim=True).sqrt()
        return tokens_BnE, valid_Bn, pooled_BP


class ReleasedPrompts(nn.Module):
    """The release's texts, as CLIP and T5 read them, out of its file: sentence -> embeddings.

    Args:
        file: with ``prompt_embeds``, ``prompt_attention_mask`` and ``pooled_prompt_embeds`` of each sentence, and of
            ``empty``, where nothing is said.
        text_dim: E.
        pooled_dim: P.
        sentences: instructions, by number from 1 on, which stand in the file in small letters, followed by the robot's
            name; ``None``: the sentences of actions.
        robot: what acts.

    Raises:
        ValueError: it can't be read, lacks a sentence, or has texts of other sizes.
    """

    tokens_NnE: Tensor
    valid_Nn: Tensor
    pooled_NP: Tensor

    def __init__(
        self, file: str, text_dim: int, pooled_dim: int, sentences: Sequence[str] | None = None, robot: str = ""
    ) -> None:
        super().__init__()
        prompts = PROMPTS if sentences is None else (EMPTY, *(write_prompt(each, robot) for each in sentences))
        texts = read_texts(Path(file), prompts)
        for name, key in (
            ("tokens_NnE", "prompt_embeds"),
            ("valid_Nn", "prompt_attention_mask"),
            ("pooled_NP", "pooled_prompt_embeds"),
        ):
            rows = torch.cat([texts[prompt][key] for prompt in prompts])
            self.register_buffer(name, rows.bool() if name == "valid_Nn" else rows.float(), persistent=False)
        if (sizes := (self.tokens_NnE.shape[2], self.pooled_NP.shape[1])) != (text_dim, pooled_dim):
            raise ValueError(
                f"{file} has tokens of {sizes[0]} numbers and summaries of {sizes[1]}, but model.transformer.text_dim="
                f"{text_dim} and pooled_dim={pooled_dim}; set them to these"
            )

    def forward(self, prompts_B: Tensor) -> Text:
        """The texts of prompts, by number."""
        return self.tokens_NnE[prompts_B], self.valid_Nn[prompts_B], self.pooled_NP[prompts_B]


def write_prompt(instruction: str, robot: str) -> str:
    """What is said of an instruction: as the release has it in training, in small letters, and the robot's name."""
    return f"{instruction.lower()} {robot}".strip()


def read_texts(file: Path, prompts: Sequence[str]) -> dict[str, Any]:
    """Read the release's texts.

    Raises:
        ValueError: it can't be read, or lacks a sentence.
    """
    try:
        texts: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        missing = [prompt for prompt in prompts if prompt not in texts]
    except Exception as error:
        raise ValueError(f"{file} can't be read as texts ({type(error).__name__})") from None
    if missing:
        raise ValueError(f"{file} lacks {missing[0]!r} and {len(missing) - 1} more sentences")
    return texts
