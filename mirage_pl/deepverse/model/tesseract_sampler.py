"""How TesserAct's clips are drawn: schedule, guidance and solver of the release.

The solver is DPM-Solver++ of second order with fresh noise (arXiv 2211.01095), on a schedule whose last step is noise
alone. Shapes: B rows, F frames of codes, C channels of a code, h x w places, H x W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TIMES, FIRST, LAST = 1000, 0.00085, 0.012
"""Times of noise, and the squares of what is drawn evenly between: variances added at the first and at the last."""
SCALE = 0.7
"""What codes are multiplied by."""
TINY = 1e-8
Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Maps, text and times -> velocities, see :class:`mirage_pl.deepverse.model.tesseract.Tesseract`."""


def list_shares() -> Tensor:
    """What is left of a clean code's variance at each time, in float64; nothing at the last."""
    added = torch.linspace(FIRST**0.5, LAST**0.5, TIMES, dtype=torch.float64).square()
    roots = (1 - added).cumprod(0).sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()


def list_times(steps: int) -> list[int]:
    """The times of so many steps, from noise on."""
    return [round(TIMES - step * TIMES / steps) - 1 for step in range(steps)]


def add_noise(clean_BFChw: Tensor, noise_BFChw: Tensor, time_B: Tensor) -> Tensor:
    """Codes with noise in them."""
    share = shares_at(time_B, clean_BFChw)
    return share.sqrt() * clean_BFChw + (1 - share).sqrt() * noise_BFChw


def find_clean(noisy_BFChw: Tensor, velocity_BFChw: Tensor, time_B: Tensor) -> Tensor:
    """Clean codes, as a velocity says them."""
    share = shares_at(time_B, noisy_BFChw)
    return share.sqrt() * noisy_BFChw - (1 - share).sqrt() * velocity_BFChw


def find_velocity(clean_BFChw: Tensor, noise_BFChw: Tensor, time_B: Tensor) -> Tensor:
    """What the network should say."""
    share = shares_at(time_B, clean_BFChw)
    return share.sqrt() * noise_BFChw - (1 - share).sqrt() * clean_BFChw


def shares_at(time_B: Tensor, like: Tensor) -> Tensor:
    """:func:`list_shares` at some times, as wide as ``like``."""
    return list_shares()[time_B.cpu()].to(like).view(-1, *[1] * (like.ndim - 1))


def measure_loss(ours_BFChw: Tensor, clean_BFChw: Tensor, time_B: Tensor, known_B3: Tensor) -> Tensor:
    """Squared errors of clean codes, weighed so that they are those of velocities: of colours, depth and normals, [3].

    Args:
        ours_BFChw: clean codes as they are said, 3 C channels.
        clean_BFChw: true ones.
        time_B: of their noise.
        known_B3: whether there are colours, depth and normals of a row; what there isn't counts as right.
    """
    error = (ours_BFChw - clean_BFChw).square() / (1 - shares_at(time_B, clean_BFChw))
    thirds = zip(error.chunk(3, 2), known_B3.unbind(1), strict=True)
    return torch.stack([(third * known_B.view(-1, 1, 1, 1, 1)).mean() for third, known_B in thirds])


@dataclass(frozen=True)
class Guidance:
    """How far velocities go beyond what text and picture say.

    Attributes:
        text: from no text towards the text; 1: as far as the text itself.
        image: from no picture towards the picture, beside the text's; 1: it is given always.

    Raises:
        ValueError: guidance by the picture alone, for which the release has no rule.
    """

    text: float = 7.5
    image: float = 1.5

    def __post_init__(self) -> None:
        if self.image != 1 and self.text == 1:
            raise ValueError(f"image={self.image} needs guidance by text as well: text above 1")

    @property
    def rows(self) -> list[tuple[bool, bool]]:
        """Which rows are asked: with the text or without, with the picture or without."""
        if self.text == 1:
            return [(True, True)]
        return [(False, True), (True, True)] + ([(False, False)] if self.image != 1 else [])

    def combine(self, velocities_RFChw: Tensor) -> Tensor:
        """One velocity of those of all rows, [1, F, C, h, w]; the first frame is the one with text and picture."""
        if self.text == 1:
            return velocities_RFChw
        plain, told, *blind = velocities_RFChw.split(1)
        mixed = plain + self.text * (told - plain)
        if blind:
            mixed = blind[0] + self.text * (told - plain) + self.image * (plain - blind[0])
        return torch.cat((told[:, :1], mixed[:, 1:]), 1)


class Solver:
    """Steps from noise to codes.

    Args:
        steps: how many.

    Raises:
        ValueError: none, or more than there are times.
    """

    def __init__(self, steps: int) -> None:
        if not 1 <= steps <= TIMES:
            raise ValueError(f"steps={steps} must be 1 to {TIMES}")
        self.times, self.stride = list_times(steps), TIMES // steps
        self.shares = list_shares()
        self.before: Tensor | None = None

    def log_ratio(self, time: int) -> float:
        """The logarithm of signal to noise at a time; without noise before the first."""
        share = self.shares[time] if time >= 0 else self.shares.new_ones(())
        return float((share / (1 - share)).sqrt().log())

    def step(self, number: int, codes: Tensor, velocity: Tensor, noise: Tensor) -> Tensor:
        """Take a step, in order.

        Args:
            number: of the step.
            codes: noisy ones.
            velocity: that the network says of them.
            noise: fresh; doesn't count in the last step.
        """
        time = self.times[number]
        following = time - self.stride
        here, there = self.log_ratio(time), self.log_ratio(following)
        share = float(self.shares[following]) if following >= 0 else 1.0
        left, gained = float(self.shares[time]), 1 - torch.tensor(2 * (here - there)).exp().item()
        clean = left**0.5 * codes - (1 - left) ** 0.5 * velocity
        guess = clean
        if self.before is not None and following >= 0:
            ratio = (here - self.log_ratio(self.times[number - 1])) / (there - here)
            guess = clean + (clean - self.before) / (2 * ratio)
        self.before = clean
        kept = ((1 - share) / (1 - left)) ** 0.5 * torch.tensor(here - there).exp().item()
        return kept * codes + gained * share**0.5 * guess + ((1 - share) * gained) ** 0.5 * noise


def interleave(noisy_BFChw: Tensor, image_BFChw: Tensor) -> Tensor:
    """The network's input: of colours, depth and normals the noisy codes, then those of the picture."""
    pairs = zip(noisy_BFChw.chunk(3, 2), image_BFChw.chunk(3, 2), strict=True)
    return torch.cat([part for pair in pairs for part in pair], 2)


def encode_image(image_19HW: Tensor, encode: Callable[[Tensor], Tensor], frames: int) -> Tensor:
    """Codes of a picture's colours, depth and normals in [-1, 1], [1, F, 3 C, h, w]: of the first frame, others are 0.

    Args:
        image_19HW: colours, depth three times, normals.
        encode: a clip, [1, 3, 1, H, W] -> codes, [1, C, 1, h, w].
        frames: F.
    """
    codes = torch.cat([SCALE * encode(third[:, :, None]) for third in image_19HW.chunk(3, 1)], 1).transpose(1, 2)
    return torch.cat((codes, torch.zeros_like(codes).expand(-1, frames - 1, -1, -1, -1)), 1)


def draw_clip(
    network: Network,
    image_1FChw: Tensor,
    texts: tuple[Tensor, Tensor],
    start_1FChw: Tensor,
    noise: Callable[[int], Tensor],
    guidance: Guidance,
    steps: int,
) -> Tensor:
    """Draw the codes of a clip, [1, F, 3 C, h, w].

    Args:
        network: says velocities.
        image_1FChw: of :func:`encode_image`.
        texts: of what is said, and of what is not to be: [1, L, E] each.
        start_1FChw: noise.
        noise: number of a step -> fresh noise.
        guidance: how velocities are combined.
        steps: of the solver.
    """
    solver, codes, rows = Solver(steps), start_1FChw, guidance.rows
    text = torch.cat([texts[0] if told else texts[1] for told, _ in rows])
    images = torch.cat([image_1FChw if shown else torch.zeros_like(image_1FChw) for _, shown in rows])
    for number, time in enumerate(solver.times):
        maps = interleave(codes.expand(len(rows), -1, -1, -1, -1), images)
        said = network(maps, text, torch.full((len(rows),), time))
        codes = solver.step(number, codes, guidance.combine(said), noise(number))
    return codes


def decode_clip(codes_1FChw: Tensor, decode: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """Colours, depth and normals of a clip's codes in [0, 1], [1, T, H, W, 3] each: depth three times.

    Args:
        codes_1FChw: of :func:`draw_clip`.
        decode: codes, [1, C, F, h, w] -> a clip in [-1, 1], [1, 3, T, H, W].
    """
    thirds: Sequence[Tensor] = codes_1FChw.transpose(1, 2).chunk(3, 1)
    colours, depth, normals = ((decode(third / SCALE) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 4, 1) for third in thirds)
    turned = (normals - 0.5) * 2
    normals = turned / (turned.norm(dim=-1, keepdim=True) + TINY) / 2 + 0.5
    return {"rgb": colours, "depth": depth.mean(-1, keepdim=True).expand_as(depth), "normal": normals}
