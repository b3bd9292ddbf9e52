"""How a unit is drawn: from noise through all stages, each step guided by what is said and remembered.

Shapes: B rows, C channels of a state, t units before, h x w places.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from mirage_pl.deepverse.model.flow import PyramidFlow, build_noise_pyramid, build_pyramid, list_history
from mirage_pl.deepverse.model.mmdit import Said

Network = Callable[[Sequence[Tensor], Tensor, Said], Tensor]
"""A sequence with the noisy unit last, times and what is said -> the direction of its noise."""


@dataclass(frozen=True)
class UnitNoise:
    """The noise that a unit is made of.

    Attributes:
        start_BC1hw: white, of the full size.
        jumps: what is added on entering each stage but the first, in that stage's size; see
            :meth:`mirage_pl.deepverse.model.flow.PyramidFlow.draw_block_noise`.
    """

    start_BC1hw: Tensor
    jumps: Sequence[Tensor]


@dataclass(frozen=True)
class Sampler:
    """How units are drawn.

    Attributes:
        steps: calls of the network in each stage.
        text: how far directions go from what nothing said has towards the text; 1: as far as the text itself.
        memory: the same from no memory towards the memory.
        known: channels that are used, the first ones; the network sees the others as 0, as where depth is off.

    Raises:
        ValueError: no step.
    """

    steps: int = 5
    text: float = 1.0
    memory: float = 1.0
    known: int | None = None

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be 1 or more")

    @torch.no_grad()
    def draw(
        self, flow: PyramidFlow, network: Network, past_BCthw: Tensor, said: Said, empty: Said, noise: UnitNoise
    ) -> list[Tensor]:
        """Draw the next unit of all rows; return it as it is after each stage, the last one of full size.

        Args:
            flow: the stages.
            network: what says directions.
            past_BCthw: units before, the oldest first.
            said: of the unit, with a memory or without.
            empty: nothing said, without a memory.
            noise: what the unit is made of.
        """
        drawn = list[Tensor]()
        pasts = build_pyramid(past_BCthw, flow.count)
        state = build_noise_pyramid(noise.start_BC1hw, flow.count)[0]
        variants = self.list_variants(said, empty)
        for stage in range(flow.count):
            if stage:
                state = flow.enter(state, stage, noise.jumps[stage - 1])
            history = list_history(pasts, past_BCthw.shape[2], stage)
            for time, ratio, following in flow.list_steps(stage, self.steps):
                direction = self.ask(network, [*map(self.hide, history), self.hide(state)], time, variants)
                state = state + (following - ratio) * direction
            drawn.append(state)
        return drawn

    def list_variants(self, said: Said, empty: Said) -> list[tuple[float, Said]]:
        """What the network is asked in each step, and by what its answers are weighed: what weighs 0 isn't asked."""
        remembers = said.memory_BC1hw is not None
        plain = replace(said, memory_BC1hw=None, on_B=None)
        weighed = [(1 - self.text, empty), (self.text - self.memory if remembers else self.text, plain)]
        weighed += [(self.memory, said)] if remembers else []
        return [each for each in weighed if each[0]]

    def ask(
        self, network: Network, sequence: Sequence[Tensor], time: float, variants: Sequence[tuple[float, Said]]
    ) -> Tensor:
        """The direction of all variants together, in one call."""
        count, rows = len(variants), len(sequence[-1])
        said = join_said([each for _, each in variants])
        times_B = torch.full((count * rows,), time, device=sequence[-1].device)
        answers = network([entry.repeat(count, 1, 1, 1, 1) for entry in sequence], times_B, said).chunk(count)
        parts = [weight * answer for (weight, _), answer in zip(variants, answers, strict=True)]
        return sum(parts[1:], parts[0])

    def hide(self, state: Tensor) -> Tensor:
        """A state without the channels that aren't used."""
        if self.known is None:
            return state
        if not 0 < self.known <= state.shape[1]:
            raise ValueError(f"known={self.known} must be 1 to {state.shape[1]}, the channels of a state, or null")
        return torch.cat((state[:, : self.known], torch.zeros_like(state[:, self.known :])), 1)


def join_said(parts: Sequence[Said]) -> Said:
    """One below the other; rows without a memory have one that doesn't count."""
    memory = next((part.memory_BC1hw for part in parts if part.memory_BC1hw is not None), None)
    texts = [torch.cat(rows) for rows in zip(*((p.tokens_BnE, p.valid_Bn, p.pooled_BP) for p in parts), strict=True)]
    if memory is None:
        return Said(texts[0], texts[1], texts[2])
    none = torch.zeros(len(memory), dtype=torch.bool, device=memory.device)
    on_B = torch.cat([none if part.on_B is None else part.on_B.bool() for part in parts])
    return Said(texts[0], texts[1], texts[2], memory.repeat(len(parts), 1, 1, 1, 1), on_B)


def draw_noise(flow: PyramidFlow, shape: tuple[int, int, int], streams: Sequence[Generator], like: Tensor) -> UnitNoise:
    """The noise of a unit, each row's out of its own stream.

    Args:
        flow: the stages.
        shape: C, h, w.
        streams: one for each row.
        like: a tensor on the device.
    """
    channels, height, width = shape

    def draw(factor: int) -> Tensor:
        size = channels, 1, height // factor, width // factor
        return torch.stack([torch.randn(size, generator=stream) for stream in streams]).to(like)

    start = draw(1)
    jumps = [flow.draw_block_noise(draw(2 ** (flow.count - 1 - stage))) for stage in range(1, flow.count)]
    return UnitNoise(start, jumps)
