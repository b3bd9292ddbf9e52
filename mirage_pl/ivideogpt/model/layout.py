"""How the codes of a clip lie in one sequence: the only place that knows offsets, slots, labels and legal tokens.

A slot stands before each frame: ``S1`` before one of the context, ``S2`` before one of the dynamics. The first ``S1``
is left out, as upstream does::

    c … c  S1 c … c  S2 d … d  S2 d … d        T0 = 2 context frames of N codes, F = 2 dynamics frames of n

Tokens: context codes from 0 on, dynamics codes after them, then S1, then S2.

Shapes: B clips, T0 context frames, F dynamics frames, N and n codes of each, L tokens, V of the vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORE = -100
"""The label of a token that isn't learnt."""


@dataclass(frozen=True)
class TokenLayout:
    """Sizes from which all places in a sequence follow.

    Attributes:
        context_codes: codes of the context's book.
        dynamics_codes: codes of the dynamics' book.
        context_tokens: N, codes of a context frame.
        dynamics_tokens: n, codes of a dynamics frame.
        context_length: T0, context frames.
        compat: as released: slots are learnt like codes (all but the first S2), which makes one target in n + 1
            trivial, and illegal tokens become the nearest legal code.

    Raises:
        ValueError: a size below 1.
    """

    context_codes: int
    dynamics_codes: int
    context_tokens: int
    dynamics_tokens: int
    context_length: int
    compat: bool = False

    def __post_init__(self) -> None:
        for name, size in vars(self).items():
            if name != "compat" and size < 1:
                raise ValueError(f"{name}={size} must be 1 or more")

    @property
    def slot1(self) -> int:
        """The token before a context frame."""
        return self.context_codes + self.dynamics_codes

    @property
    def slot2(self) -> int:
        """The token before a dynamics frame."""
        return self.slot1 + 1

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.slot2 + 1

    @property
    def prompt_length(self) -> int:
        """Tokens of the context, with the first S2 after them."""
        return (self.context_tokens + 1) * self.context_length

    def length(self, num_dynamics: int) -> int:
        """Tokens of a clip with so many dynamics frames; there must be one."""
        if num_dynamics < 1:
            raise ValueError(f"a clip needs a frame after its {self.context_length} context frame(s); it has none")
        return self.prompt_length - 1 + (self.dynamics_tokens + 1) * num_dynamics

    def num_dynamics(self, length: int) -> int:
        """How many dynamics frames a sequence of this length has.

        Raises:
            ValueError: no clip has this length.
        """
        frames, rest = divmod(length - self.prompt_length + 1, self.dynamics_tokens + 1)
        if rest or frames < 1:
            raise ValueError(
                f"{length} tokens are no clip: {self.prompt_length - 1} of {self.context_length} context frame(s), and "
                f"{self.dynamics_tokens + 1} of each frame after them"
            )
        return frames

    def slots1(self) -> Tensor:
        """Places of all S1, [T0 - 1]."""
        return torch.arange(1, self.context_length) * (self.context_tokens + 1) - 1

    def slots2(self, num_dynamics: int) -> Tensor:
        """Places of all S2, [F]."""
        return self.prompt_length - 1 + torch.arange(num_dynamics) * (self.dynamics_tokens + 1)

    @property
    def num_places(self) -> int:
        """Places within frames of both kinds, each with its slot."""
        return self.context_tokens + self.dynamics_tokens + 2

    def places(self, first: int, count: int, device: torch.device | None = None) -> Tensor:
        """Where in its frame each of so many tokens stands, [L]; those of the context from 0 on, then the others'."""
        index_L, context = torch.arange(first, first + count, device=device), self.context_tokens + 1
        after_L = context + (index_L - self.prompt_length + 1) % (self.dynamics_tokens + 1)
        return torch.where(index_L < self.prompt_length - 1, index_L % context, after_L)

    def join(self, context_BTN: Tensor, dynamics_BFn: Tensor) -> Tensor:
        """Put the codes of clips into sequences, [B, L].

        Raises:
            ValueError: as many frames or codes as this layout hasn't.
        """
        wanted = (self.context_length, self.context_tokens), self.dynamics_tokens
        if (context_BTN.shape[1:], dynamics_BFn.shape[2]) != wanted:
            raise ValueError(
                f"codes of shape {tuple(context_BTN.shape)} and {tuple(dynamics_BFn.shape)} don't fit a layout of "
                f"{wanted[0]} context codes a clip and {wanted[1]} dynamics codes a frame"
            )
        self.length(dynamics_BFn.shape[1])
        slots_BF1 = torch.full_like(dynamics_BFn[..., :1], self.slot2)
        frames_BFm = torch.cat((slots_BF1, dynamics_BFn + self.context_codes), 2)
        return torch.cat((self.prompt(context_BTN), frames_BFm.flatten(1)), 1)

    def prompt(self, context_BTN: Tensor) -> Tensor:
        """The tokens before the first S2, [B, prompt_length - 1]."""
        return torch.cat((torch.full_like(context_BTN[..., :1], self.slot1), context_BTN), 2).flatten(1)[:, 1:]

    def split(self, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Take the codes out of sequences; what stands in a slot's place doesn't matter.

        Returns:
            Context codes, [B, T0, N], and dynamics codes, [B, F, n], each from 0 on.

        Raises:
            ValueError: no clip has this length, or a token is no code of its place.
        """
        num_dynamics, first = self.num_dynamics(ids_BL.shape[1]), self.prompt_length - 1
        dropped_B1 = ids_BL[:, :1]
        context_BTN = torch.cat((dropped_B1, ids_BL[:, :first]), 1).unflatten(1, (self.context_length, -1))[..., 1:]
        dynamics_BFn = ids_BL[:, first:].unflatten(1, (num_dynamics, -1))[..., 1:] - self.context_codes
        if self.compat:
            return context_BTN.clamp(0, self.context_codes - 1), dynamics_BFn.clamp(0, self.dynamics_codes - 1)
        for codes, number, name in (
            (context_BTN, self.context_codes, "context"),
            (dynamics_BFn, self.dynamics_codes, "dynamics"),
        ):
            if illegal := int(((codes < 0) | (codes >= number)).sum()):
                raise ValueError(
                    f"{illegal} token(s) in places of {name} codes are none; mask what is sampled by legal(), or read "
                    "them with compat=true"
                )
        return context_BTN, dynamics_BFn

    def labels(self, ids_BL: Tensor) -> Tensor:
        """What is learnt of sequences: dynamics codes; with ``compat`` all S2 but the first, too. [B, L]."""
        labels_BL = ids_BL.clone()
        labels_BL[:, : self.prompt_length] = IGNORE
        if not self.compat:
            labels_BL[:, self.slots2(self.num_dynamics(ids_BL.shape[1]))] = IGNORE
        return labels_BL

    def legal(self, num_dynamics: int) -> Tensor:
        """Which tokens may stand in each place, [L, V]: one slot, or the codes of the place's kind."""
        length, first = self.length(num_dynamics), self.prompt_length - 1
        tokens_V = torch.arange(self.vocabulary)
        legal_LV = (tokens_V < self.context_codes).repeat(length, 1)
        legal_LV[first:] = (tokens_V >= self.context_codes) & (tokens_V < self.slot1)
        legal_LV[self.slots1()] = tokens_V == self.slot1
        legal_LV[self.slots2(num_dynamics)] = tokens_V == self.slot2
        return legal_LV
