"""DrQ-v2 (arXiv 2107.09645): an actor and two critics on pixels.

Shapes: B observations of T stacked frames, C = 3 channels, H x W pixels; F features, A numbers of an action.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PAD = 4
"""Pixels by which frames are shifted at most."""
LIMIT = 1 - 1e-6
"""Largest number of an action: where tanh still has a gradient."""


@dataclass(frozen=True)
class AgentSizes:
    """What an agent is built of.

    Attributes:
        resolution: height and width of a frame.
        stack: frames of an observation.
        action_dim: numbers of an action.
        channels: of each convolution.
        kernels: their sides.
        strides: their strides.
        features: to which actor and critics reduce what they see.
        hidden: width of their layers.

    Raises:
        ValueError: convolutions of other numbers, or more of them than the frame is large.
    """

    resolution: int
    stack: int
    action_dim: int
    channels: Sequence[int]
    kernels: Sequence[int]
    strides: Sequence[int]
    features: int
    hidden: int

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.strides):
            raise ValueError(
                f"agent.sizes.channels={list(self.channels)}, kernels={list(self.kernels)} and "
                f"strides={list(self.strides)} must each have a number for every convolution"
            )
        if self.side < 1:
            raise ValueError(
                f"agent.sizes.kernels={list(self.kernels)} with strides={list(self.strides)} leave nothing of "
                f"{self.resolution} x {self.resolution} pixels; lower them"
            )

    @property
    def side(self) -> int:
        """Height and width of what the convolutions leave."""
        side = self.resolution
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            side = (side - kernel) // stride + 1
        return side

    @property
    def seen(self) -> int:
        """Numbers that the convolutions make of an observation."""
        return int(self.channels[-1]) * self.side**2


class Encoder(nn.Module):
    """Convolutions over stacked frames. Pixels become numbers here, and nowhere else."""

    def __init__(self, sizes: AgentSizes) -> None:
        super().__init__()
        widths = [3 * sizes.stack, *sizes.channels]
        layers: list[nn.Module] = []
        for place, (kernel, stride) in enumerate(zip(sizes.kernels, sizes.strides, strict=True)):
            layers += [nn.Conv2d(widths[place], widths[place + 1], kernel, stride), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)

    def forward(self, frames_BTCHW: Tensor) -> Tensor:
        """Return what is seen of observations in uint8, [B, F].

        Raises:
            ValueError: they are in floats, such as the frames that a world model returns: darker by 255, or not?
        """
        if frames_BTCHW.dtype != torch.uint8:
            raise ValueError(f"an agent sees frames in uint8, 0 to 255, not in {frames_BTCHW.dtype}")
        pixels_BKHW = frames_BTCHW.flatten(1, 2).to(next(self.parameters()).dtype) / 255 - 0.5
        seen_BF: Tensor = self.convolutions(pixels_BKHW).flatten(1)
        return seen_BF


class Trunk(nn.Sequential):
    """What actor and critics reduce what is seen by."""

    def __init__(self, sizes: AgentSizes) -> None:
        super().__init__(nn.Linear(sizes.seen, sizes.features), nn.LayerNorm(sizes.features), nn.Tanh())


def stack_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Three layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


class Actor(nn.Module):
    """Chooses actions."""

    def __init__(self, sizes: AgentSizes) -> None:
        super().__init__()
        self.trunk, self.policy = Trunk(sizes), stack_layers(sizes.features, sizes.hidden, sizes.action_dim)

    def forward(self, seen_BF: Tensor) -> Tensor:
        """Return the best actions known, [B, A], each number from -1 to 1."""
        return torch.tanh(self.policy(self.trunk(seen_BF)))


class Critic(nn.Module):
    """Two guesses of what an action will bring."""

    def __init__(self, sizes: AgentSizes) -> None:
        super().__init__()
        self.trunk = Trunk(sizes)
        self.first, self.second = (stack_layers(sizes.features + sizes.action_dim, sizes.hidden, 1) for _ in range(2))

    def forward(self, seen_BF: Tensor, actions_BA: Tensor) -> tuple[Tensor, Tensor]:
        """Return both values, [B]."""
        inputs_BK = torch.cat((self.trunk(seen_BF), actions_BA), -1)
        return self.first(inputs_BK)[:, 0], self.second(inputs_BK)[:, 0]


class Draws(NamedTuple):
    """What a step draws for each transition; ``None`` of a whole batch: nothing is drawn.

    Attributes:
        shifts_B22: by how many pixels an observation and the next one are shifted down and right.
        target_BA: normal numbers for the action after it.
        noise_BA: for the action that the actor chooses.
    """

    shifts_B22: Tensor
    target_BA: Tensor
    noise_BA: Tensor


class Agent(nn.Module):
    """Encoder, actor, critics, and critics that follow them slowly.

    Args:
        sizes: of all of them.
        discount: of a reward, for each step that it is away.
        follow: share of the critics' weights that the slow ones take over in an update.
        clip: largest noise of an action in training.
    """

    def __init__(self, sizes: AgentSizes, discount: float, follow: float, clip: float) -> None:
        super().__init__()
        self.sizes, self.discount, self.share, self.clip = sizes, discount, follow, clip
        self.encoder, self.actor, self.critic = Encoder(sizes), Actor(sizes), Critic(sizes)
        self.apply(draw_weights)
        self.target = deepcopy(self.critic).requires_grad_(False)

    @torch.no_grad()
    def act(self, frames_BTCHW: Tensor, noise_BA: Tensor | None = None, deviation: float = 0.0) -> Tensor:
        """Choose actions for observations in uint8, [B, A].

        Args:
            frames_BTCHW: the observations.
            noise_BA: normal numbers; ``None``: none.
            deviation: by which they are multiplied.
        """
        best_BA: Tensor = self.actor(self.encoder(frames_BTCHW))
        return best_BA if noise_BA is None else (best_BA + deviation * noise_BA).clamp(-1, 1)

    def choose(self, seen_BF: Tensor, noise_BA: Tensor | None, deviation: float) -> Tensor:
        """Choose actions in training: with bounded noise, and a gradient where that leaves the bounds."""
        actions_BA: Tensor = self.actor(seen_BF)
        if noise_BA is not None:
            actions_BA = actions_BA + (deviation * noise_BA).clamp(-self.clip, self.clip)
        return actions_BA + (actions_BA.clamp(-LIMIT, LIMIT) - actions_BA).detach()

    @torch.no_grad()
    def value_ahead(self, rewards_BN: Tensor, next_BF: Tensor, noise_BA: Tensor | None, deviation: float) -> Tensor:
        """What critics should say: N rewards, and then the smaller value of the slow ones, [B]."""
        powers_N = self.discount ** torch.arange(rewards_BN.shape[1], device=rewards_BN.device)
        after_B = torch.minimum(*self.target(next_BF, self.choose(next_BF, noise_BA, deviation)))
        ahead_B: Tensor = (rewards_BN * powers_N).sum(1) + self.discount ** rewards_BN.shape[1] * after_B
        return ahead_B

    def critic_loss(self, seen_BF: Tensor, actions_BA: Tensor, ahead_B: Tensor) -> Tensor:
        """Squared errors of both critics, summed, mean over transitions."""
        first_B, second_B = self.critic(seen_BF, actions_BA)
        return F.mse_loss(first_B, ahead_B) + F.mse_loss(second_B, ahead_B)

    def actor_loss(self, seen_BF: Tensor, noise_BA: Tensor | None, deviation: float) -> Tensor:
        """The smaller value of what the actor chooses, negative, mean over observations."""
        values: tuple[Tensor, Tensor] = self.critic(seen_BF, self.choose(seen_BF, noise_BA, deviation))
        return -torch.minimum(*values).mean()

    @torch.no_grad()
    def follow(self) -> None:
        """Let the slow critics follow."""
        for slow, fast in zip(self.target.parameters(), self.critic.parameters(), strict=True):
            slow.lerp_(fast, self.share)


def draw_weights(module: nn.Module) -> None:
    """Draw orthogonal weights, and no biases."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        gain = nn.init.calculate_gain("relu") if isinstance(module, nn.Conv2d) else 1.0
        nn.init.orthogonal_(module.weight, gain)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def shift(frames_BTCHW: Tensor, shifts_B2: Tensor) -> Tensor:
    """Shift frames down and right by so many pixels, ``PAD`` at most; the edge is repeated where nothing comes in."""
    height, width = frames_BTCHW.shape[-2:]
    padded = frames_BTCHW
    for axis, size in ((-2, height), (-1, width)):
        places = torch.arange(-PAD, size + PAD, device=frames_BTCHW.device).clamp(0, size - 1)
        padded = padded.index_select(axis, places)
    corners = (PAD - shifts_B2).tolist()
    return torch.stack(
        [one[..., top : top + height, left : left + width] for one, (top, left) in zip(padded, corners, strict=True)]
    )
