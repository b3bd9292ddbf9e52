"""Modules that the backbone doesn't have: what writes latents, and learnt words of them.

Shapes: B rows, T columns, D width.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.mirage.model.codes import Codes, Pads, Words
from mirage_pl.mirage.model.encoder import Encoder
from mirage_pl.mirage.model.feedback import Raw
from mirage_pl.mirage.model.recurrence import OnePass, Recurrence
from mirage_pl.mirage.model.writer import Writer


def build_added(parts: Iterable[Any], width: int, like: Tensor) -> None:
    """Make what these parts learn or keep, of the network's width and on the device of a weight."""
    for part in parts:
        if isinstance(part, OnePass | Codes | Pads | Writer | Encoder):
            part.build(width, like)


def list_added(recurrence: Recurrence, feedback: Raw, compression: Any) -> list[nn.Module]:
    """Queries, words of latents or what corrects hidden states, and what makes latents of features, if they learn."""
    added: list[nn.Module] = [recurrence.queries] if isinstance(recurrence, OnePass) else []
    if isinstance(compression, Encoder):
        added.append(compression.pool)
    if isinstance(feedback, Words | Pads):
        added.append(feedback.words)
    return [*added, feedback.correction] if isinstance(feedback, Writer) else added


def touch(added: Iterable[nn.Module], hidden_BTD: Tensor) -> Tensor:
    """Give modules that a pass doesn't use zero gradients: every rank must have some."""
    for part in added:
        given = hidden_BTD.new_zeros(1, hidden_BTD.shape[-1])
        if isinstance(part, nn.Embedding):
            given = torch.arange(part.num_embeddings, device=hidden_BTD.device)
        hidden_BTD = hidden_BTD + 0 * part(given).sum().to(hidden_BTD)
    return hidden_BTD
