"""How the published code draws a window of a walk, over the weights of ours: the other side of ``walks``.

Rebuilt from the order of its calls (SOTAMak1r/DeepVerse at 59d300b), and never slower than it: nothing is collected or
emptied between units, no text is read again, and codes are taken at their mean.

Shapes: B rows, S channels of a state, N units, U new ones, h x w places.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from unittest.mock import patch

import torch
from torch import Generator, Tensor
from torch.distributions import MultivariateNormal

from mirage_pl.deepverse.model.flow import PyramidFlow
from mirage_pl.deepverse.model.sampler import UnitNoise
from mirage_pl.deepverse.model.world import World

GAMMA = 0.3333
"""In place of 1/3, at which the published covariance has no root."""
BLOCK = 4
"""Places of a block of 2 x 2."""


def draw_blocks(channels: int, height: int, width: int) -> Tensor:
    """Noise on entering a stage, [S, 1, h, w]: a block after the other is drawn from one distribution."""
    covariance = torch.full((BLOCK, BLOCK), -GAMMA).fill_diagonal_(1.0)
    law = MultivariateNormal(torch.zeros(BLOCK), covariance)
    blocks = torch.stack([law.sample() for _ in range(channels * (height // 2) * (width // 2))])
    shaped = blocks.view(channels, height // 2, width // 2, 2, 2).transpose(2, 3)
    return shaped.reshape(channels, 1, height, width)


def draw_noise(flow: PyramidFlow, shape: tuple[int, int, int], streams: Sequence[Generator], like: Tensor) -> UnitNoise:
    """The noise of a unit, with that of each stage after the first drawn block by block."""
    channels, height, width = shape
    start = torch.stack([torch.randn((channels, 1, height, width), generator=stream) for stream in streams])
    sizes = [2 ** (flow.count - 1 - stage) for stage in range(1, flow.count)]
    jumps = [
        torch.stack([draw_blocks(channels, height // size, width // size) for _ in streams]).to(like) for size in sizes
    ]
    return UnitNoise(start.to(like), jumps)


@contextmanager
def published_schedule(world: World, closed: bool = False) -> Iterator[None]:
    """End each stage with a step of a thousandth, and draw noise as published, unless it is ``closed``."""
    ours = world.flow
    world.flow = replace(ours, gamma=GAMMA, compat=True)
    with nullcontext() if closed else patch("mirage_pl.deepverse.model.world.draw_noise", draw_noise):
        try:
            yield
        finally:
            world.flow = ours
