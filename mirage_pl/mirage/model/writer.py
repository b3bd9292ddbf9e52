"""A writer: it alone decides how latents are written, so whatever reads them can stay as it is. Not in the paper.

Shapes: D width, H width of the writer, ... any leading dimensions.
"""

from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from mirage_pl.mirage.model.feedback import Matched


class Correction(nn.Module):
    """What is added to a hidden state h that is fed back: ``W2 gelu(W1 h)``, 0 at first.

    Weights begin alike in all runs: ZeRO-3 parts weights as they are made, and draws other numbers before. They are in
    float32 or better, as small steps would be lost in bfloat16.

    Args:
        width: D.
        size: H.
        like: a weight, on whose device they are.
    """

    def __init__(self, width: int, size: int, like: Tensor) -> None:
        super().__init__()
        options: dict[str, Any] = {"device": like.device, "dtype": torch.promote_types(like.dtype, torch.float32)}
        start_HD = torch.randn(size, width, generator=torch.Generator().manual_seed(0)) / width**0.5
        self.down_HD = nn.Parameter(start_HD.to(**options))
        self.up_DH = nn.Parameter(torch.zeros(width, size, **options))

    def forward(self, hidden: Tensor) -> Tensor:
        """Return ``[..., D]``, of the type of the hidden states."""
        added = linear(gelu(linear(hidden.to(self.down_HD.dtype), self.down_HD)), self.up_DH)
        return added.to(hidden)


class Writer(Matched):
    """Feed back a hidden state and what a small network of it adds.

    It acts on what becomes a latent and on nothing else. So with all other weights frozen whatever reads latents, and
    all text before the first of them, stays bit by bit as it was. Lengths are scaled as in the run that it starts from:
    to ``norm`` after ``feedback=matched``, else not at all.

    Args:
        size: H.

    Attributes:
        correction: built by the network, which knows D.
    """

    correction: Correction

    def __init__(self, size: Annotated[int, Ge(1)]) -> None:
        super().__init__()
        self.size = size

    def build(self, width: int, like: Tensor) -> None:
        """Make the network, on the device of a weight, unless it is there."""
        if "correction" not in self._modules:
            self.correction = Correction(width, self.size, like)

    def observe(self, targets_ND: Tensor) -> None:
        """Leave ``norm`` as it is, as the reader is."""

    def compared(self, hidden: Tensor) -> Tensor:
        """Hidden states, corrected."""
        corrected: Tensor = hidden + self.correction(hidden)
        return corrected

    def forward(self, hidden: Tensor) -> Tensor:
        """Return hidden states, corrected and scaled."""
        return super().forward(self.compared(hidden))
