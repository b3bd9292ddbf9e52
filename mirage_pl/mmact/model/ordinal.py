"""Ids that know what they stand for: bins their number, codes of pictures their bits.

Shapes: as in ``backbone``, F features.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mirage_pl.mmact.model.backbone import Backbone, Sizes
from mirage_pl.mmact.model.bins import Bins
from mirage_pl.mmact.model.images import write_signs
from mirage_pl.mmact.model.vocabulary import Span, Vocab

OCTAVES = 6
"""Sines and cosines of a value, each of half the period before it; the first has a period of 2."""


def list_features(values_N: Tensor) -> Tensor:
    """Features of values in [-1, 1], [N, F]: the value, sines and cosines."""
    angles_NK = values_N[:, None] * math.pi * 2.0 ** torch.arange(OCTAVES)
    return torch.cat((values_N[:, None], angles_NK.sin(), angles_NK.cos()), 1)


class Meaning(nn.Module):
    """What features of the ids of a span add where these are read, and where they are written.

    Args:
        span: the ids.
        features_VF: of each.
        width: of the transformer.
    """

    features_VF: Tensor

    def __init__(self, span: Span, features_VF: Tensor, width: int) -> None:
        super().__init__()
        self.span, features = span, features_VF.shape[1]
        self.register_buffer("features_VF", features_VF, persistent=False)
        self.read, self.write = nn.Linear(features, width, bias=False), nn.Linear(width, features, bias=False)
        nn.init.normal_(self.read.weight, std=features**-0.5)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """What is added to the vectors of ids, [B, L, D]; zeros where they are of another kind."""
        number_BL = ids_BL - self.span.first
        known_BL = (number_BL >= 0) & (number_BL < self.span.size)
        added_BLD: Tensor = self.read(self.features_VF[number_BL.clamp(0, self.span.size - 1)].to(self.read.weight))
        return added_BLD * known_BL[..., None]

    def meets(self, span: Span) -> bool:
        """Whether a span has some of these ids."""
        return span.first < self.span.stop and self.span.first < span.stop

    def raise_logits(self, logits_NV: Tensor, hidden_ND: Tensor, span: Span) -> Tensor:
        """Logits over a span with what is added to those of these ids."""
        if not self.meets(span):
            return logits_NV
        low, high = max(span.first, self.span.first), min(span.stop, self.span.stop)
        features_VF = self.features_VF[low - self.span.first : high - self.span.first]
        more_NV = self.write(hidden_ND) @ features_VF.T.to(logits_NV)
        return logits_NV + nn.functional.pad(more_NV, (low - span.first, span.stop - high))


class OrdinalBackbone(Backbone):
    """A backbone whose bins and codes have features beside their rows, in the embedding and in the head.

    Args:
        sizes: of it.
        vocab: its bins and codes.
        checkpointing: see :class:`Backbone`.
    """

    def __init__(self, sizes: Sizes, vocab: Vocab, checkpointing: bool) -> None:
        super().__init__(sizes, vocab.size, checkpointing)
        numbers_VF = list_features(Bins(vocab.bins.size).centres)
        signs_VF = write_signs(torch.arange(vocab.images.size), (vocab.images.size - 1).bit_length())
        self.bins, self.codes = (
            Meaning(span, features_VF, sizes.width)
            for span, features_VF in ((vocab.bins, numbers_VF), (vocab.images, signs_VF))
        )
        with torch.no_grad():  # rows begin small, so that features lead
            for meaning in self.meanings:
                self.transformer.ff_out.weight[meaning.span.rows] *= 0.1

    @property
    def meanings(self) -> Sequence[Meaning]:
        """Of bins and of codes."""
        return self.bins, self.codes

    def embed(self, ids_BL: Tensor) -> Tensor:
        """Vectors of ids; those of bins and codes have what their features add."""
        vectors_BLD = super().embed(ids_BL)
        for meaning in self.meanings:
            vectors_BLD = vectors_BLD + meaning(ids_BL)
        return vectors_BLD

    def spare(self, spans: Sequence[Span]) -> None:
        """Features are written where their ids are asked for."""
        for meaning in self.meanings:
            meaning.write.requires_grad_(any(meaning.meets(span) for span in spans))

    def project(self, hidden_BLD: Tensor, places_BL: Tensor, span: Span) -> Tensor:
        """Logits of some places over a span; those of bins and codes have their features' part added."""
        logits_NV, hidden_ND = super().project(hidden_BLD, places_BL, span), hidden_BLD[places_BL]
        for meaning in self.meanings:
            logits_NV = meaning.raise_logits(logits_NV, hidden_ND, span)
        return logits_NV
