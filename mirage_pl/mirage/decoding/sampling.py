"""Choose the next token: greedily, or at random from a stream of numbers that depends on the row alone.

Shapes: B rows, b of them that draw alike, V vocabulary, S columns to decode.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from data_modules.samples import Sample
from mirage_pl.engine.training.draws import row_stream


@dataclass(frozen=True)
class Decoding:
    """Options of decoding: the keys of ``decoding`` in a config.

    Attributes:
        max_new_tokens: most columns to decode, latents included.
        temperature: 0 is greedy; the official evaluation samples at 0.7 with ``top_p`` 0.9.
        top_p: draw from the fewest tokens whose probabilities sum to this.
        top_k: draw from this many of the likeliest tokens; 0: from all.
        seed: of the draws, which depend only on it and on the row's file and line, never on the batch.
        stop: an answer ends before the first of these strings.

    Raises:
        ValueError: a value out of its range.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    stop: Sequence[str] = ()

    def __post_init__(self) -> None:
        rules = {
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "temperature": (self.temperature >= 0, "0 (greedy) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (all) or more"),
            "stop": (not isinstance(self.stop, str) and all(self.stop), "a list of strings, none of them empty"),
        }
        for name, (holds, expected) in rules.items():
            if not holds:
                raise ValueError(f"decoding.{name}={getattr(self, name)} must be {expected}")

    def cut(self, text: str) -> str:
        """Cut a text before its first stop string."""
        return text[: min((place for stop in self.stop if (place := text.find(stop)) >= 0), default=len(text))]


class Choice:
    """Choose the next token of every row.

    Args:
        decoding: the options, or those of each row.
        samples: one per row, or none where all is greedy; a repeated one has another stream, unless rows have options
            of their own.
        device: of the logits.
    """

    def __init__(
        self, decoding: Decoding | Sequence[Decoding], samples: Sequence[Sample], device: torch.device
    ) -> None:
        each = spread(decoding, len(samples))
        draws: Counter[str] = Counter()
        kinds: dict[Warping, list[int]] = {}
        most = max((options.max_new_tokens for options in each), default=0)
        self.random_BS = torch.zeros(len(samples), most, dtype=torch.float64)
        for number, (options, sample) in enumerate(zip(each, samples, strict=True)):
            if options.temperature == 0:
                continue
            name = Path(sample.where).name
            stream = row_stream(options.seed, name, draws[name])
            random_S = torch.rand(options.max_new_tokens, generator=stream, dtype=torch.float64)
            self.random_BS[number, : len(random_S)] = random_S
            draws[name] += isinstance(decoding, Decoding)
            kinds.setdefault((float(options.temperature), options.top_k, float(options.top_p)), []).append(number)
        self.random_BS = self.random_BS.to(device)
        self.sampled = [(torch.tensor(rows, device=device), warpers(*kind)) for kind, rows in kinds.items()]

    def __call__(self, logits_BV: Tensor, count_B: Tensor) -> Tensor:
        """Choose token ids ``[B]``; ``count_B`` is the number of columns that each row has written."""
        chosen_B = logits_BV.argmax(-1)
        for rows_b, warp in self.sampled:
            logits_bV = logits_BV[rows_b].float()
            for warper in warp:
                logits_bV = warper(None, logits_bV)
            shares_bV = logits_bV.double().softmax(-1).cumsum(-1)
            column_b1 = count_B[rows_b].clamp(max=self.random_BS.shape[1] - 1).unsqueeze(1)
            random_b1 = self.random_BS[rows_b].gather(1, column_b1) * shares_bV[:, -1:]
            chosen_B[rows_b] = torch.searchsorted(shares_bV, random_b1, right=True).squeeze(1)
        return chosen_B

    def feed(self, states_BD: Tensor, text_B: Tensor, latent_B: Tensor, count_B: Tensor) -> Tensor:
        """Return the latents ``[B, D]`` of the rows that write one in the next column: here the states themselves.

        Args:
            states_BD: what is fed back.
            text_B: rows whose chosen token counts.
            latent_B: rows whose latent counts.
            count_B: columns that each row has written.
        """
        return states_BD


Warping = tuple[float, int, float]
"""Temperature, ``top_k``, ``top_p``."""


def spread(decoding: Decoding | Sequence[Decoding], count: int) -> list[Decoding]:
    """The options of each row."""
    return [decoding] * count if isinstance(decoding, Decoding) else list(decoding)


def warpers(temperature: float, top_k: int, top_p: float) -> list[Any]:
    """What makes the probabilities that are drawn from, of logits."""
    chosen: list[Any] = [TemperatureLogitsWarper(temperature)]
    if top_k:
        chosen.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        chosen.append(TopPLogitsWarper(top_p))
    return chosen
