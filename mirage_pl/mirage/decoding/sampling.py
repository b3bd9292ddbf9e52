"""Choose the next token: greedily, or at random from a stream of numbers that depends on the row alone.

Shapes: B rows, V vocabulary, S columns to decode.
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

    def safe(self, text: str) -> str:
        """Cut an unfinished text before anything that may become a stop string."""
        starts = (place for place in range(len(text)) for stop in self.stop if stop.startswith(text[place:]))
        return self.cut(text)[: min(starts, default=len(text))]


class Choice:
    """Choose the next token of every row.

    Args:
        decoding: the options.
        samples: one per row; a repeated sample gets another stream.
        device: of the logits.
    """

    def __init__(self, decoding: Decoding, samples: Sequence[Sample], device: torch.device) -> None:
        self.greedy = decoding.temperature == 0
        self.warpers: list[Any] = []
        if self.greedy:
            return
        self.warpers.append(TemperatureLogitsWarper(float(decoding.temperature)))
        if decoding.top_k:
            self.warpers.append(TopKLogitsWarper(decoding.top_k))
        if decoding.top_p < 1:
            self.warpers.append(TopPLogitsWarper(float(decoding.top_p)))
        draws: Counter[str] = Counter()
        rows = []
        for name in (Path(sample.where).name for sample in samples):
            stream = row_stream(decoding.seed, name, draws[name])
            rows.append(torch.rand(decoding.max_new_tokens, generator=stream, dtype=torch.float64))
            draws[name] += 1
        self.random_BS = torch.stack(rows).to(device)

    def __call__(self, logits_BV: Tensor, count_B: Tensor) -> Tensor:
        """Choose token ids ``[B]``; ``count_B`` is the number of columns that each row has written."""
        if self.greedy:
            return logits_BV.argmax(-1)
        for warper in self.warpers:
            logits_BV = warper(None, logits_BV.float())
        shares_BV = logits_BV.double().softmax(-1).cumsum(-1)
        column_B1 = count_B.clamp(max=self.random_BS.shape[1] - 1).unsqueeze(1)
        random_B1 = self.random_BS.gather(1, column_B1) * shares_BV[:, -1:]
        return torch.searchsorted(shares_BV, random_B1, right=True).squeeze(1)
