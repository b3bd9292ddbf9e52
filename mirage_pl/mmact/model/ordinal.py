"""Bins that know their order: a bin's vector says which number it stands for. Shapes: ``backbone``, F features."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mirage_pl.mmact.model.backbone import Backbone, Sizes
from mirage_pl.mmact.model.bins import Bins
from mirage_pl.mmact.model.vocabulary import Span, Vocab

OCTAVES = 6
"""Sines and cosines of a value, each of half the period before it; the first has a period of 2."""


def list_features(values_N: Tensor) -> Tensor:
    """Features of values in [-1, 1], [N, F]: the value, sines and cosines."""
    angles_NK = values_N[:, None] * math.pi * 2.0 ** torch.arange(OCTAVES)
    return torch.cat((values_N[:, None], angles_NK.sin(), angles_NK.cos()), 1)


class OrdinalBackbone(Backbone):
    """A backbone whose bins have features of their values beside their rows, in the embedding and in the head.

    Args:
        sizes: of it.
        vocab: its bins.
        checkpointing: see :class:`Backbone`.
    """

    features_VF: Tensor

    def __init__(self, sizes: Sizes, vocab: Vocab, checkpointing: bool) -> None:
        super().__init__(sizes, vocab.size, checkpointing)
        self.bins = vocab.bins
        features_VF = list_features(Bins(vocab.bins.size).centres)
        self.register_buffer("features_VF", features_VF, persistent=False)
        self.read = nn.Linear(features_VF.shape[1], sizes.width, bias=False)
        self.write = nn.Linear(sizes.width, features_VF.shape[1], bias=False)
        nn.init.normal_(self.read.weight, std=features_VF.shape[1] ** -0.5)
        with torch.no_grad():  # the rows of bins begin small, so that features lead
            self.transformer.ff_out.weight[vocab.bins.rows] *= 0.1

    def embed(self, ids_BL: Tensor) -> Tensor:
        """Vectors of ids; a bin's has its features added."""
        number_BL = ids_BL - self.bins.first
        known_BL = (number_BL >= 0) & (number_BL < self.bins.size)
        added_BLD = self.read(self.features_VF[number_BL.clamp(0, self.bins.size - 1)].to(self.read.weight))
        return super().embed(ids_BL) + added_BLD * known_BL[..., None]

    def spare(self, spans: Sequence[Span]) -> None:
        """Bins' features are written where bins are asked for."""
        self.write.requires_grad_(any(span.first < self.bins.stop and self.bins.first < span.stop for span in spans))

    def project(self, hidden_BLD: Tensor, places_BL: Tensor, span: Span) -> Tensor:
        """Logits of some places over a span; those of bins have their features' part added."""
        logits_NV = super().project(hidden_BLD, places_BL, span)
        low, high = max(span.first, self.bins.first), min(span.stop, self.bins.stop)
        if low >= high:
            return logits_NV
        features_VF = self.features_VF[low - self.bins.first : high - self.bins.first]
        more_NV = self.write(hidden_BLD[places_BL]) @ features_VF.T.to(logits_NV)
        return logits_NV + nn.functional.pad(more_NV, (low - span.first, span.stop - high))
