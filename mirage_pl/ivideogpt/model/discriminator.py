"""A discriminator of patches. Shapes: M pictures, C channels, H rows, W columns."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import spectral_norm


class Discriminator(nn.Module):
    """Convolutions of stride 2 with spectral norm, then a logit for each place.

    Args:
        hidden: channels of the fourth convolution and all after it; each one before has half as many.
        depth: how many convolutions.
    """

    def __init__(self, hidden: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        widths = [3, *(hidden // 8 * 2 ** min(layer, 3) for layer in range(depth))]
        layers: list[nn.Module] = []
        for number, (before, width) in enumerate(zip(widths, widths[1:], strict=False)):
            layers.append(spectral_norm(nn.Conv2d(before, width, 3, stride=2, padding=1)))
            layers += [nn.InstanceNorm2d(width)] if number else []
            layers.append(nn.LeakyReLU(0.2))
        self.encoder = nn.Sequential(*layers)
        self.shuffle = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, frames_MCHW: Tensor) -> Tensor:
        """Return logits, [M, 1, H / 2^depth, W / 2^depth]: above 0 where a frame looks real."""
        logits_M1HW: Tensor = self.shuffle(self.encoder(frames_MCHW))
        return logits_M1HW


def hinge(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss, of its logits."""
    return torch.mean(F.relu(1 - real)) + torch.mean(F.relu(1 + fake))
