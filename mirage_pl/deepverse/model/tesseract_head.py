"""How TesserAct sees and reads depth and normals, and where its tokens are. Names of weights are the release's.

Shapes: B rows, F frames of codes, C channels of a code, h x w places, P patch, D numbers of a token, V tokens.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gather(maps_BFChw: Tensor, patch: int) -> Tensor:
    """Patches of maps as tokens, [B, V, C P P]: channel, row, column; frame by frame."""
    batch, frames, channels, height, width = maps_BFChw.shape
    parts = maps_BFChw.view(batch, frames, channels, height // patch, patch, width // patch, patch)
    return parts.permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, -1, channels * patch**2)


def scatter(tokens_BVD: Tensor, places: tuple[int, int, int], patch: int) -> Tensor:
    """Tokens as maps, [B, F, C, h, w].

    Args:
        tokens_BVD: channel, row and column of a patch each.
        places: F, h and w.
        patch: P.
    """
    frames, height, width = places
    parts = tokens_BVD.unflatten(2, (-1, patch, patch)).unflatten(1, (frames, height // patch, width // patch))
    return parts.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4)


class Surroundings(nn.Module):
    """Three convolutions over time and places.

    Args:
        channels: what comes in.
        width: what comes out.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = ((channels, 5), (width, 5), (width, 3))
        layers = [nn.Conv3d(given, width, kernel, padding=kernel // 2) for given, kernel in sizes]
        self.model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])

    def forward(self, maps_BCFhw: Tensor) -> Tensor:
        """Look around, [B, width, F, h, w]."""
        return self.model(maps_BCFhw)


class Reading(nn.Module):
    """Depth and normals of a token.

    Args:
        width: of a token and of what is around it, together.
        numbers: that it says.
    """

    def __init__(self, width: int, numbers: int) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, numbers))

    def forward(self, tokens_BVD: Tensor) -> Tensor:
        """Read each."""
        return self.model(tokens_BVD)


class ThreePatches(nn.Module):
    """Tokens out of a text and of maps of colours, depth and normals, which add up.

    Args:
        width: D.
        channels: of the maps of one of the three, those of the first frame included.
        text_width: numbers of a word.
        patch: P.
    """

    def __init__(self, width: int, channels: int, text_width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch, patch)
        self.depth_proj = nn.Conv2d(channels, width, patch, patch, bias=False)
        self.normal_proj = nn.Conv2d(channels, width, patch, patch, bias=False)
        self.text_proj = nn.Linear(text_width, width)
        for layer in (self.depth_proj, self.normal_proj):  # so that training begins as the model of colours alone
            nn.init.zeros_(layer.weight)

    def forward(self, text_BLE: Tensor, maps_BFChw: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens of the text, [B, L, D], and of the maps, frame by frame, [B, V, D]."""
        thirds = maps_BFChw.flatten(0, 1).chunk(3, 1)
        layers = (self.proj, self.depth_proj, self.normal_proj)
        tokens = torch.stack([layer(third) for layer, third in zip(layers, thirds, strict=True)]).sum(0)
        return self.text_proj(text_BLE), tokens.unflatten(0, maps_BFChw.shape[:2]).flatten(3).transpose(2, 3).flatten(
            1, 2
        )


def place_in_base(count: tuple[int, int], base: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where rows and columns of a grid are in the one of training, in whose middle it is, as large as fits.

    Steps between columns are less than whole where the grid doesn't begin at the edge, as released.
    """
    rows, columns = base
    if count[0] / count[1] > rows / columns:
        size = rows, round(rows / count[0] * count[1])
    else:
        size = round(columns / count[1] * count[0]), columns
    places = []
    for number, (whole, kept) in zip(count, zip(base, size, strict=True), strict=True):
        first = round((whole - kept) / 2)
        places.append(torch.linspace(first, (first + kept) * (number - 1) / number, number, dtype=torch.float64))
    return places[0], places[1]


def find_angles(frames: int, count: tuple[int, int], base: tuple[int, int], head_width: int) -> Tensor:
    """Angles by which pairs of numbers of a query or a key are turned, [V, head_width / 2]: of time, row and column."""
    rows, columns = place_in_base(count, base)
    times = torch.arange(frames, dtype=torch.float64)
    widths = head_width // 4, head_width // 8 * 3, head_width // 8 * 3
    grids = torch.meshgrid(times, rows, columns, indexing="ij")
    angles = []
    for grid, width in zip(grids, widths, strict=True):
        rates = 10000.0 ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles.append(grid.reshape(-1, 1) * rates)
    return torch.cat(angles, 1).float()


def turn_pairs(numbers_BHVK: Tensor, angles_VK: Tensor) -> Tensor:
    """Turn pairs of neighbouring numbers."""
    first, second = numbers_BHVK.float().unflatten(-1, (-1, 2)).unbind(-1)
    cosine, sine = angles_VK.cos(), angles_VK.sin()
    turned = torch.stack((first * cosine - second * sine, first * sine + second * cosine), -1).flatten(-2)
    return turned.to(numbers_BHVK)


def embed_time(time_B: Tensor, width: int) -> Tensor:
    """Waves of a time, cosines first, [B, width]."""
    rates = 10000.0 ** -(torch.arange(width // 2, device=time_B.device, dtype=torch.float32) / (width // 2))
    angles = time_B.float()[:, None] * rates
    return F.pad(torch.cat((angles.cos(), angles.sin()), 1), (0, width % 2))
