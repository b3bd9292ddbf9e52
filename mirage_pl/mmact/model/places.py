"""Learnt vectors of places: which number of a state, code of an image or word an id is. Shapes: as in ``backbone``."""

import torch
from torch import Tensor, nn

from mirage_pl.mmact.model.vocabulary import CONTROLS, Vocab

KINDS = [name for name in CONTROLS if name != "mask"]
"""Control tokens behind which places are counted; masks stand for what is counted."""


class Places(nn.Module):
    """A vector for each place behind each control token.

    Args:
        vocab: its control tokens.
        count: places behind one that have a vector.
        width: of a vector.
    """

    kinds_V: Tensor

    def __init__(self, vocab: Vocab, count: int, width: int) -> None:
        super().__init__()
        if count < 1:
            raise ValueError(f"model.places={count} must be 1 or more, or null for none")
        self.count = count
        self.register_buffer("kinds_V", torch.full((vocab.size,), -1), persistent=False)
        for kind, name in enumerate(KINDS):
            self.kinds_V[vocab[name]] = kind
        self.table = nn.Embedding(len(KINDS) * count, width)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Vectors of ids, [B, L, D]: zeros for control tokens, and for ids too far behind one, or behind none."""
        kinds_BL, at_L = self.kinds_V[ids_BL], torch.arange(ids_BL.shape[1], device=ids_BL.device)
        begins_BL = torch.where(kinds_BL >= 0, at_L, -1).cummax(1).values
        behind_BL = at_L - begins_BL - 1
        known_BL = (begins_BL >= 0) & (behind_BL >= 0) & (behind_BL < self.count)
        rows_BL = kinds_BL.gather(1, begins_BL.clamp(min=0)) * self.count + behind_BL
        vectors_BLD: Tensor = self.table(rows_BL.where(known_BL, 0)) * known_BL[..., None]
        return vectors_BLD
