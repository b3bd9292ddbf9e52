"""What a latent is to a policy: part of the computation, a constant, or an action with a likelihood of its own.

h is a latent's state: the hidden state before it, as it is fed back, given all that stands before. z is the latent.

Shapes: n rows that write a latent, N latents of a batch, row after row, M actions, D width.
"""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor

from mirage_pl.engine.training.means import exact_on
from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.latents import LatentVLM


class Replay:
    """z is recorded, and a constant: what has written it gets no gradient (LVR, ReaLVR).

    ``log p(answer) = sum_t log p(y_t | x, y_<t, z)`` over the tokens t alone.

    Attributes:
        likely: whether latents have a likelihood, so that they are actions.
        noisy: whether they differ from their state, which rules out computing a block's latents together.
        anew: whether hidden states are those of latents that the model of now writes.
    """

    likely, noisy, anew = False, False, False

    def hidden(self, net: LatentVLM, batch: Batch, latents_ND: Tensor) -> Tensor:
        """Hidden states ``[B, T, D]`` of answers, given their recorded latents."""
        return net.with_latents(batch, net.embed(batch), latents_ND)

    def draw(self, states_nD: Tensor, noise_nD: Tensor) -> Tensor:
        """Latents, of their states and standard normal noise."""
        return states_nD

    def density(self, latents_ND: Tensor, states_ND: Tensor) -> Tensor:
        """Log-densities ``[N]`` of latents, given their states; they are large, and a ratio is their difference."""
        return exact(states_ND.new_zeros(len(states_ND)))

    def actions(self, density_N: Tensor, sizes: Sequence[int]) -> Tensor:
        """Log-densities ``[M]`` of the actions that latents are.

        Args:
            density_N: of the latents.
            sizes: latents of each block.
        """
        return density_N

    def count(self, sizes: Sequence[int]) -> int:
        """How many actions an answer's blocks of so many latents are."""
        return sum(sizes)


class Recompute(Replay):
    """z = h, computed again: the text's gradient runs through the recurrence (the paper's).

    ``log p(answer) = sum_t log p(y_t | x, y_<t, h_theta)``.
    """

    anew = True

    def hidden(self, net: LatentVLM, batch: Batch, latents_ND: Tensor) -> Tensor:
        """Hidden states of answers whose latents are the model's of now."""
        return net.recurrent(batch)


class Sampled(Replay):
    """z = h + s e, with e standard normal and s a share of the state's root mean square: z is drawn, and is an action.

    ``log p(z | h) = -|z - h|^2 / (2 s^2) - D log s - D/2 log 2 pi``. A block is one action, whose likelihood is the
    product of its latents' (Scaffolding Minds, arXiv 2608.19669, has a learned residual; here it has mean 0 and a given
    width).

    Args:
        deviation: s over the root mean square of h. The smaller, the more the rounding of h weighs: in float32 the
            ratio of an unchanged policy is 1 to about 2e-5 over ``deviation``.
    """

    likely, noisy = True, True

    def __init__(self, deviation: Annotated[float, Gt(0)]) -> None:
        self.deviation = deviation

    def width(self, states_ND: Tensor) -> Tensor:
        """s of each state, ``[N]``."""
        return self.deviation * exact(states_ND).square().mean(-1).sqrt().clamp(min=1e-6)

    def draw(self, states_nD: Tensor, noise_nD: Tensor) -> Tensor:
        """Draw around the states."""
        return states_nD + (self.width(states_nD).unsqueeze(1) * noise_nD).to(states_nD)

    def density(self, latents_ND: Tensor, states_ND: Tensor) -> Tensor:
        """Log-densities of the normal distribution around each state."""
        width_N = self.width(states_ND)
        distance_N = (exact(latents_ND) - exact(states_ND)).square().sum(-1)
        constant = states_ND.shape[1] * (width_N.log() + 0.5 * torch.log(torch.tensor(2 * torch.pi)).to(width_N))
        return -distance_N / (2 * width_N.square()) - constant

    def actions(self, density_N: Tensor, sizes: Sequence[int]) -> Tensor:
        """Sum over each block."""
        return torch.stack([block.sum() for block in density_N.split(list(sizes))]) if sizes else density_N

    def count(self, sizes: Sequence[int]) -> int:
        """One a block."""
        return len(sizes)


class VLPO(Replay):
    """z has the likelihood of a normal distribution of fixed width around h, each latent an action (Monet's VLPO).

    ``log p(z | h) = -|z - h|^2 / (2 s^2)``, up to a constant. As published z = h: then the likelihood has no gradient
    where the policy is the one that has answered, and afterwards pulls latents to, or from, the recorded ones.

    Args:
        deviation: s; as published 10.
        noise: draw z from that distribution, in place of h.
    """

    likely = True

    def __init__(self, deviation: Annotated[float, Gt(0)], noise: bool) -> None:
        self.deviation, self.noisy = deviation, noise

    def draw(self, states_nD: Tensor, noise_nD: Tensor) -> Tensor:
        """Draw around the states, if that is wanted."""
        return states_nD + self.deviation * noise_nD.to(states_nD) if self.noisy else states_nD

    def density(self, latents_ND: Tensor, states_ND: Tensor) -> Tensor:
        """Negative squared distances, scaled."""
        distance_N = (exact(latents_ND) - exact(states_ND)).square().sum(-1)
        return -distance_N / (2 * self.deviation**2)


def exact(values: Tensor) -> Tensor:
    """The same in the most precise type of their device."""
    return values.to(exact_on(values.device))
