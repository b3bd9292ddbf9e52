"""Pyramid flow: from noise to a state over stages, each twice as fine as the one before.

The recipe is Pyramid Flow's (arXiv 2410.05954). Shapes: B rows, C channels, t units, h x w places. Noise at a stage is
noise of the full size, halved and doubled in strength, so that its variance stays 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor
from torch.nn import functional as F

TIMES = 1000
"""Steps that times are told in."""
LEAST = 0.001
"""The smallest ratio of a stage, as released."""


@dataclass(frozen=True)
class Stage:
    """Where a stage begins and ends.

    Attributes:
        start: share of noise at its beginning.
        end: share of noise at its end.
        first: the time at its beginning.
        last: the time that its end would have.
        jump: by what the state before is multiplied on entering, and what noise is added; ``None``: the first stage.
    """

    start: float
    end: float
    first: float
    last: float
    jump: tuple[float, float] | None

    def time_of(self, ratio: Tensor | float) -> Tensor | float:
        """The time at which a share ``ratio`` of the stage is left."""
        return self.last + (self.first - self.last) * ratio


@dataclass(frozen=True)
class PyramidFlow:
    """The stages.

    Attributes:
        count: of stages.
        gamma: how strongly noise that is added on entering a stage undoes what enlarging has made alike, at most 1/3.
        compat: steps as released: the last of a stage moves by a thousandth.

    Raises:
        ValueError: a gamma that no noise has.
    """

    count: int = 3
    gamma: float = 1 / 3
    compat: bool = False

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 < self.gamma <= 1 / 3 + 1e-6:
            raise ValueError(f"flow has count={self.count} (1 or more) and gamma={self.gamma} (above 0, at most 1/3)")

    @cached_property
    def stages(self) -> list[Stage]:
        """All of them, the coarsest first."""
        edges = [int(TIMES * stage / self.count) for stage in range(self.count + 1)]
        plain = [1 - edge / TIMES for edge in edges]
        lift = (1 + 1 / self.gamma) ** 0.5
        factors = [1 / (lift * share + (1 - share)) for share in plain[:-1]]
        starts = [1.0, *(1 - factor * (1 - share) for factor, share in list(zip(factors, plain[:-1], strict=True))[1:])]
        lengths = [start - end for start, end in zip(starts, plain[1:], strict=True)]
        passed = [sum(lengths[:stage]) / sum(lengths) for stage in range(self.count + 1)]
        times = [TIMES - int(TIMES * share) for share in passed[:-1]] + [1]
        jumps = [(factor, factor * share / self.gamma**0.5) for factor, share in zip(factors, plain[:-1], strict=True)]
        return [
            Stage(starts[stage], plain[stage + 1], times[stage], times[stage + 1], jumps[stage] if stage else None)
            for stage in range(self.count)
        ]

    def list_steps(self, stage: int, count: int) -> list[tuple[float, float, float]]:
        """The (time, ratio, next ratio) of each call of the network in a stage; none of them is wasted.

        As released, ``count`` calls end at a thousandth, which the last of them then takes.
        """
        if self.compat:
            ratios = [1 - (1 - LEAST) * step / max(1, count - 1) for step in range(count)] + [0.0]
        else:
            ratios = [1 - step / count for step in range(count + 1)]
        pairs = zip(ratios[:-1], ratios[1:], strict=True)
        return [(float(self.stages[stage].time_of(ratio)), ratio, following) for ratio, following in pairs]

    def enter(self, state: Tensor, stage: int, noise: Tensor) -> Tensor:
        """Enlarge a state twofold into a stage; ``noise`` is of :meth:`draw_block_noise`."""
        jump = self.stages[stage].jump
        if jump is None:
            raise ValueError(f"stage {stage} is the first one: nothing enters it")
        return jump[0] * enlarge(state) + jump[1] * noise

    def draw_block_noise(self, white: Tensor) -> Tensor:
        """Noise whose blocks of 2 x 2 have a covariance of -gamma, out of white noise, [..., h, w]."""
        mean = enlarge(
            F.avg_pool2d(white.flatten(0, -3), 2).view(*white.shape[:-2], *(side // 2 for side in white.shape[-2:]))
        )
        return (1 + self.gamma) ** 0.5 * (white - mean) + max(0.0, 1 - 3 * self.gamma) ** 0.5 * mean

    def draw_pair(
        self, clean: Sequence[Tensor], noise: Sequence[Tensor], stage: int, ratio_B: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the network sees in training, and the direction that it should say.

        Args:
            clean: of :func:`build_pyramid` of states, the coarsest first.
            noise: of :func:`build_noise_pyramid` of noise.
            stage: which one.
            ratio_B: how much of the stage is left.
        """
        edges, before = self.stages[stage], noise[stage]
        if stage:
            before = edges.start * before + (1 - edges.start) * enlarge(clean[stage - 1])
        after = edges.end * noise[stage] + (1 - edges.end) * clean[stage]
        ratio = ratio_B.view(-1, *[1] * (before.ndim - 1))
        return ratio * before + (1 - ratio) * after, before - after


def enlarge(state: Tensor) -> Tensor:
    """Each place becomes 2 x 2 alike."""
    return state.repeat_interleave(2, -1).repeat_interleave(2, -2)


def halve(state_BCthw: Tensor) -> Tensor:
    """Half as many places in each direction, bilinearly."""
    frames = state_BCthw.transpose(1, 2)
    small = F.interpolate(frames.flatten(0, 1), scale_factor=0.5, mode="bilinear")
    return small.unflatten(0, frames.shape[:2]).transpose(1, 2)


def build_pyramid(state_BCthw: Tensor, count: int) -> list[Tensor]:
    """A state in all sizes, the coarsest first."""
    sizes = [state_BCthw]
    for _ in range(count - 1):
        sizes.append(halve(sizes[-1]))
    return sizes[::-1]


def build_noise_pyramid(noise_BCthw: Tensor, count: int) -> list[Tensor]:
    """Noise in all sizes, the coarsest first, each of variance 1."""
    return [noise * 2 ** (count - 1 - stage) for stage, noise in enumerate(build_pyramid(noise_BCthw, count))]


def list_history(pyramid: Sequence[Tensor], units: int, stage: int) -> list[Tensor]:
    """The units before a noisy one as its context, the oldest first: the newer, the finer.

    The newest is as fine as the stage, each older one coarser by one stage, and all that are left are the coarsest.

    Args:
        pyramid: all units in all sizes, the coarsest first.
        units: how many of them come before.
        stage: of the noisy unit.
    """
    entries, end, level = list[Tensor](), units, stage
    while end:
        first = end - 1 if level or not entries and stage == 0 else 0
        entries.append(pyramid[level][:, :, first:end])
        end, level = first, max(0, level - 1)
    return entries[::-1]


def corrupt(entries: Sequence[Tensor], noise: Sequence[Tensor], share_B: Tensor) -> list[Tensor]:
    """Context with noise in it, the same share in all of a row."""
    share = share_B.view(-1, 1, 1, 1, 1)
    return [share * each + (1 - share) * entry for entry, each in zip(entries, noise, strict=True)]


def count_units(most: int, group: int, rank: int, turn: int, stages: int = 3) -> list[int]:
    """Units of each stage's sequences, so that all take a like amount of work: many coarse ones, or few fine ones.

    Args:
        most: units of a clip, a multiple of ``group``.
        group: neighbouring ranks that share clips of all lengths.
        rank: of the process.
        turn: of the batch; longer clips take turns.
        stages: how many.
    """
    coarse = group * (turn % (most // group) + 1) - rank % group
    return [coarse] * (stages - 1) + [most + 1 - coarse]
