"""Quantizers: vectors -> codes -> vectors. Shapes: M pictures, N vectors of each, C channels, K codes."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MISSING = "{} needs vector-quantize-pytorch; pip install 'mirage_pl[ivideogpt]'"


class Quantized(NamedTuple):
    """What a quantizer makes of vectors.

    Attributes:
        ids_MN: codes, 0 and on.
        vectors_MNC: of the codes; their gradient is passed straight through.
        loss: what draws vectors and codes together; 0 where there is nothing to draw.
    """

    ids_MN: Tensor
    vectors_MNC: Tensor
    loss: Tensor


class Quantizer(Protocol):
    """A module that quantizes."""

    num_codes: int

    @property
    def scalars_KD(self) -> Tensor | None:
        """The numbers of which a code is made, [K, D], the same whatever was trained; ``None``: there are none."""

    def __call__(self, vectors_MNC: Tensor) -> Quantized:
        """Quantize vectors."""

    def look_up(self, ids_MN: Tensor) -> Tensor:
        """Return the vectors of codes."""


class VQ(nn.Module):
    """The nearest of learnt vectors, trained by gradients alone; the loss is that of the published training.

    Args:
        channels: of a vector.
        num_codes: K.
        commitment: weight of the part of the loss that draws vectors to codes.
    """

    def __init__(self, channels: int, num_codes: int, commitment: float = 1.0) -> None:
        super().__init__()
        self.num_codes, self.commitment = num_codes, commitment
        self.embedding = nn.Embedding(num_codes, channels)
        nn.init.uniform_(self.embedding.weight, -1 / num_codes, 1 / num_codes)

    @property
    def scalars_KD(self) -> Tensor | None:
        """None: all of a code is learnt."""
        return None

    def forward(self, vectors_MNC: Tensor) -> Quantized:
        """Quantize vectors."""
        book_KC = self.embedding.weight
        products_MNK = vectors_MNC @ book_KC.T
        ids_MN = (book_KC.square().sum(1) - 2 * products_MNK).argmin(-1)  # the vector's own square moves no minimum
        codes_MNC = self.embedding(ids_MN)
        loss = self.commitment * F.mse_loss(vectors_MNC, codes_MNC.detach())
        loss = loss + F.mse_loss(codes_MNC, vectors_MNC.detach())
        return Quantized(ids_MN, vectors_MNC + (codes_MNC - vectors_MNC).detach(), loss)

    def look_up(self, ids_MN: Tensor) -> Tensor:
        """Return the vectors of codes."""
        vectors_MNC: Tensor = self.embedding(ids_MN)
        return vectors_MNC


class FiniteScalar(nn.Module):
    """Each of a few channels rounded to a few levels (FSQ, arXiv 2309.15505); no book and no loss.

    Args:
        channels: of a vector; if they aren't one for each entry of ``levels``, it is normalized, projected to these,
            and its code projected back.
        levels: of each channel; the number of codes is their product.

    Raises:
        ValueError: vector-quantize-pytorch isn't installed.
    """

    def __init__(self, channels: int, levels: Sequence[int]) -> None:
        super().__init__()
        try:
            from vector_quantize_pytorch import FSQ
        except ImportError:
            raise ValueError(MISSING.format("FSQ")) from None
        self.levels = list(levels)
        self.scalars = FSQ(self.levels, dim=channels)
        self.norm = spread_out(self.scalars, channels) if channels != len(levels) else nn.Identity()
        self.num_codes = int(self.scalars.codebook_size)

    @property
    def scalars_KD(self) -> Tensor | None:
        """The level of each channel, from -1 to 1."""
        levels_KD: Tensor = self.scalars.implicit_codebook
        return levels_KD

    def forward(self, vectors_MNC: Tensor) -> Quantized:
        """Quantize vectors."""
        codes_MNC, ids_MN = self.scalars(self.norm(vectors_MNC))
        return Quantized(ids_MN.long(), codes_MNC, torch.zeros((), device=codes_MNC.device))

    def look_up(self, ids_MN: Tensor) -> Tensor:
        """Return the vectors of codes."""
        weights = [*self.scalars.project_out.parameters()]
        codes = self.scalars.implicit_codebook[ids_MN]
        vectors_MNC: Tensor = self.scalars.project_out(codes.to(weights[0].dtype) if weights else codes)
        return vectors_MNC


class LookupFree(nn.Module):
    """The sign of each of a few channels (LFQ, arXiv 2310.05737); no book. The first channel is the highest bit of ids.

    The loss is there in training alone: the entropy of each vector's codes less that of all codes of the batch, which
    therefore isn't the mean of its clips', and what draws vectors to their corners.

    Args:
        channels: of a vector; if they aren't ``bits``, it is normalized, projected to these, and its code back.
        bits: 2^bits codes.
        entropy: weight of the entropies.
        commitment: weight of what draws vectors to corners.

    Raises:
        ValueError: no bit, or vector-quantize-pytorch isn't installed.
    """

    def __init__(self, channels: int, bits: int, entropy: float, commitment: float) -> None:
        super().__init__()
        try:
            from vector_quantize_pytorch import LFQ
        except ImportError:
            raise ValueError(MISSING.format("LFQ")) from None
        if bits < 1:
            raise ValueError(f"bits={bits} of LFQ must be 1 or more")
        self.bits, self.num_codes = bits, 2**bits
        weights = {"entropy_loss_weight": entropy, "commitment_loss_weight": commitment}
        self.signs = LFQ(dim=channels, codebook_size=self.num_codes, **weights)
        self.norm = spread_out(self.signs, channels) if channels != bits else nn.Identity()

    @property
    def scalars_KD(self) -> Tensor | None:
        """The sign of each channel."""
        places_D = torch.arange(self.bits - 1, -1, -1)
        return ((torch.arange(self.num_codes)[:, None] >> places_D) & 1) * 2.0 - 1

    def forward(self, vectors_MNC: Tensor) -> Quantized:
        """Quantize vectors."""
        codes_MNC, ids_MN, loss = self.signs(self.norm(vectors_MNC))
        return Quantized(ids_MN.long(), codes_MNC, loss)

    def look_up(self, ids_MN: Tensor) -> Tensor:
        """Return the vectors of codes."""
        vectors_MNC: Tensor = self.signs.indices_to_codes(ids_MN.flatten()[None])[0]
        return vectors_MNC.unflatten(0, ids_MN.shape)


def spread_out(projecting: nn.Module, channels: int) -> nn.Module:
    """Let an untrained projection use all codes, for torch's own weights would use the middle ones; return its norm."""
    weights: Any = projecting.project_in
    nn.init.normal_(weights.weight, std=channels**-0.5)
    nn.init.zeros_(weights.bias)
    return nn.LayerNorm(channels)


def count_used(ids: Tensor, num_codes: int) -> Tensor:
    """Perplexity of codes: how many would be used, were all used equally."""
    shares_K = torch.bincount(ids.flatten(), minlength=num_codes) / max(1, ids.numel())
    return torch.special.entr(shares_K).sum().exp()
