"""Latents that are one of a few: which of them a hidden state says, and what is read then. Not in the paper.

Shapes: N latents of the whole batch, D width, C codes.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Lt
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, normalize

from mirage_pl.mirage.model.feedback import Raw


class Codes(Raw, ABC):
    """Codes that are learnt from the latents that stage 1 teaches: means of those nearest to each, moving ones.

    What is read is then always one of a few vectors, so errors don't grow from block to block. Its gradient goes to the
    hidden state (straight through). Before the first latent is observed, hidden states are fed back unchanged.

    Args:
        codes: how many.
        memory: weight of the old value in a code's moving mean, per batch.

    Attributes:
        codes_CD: part of the checkpoint, as ``counts_C``, the moving number of latents a batch nearest to each; a code
            with 0 isn't used yet.
    """

    codes_CD: Tensor
    counts_C: Tensor

    def __init__(self, codes: Annotated[int, Ge(2)], memory: Annotated[float, Ge(0), Lt(1)]) -> None:
        super().__init__()
        self.codes, self.memory = codes, memory

    def build(self, width: int, like: Tensor) -> None:
        """Make the codes, on the device of a weight, unless they are there; they stay in float32."""
        if "codes_CD" not in self._buffers:
            self.register_buffer("codes_CD", torch.zeros(self.codes, width, device=like.device))
            self.register_buffer("counts_C", torch.zeros(self.codes, device=like.device))

    @torch.no_grad()
    def observe(self, targets_ND: Tensor) -> None:
        """Move codes to the latents nearest to them, in training only; an unused code takes the farthest latent."""
        if not self.training or not len(targets_ND):
            return
        targets_ND = targets_ND.to(self.codes_CD)
        used_C = self.used_C
        distance_NC = torch.cdist(targets_ND, self.codes_CD).masked_fill(~used_C, torch.inf)
        least_N, nearest_N = distance_NC.min(1)
        if bool(used_C.any()):
            counts_C = nearest_N.bincount(minlength=self.codes).to(self.codes_CD)
            sums_CD = torch.zeros_like(self.codes_CD).index_add(0, nearest_N, targets_ND)
            share_C1 = ((1 - self.memory) * counts_C / self.moved(counts_C)).unsqueeze(1)
            means_CD = sums_CD / counts_C.clamp(min=1).unsqueeze(1)
            self.codes_CD.lerp_(means_CD, share_C1)
            self.counts_C.copy_(torch.where(used_C, self.moved(counts_C), 0.0))
        free = int(self.counts_C.argmin())
        farthest = int(least_N.argmax())
        if self.counts_C[free] < 1e-3 and least_N[farthest] > 1e-3 * targets_ND[farthest].norm():
            self.codes_CD[free], self.counts_C[free] = targets_ND[farthest], 1.0

    @property
    def used_C(self) -> Tensor:
        """Which codes are in use."""
        return self.counts_C > 0

    @property
    def mean_D(self) -> Tensor:
        """The mean of all codes, by how many latents are nearest to each."""
        return self.counts_C / self.counts_C.sum().clamp(min=1e-9) @ self.codes_CD

    def moved(self, counts_C: Tensor) -> Tensor:
        """The moving numbers of latents after a batch with these, above 0."""
        return (self.memory * self.counts_C + (1 - self.memory) * counts_C).clamp(min=1e-9)

    def find_codes(self, targets_ND: Tensor) -> Tensor:
        """The number of the code nearest to each latent that stage 1 teaches, ``[N]``."""
        distance_NC = torch.cdist(targets_ND.detach().to(self.codes_CD), self.codes_CD)
        return distance_NC.masked_fill(~self.used_C, torch.inf).argmin(1)

    def liken(self, hidden: Tensor) -> Tensor:
        """How much hidden states say each code, ``[…, C]``, in float32: minus infinity of those that aren't used."""
        return (hidden.to(self.codes_CD) @ self.heads_CD.T).masked_fill(~self.used_C, -torch.inf)

    def name(self, latent_D: Tensor) -> str:
        """The number of the code that a latent is, of how many are used; nothing before the first one is observed."""
        if not bool(self.used_C.any()):
            return ""
        distance_C = torch.cdist(latent_D.to(self.codes_CD)[None], self.read_CD.to(self.codes_CD))[0]
        return f"code {int(distance_C.masked_fill(~self.used_C, torch.inf).argmin())} of {int(self.used_C.sum())}"

    @property
    @abstractmethod
    def heads_CD(self) -> Tensor:
        """What hidden states are compared with: they say the code with the largest product."""

    @property
    @abstractmethod
    def read_CD(self) -> Tensor:
        """What is read of each code."""

    @abstractmethod
    def surprise(self, hidden_ND: Tensor, targets_ND: Tensor, temperature: float) -> Tensor:
        """How little hidden states say the codes of some latents, in nats, ``[N]``.

        Args:
            hidden_ND: hidden states that should become the latents.
            targets_ND: the latents, as :meth:`encode` returns them; constant.
            temperature: where products are cosines.
        """

    def forward(self, hidden: Tensor) -> Tensor:
        """Return what is read of the code that every hidden state says."""
        if not bool(self.used_C.any()):
            return hidden
        read = self.read_CD[self.liken(hidden).argmax(-1)].to(hidden)
        return read + (hidden - hidden.detach())


class Snapped(Codes):
    """Feed back the code that a hidden state says: that whose difference from the mean of all has its direction.

    The mean isn't taken off the hidden state: hidden states are shorter than features by far, so a difference from a
    mean of features would have the direction of that mean, whatever they say.

    Args:
        length: of what is read: codes and latents that are taught, less the mean of all codes. Features are hundreds of
            times longer than words, and in so long a vector a decoder's layers can note nothing, such as the place of a
            latent in its block. ``None``: they are read as they are.
        options: for :class:`Codes`.
    """

    def __init__(self, length: Annotated[float, Gt(0)] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.length = length

    @property
    def heads_CD(self) -> Tensor:
        """Directions of the codes from their mean."""
        return normalize(self.codes_CD - self.mean_D, dim=-1)

    @property
    def read_CD(self) -> Tensor:
        """The codes."""
        return self.codes_CD if self.length is None else self.length * self.heads_CD

    def encode(self, targets_ND: Tensor) -> Tensor:
        """Latents that stage 1 teaches, of the length that is read."""
        if self.length is None:
            return targets_ND
        return self.length * normalize(targets_ND.to(self.codes_CD) - self.mean_D, dim=-1).to(targets_ND)

    def surprise(self, hidden_ND: Tensor, targets_ND: Tensor, temperature: float) -> Tensor:
        """``KL(softmax_c cos(t - m, c - m) / T || softmax_c cos(h, c - m) / T)`` with m the mean of all codes c.

        Codes that are alike need not be told apart.
        """
        targets_ND = targets_ND.detach().to(self.codes_CD) - (self.mean_D if self.length is None else 0)
        right_NC = self.liken(normalize(targets_ND, dim=-1))[:, self.used_C] / temperature
        said_NC = self.liken(normalize(hidden_ND.to(self.codes_CD), dim=-1))[:, self.used_C] / temperature
        pair = said_NC.log_softmax(-1), right_NC.log_softmax(-1)
        return kl_div(*pair, reduction="none", log_target=True).sum(-1)


class Words(Codes):
    """Latents are words whose meanings are codes: a learnt vector of each says it, and is what is read.

    A latent that is taught is the word of the code nearest to it. So features are a vocabulary of pictures, and a model
    writes them as it writes words.

    Attributes:
        words: ``[codes, D]``, built by the network, which knows D; a vector is the input of its word and the row of the
            head that says it.
    """

    words: nn.Embedding

    def build(self, width: int, like: Tensor) -> None:
        """Make codes and words; words begin alike in all runs, see :class:`OnePass`."""
        super().build(width, like)
        if "words" not in self._modules:
            start_CD = 0.02 * torch.randn(self.codes, width, generator=torch.Generator().manual_seed(0))
            self.words = nn.Embedding(self.codes, width, _weight=start_CD.to(like.device, like.dtype))

    @property
    def heads_CD(self) -> Tensor:
        """The words."""
        return self.read_CD.to(self.codes_CD)

    @property
    def read_CD(self) -> Tensor:
        """The words."""
        read_CD: Tensor = self.words(torch.arange(self.codes, device=self.codes_CD.device))
        return read_CD

    def encode(self, targets_ND: Tensor) -> Tensor:
        """The word of each latent that stage 1 teaches."""
        encoded_ND: Tensor = self.words(self.find_codes(targets_ND))
        return encoded_ND

    def surprise(self, hidden_ND: Tensor, targets_ND: Tensor, temperature: float) -> Tensor:
        """Cross-entropy over all words, as of text; the temperature is the words' own length."""
        words_CD = self.read_CD.detach()
        distance_NC = torch.cdist(targets_ND.detach().to(words_CD), words_CD)
        return cross_entropy(self.liken(hidden_ND), distance_NC.argmin(1), reduction="none")


class Pads(Raw):
    """Feed back the same learnt vector, whatever hidden states say: a control, as many columns that tell nothing.

    Attributes:
        words: ``[1, D]``, the vector, built by the network, which knows D.
    """

    words: nn.Embedding

    def build(self, width: int, like: Tensor) -> None:
        """Make the vector, alike in all runs, of the type and on the device of a weight, unless it is there."""
        if "words" not in self._modules:
            start_1D = 0.02 * torch.randn(1, width, generator=torch.Generator().manual_seed(0))
            self.words = nn.Embedding(1, width, _weight=start_1D.to(like.device, like.dtype))

    def encode(self, targets_ND: Tensor) -> Tensor:
        """The vector, in place of each latent that stage 1 teaches."""
        return self.forward(targets_ND)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the vector in place of every hidden state."""
        pad_D: Tensor = self.words(torch.zeros((), dtype=torch.long, device=hidden.device))
        return pad_D.to(hidden).expand_as(hidden)
