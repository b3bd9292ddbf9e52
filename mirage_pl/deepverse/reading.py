"""What is done between two frames, read from what they show: a small network, and a world model beside it.

Shapes: B clips, T frames, M = B (T - 1) pairs of frames, K channels of a frame, A numbers of an action, H x W pixels, P
points.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from mirage_pl.deepverse.clouds import place_points
from mirage_pl.deepverse.model.codec import StateCodec
from mirage_pl.deepverse.model.world import Maps, World
from mirage_pl.deepverse.pictures import FARTHEST

Result = TypeVar("Result")
WIDTHS = {"colours": 3, "disparity": 1, "normals": 3}
"""Channels of a picture that are looked at."""
GROUPS = 8
SPREAD = 5.0
"""Places are from minus this to this across a picture, so that a pixel counts."""


class PictureReader(nn.Module):
    """Reads an action from both frames, one over the other, and from what differs.

    Args:
        codec: which pictures a frame has.
        actions: A.
        size: H and W.
        channels: of the layers, each of which halves height and width; multiples of 8.
        hidden: numbers of the layer before the action.
    """

    def __init__(
        self, codec: StateCodec, actions: int, size: tuple[int, int], channels: Sequence[int], hidden: int
    ) -> None:
        super().__init__()
        self.codec, self.actions = codec, actions
        widths = [3 * sum(WIDTHS[name] for name in codec.coded), *channels]
        layers = list[nn.Module]()
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(GROUPS, after), nn.SiLU()]
        self.look = nn.Sequential(*layers)
        places = [-(-side // 2 ** len(channels)) for side in size]
        self.read = nn.Sequential(
            nn.Flatten(), nn.Linear(channels[-1] * places[0] * places[1], hidden), nn.SiLU(), nn.Linear(hidden, actions)
        )

    def forward(self, pictures: Maps, lens_B33: Tensor) -> Tensor:
        """Return actions between neighbouring frames, [B, T - 1, A].

        Args:
            pictures: of clips.
            lens_B33: isn't used.
        """
        pairs_BSKHW = join_pairs(pictures)
        actions: Tensor = self.read(self.look(pairs_BSKHW.flatten(0, 1))).unflatten(0, pairs_BSKHW.shape[:2])
        return actions


class PlaceReader(nn.Module):
    """Reads an action from where things are in both frames: each map's mean place, by how strongly it answers there.

    What moves by a few pixels is read from far fewer clips than by :class:`PictureReader`, which flattens maps.

    Args:
        codec: which pictures a frame has.
        actions: A.
        channels: of the layers, the first of which halves height and width; multiples of 8.
        places: maps, of which each has one place.
        hidden: numbers of the layer before the action.
    """

    def __init__(self, codec: StateCodec, actions: int, channels: Sequence[int], places: int, hidden: int) -> None:
        super().__init__()
        self.codec, self.actions = codec, actions
        widths = [3 * sum(WIDTHS[name] for name in codec.coded), *channels]
        layers = list[nn.Module]()
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            conv = nn.Conv2d(before, after, 3, 1, 1) if layers else nn.Conv2d(before, after, 5, 2, 2)
            layers += [conv, nn.GroupNorm(GROUPS, after), nn.SiLU()]
        self.look = nn.Sequential(*layers, nn.Conv2d(widths[-1], places, 3, 1, 1))
        self.read = nn.Sequential(nn.Linear(2 * places, hidden), nn.SiLU(), nn.Linear(hidden, actions))

    def forward(self, pictures: Maps, lens_B33: Tensor) -> Tensor:
        """Return actions between neighbouring frames, [B, T - 1, A]; arguments as of :class:`PictureReader`."""
        pairs_BSKHW = join_pairs(pictures)
        maps_MPhw = self.look(pairs_BSKHW.flatten(0, 1)).float()
        height, width = maps_MPhw.shape[2:]
        shares_MPhw = maps_MPhw.flatten(2).softmax(2).view_as(maps_MPhw)
        down, across = (torch.linspace(-SPREAD, SPREAD, side, device=maps_MPhw.device) for side in (height, width))
        places_MP = torch.cat((shares_MPhw.sum(3) @ down, shares_MPhw.sum(2) @ across), 1)
        actions: Tensor = self.read(places_MP).unflatten(0, pairs_BSKHW.shape[:2])
        return actions


class PointReader(nn.Module):
    """Reads an action from the points of both frames: each is embedded by itself, and the largest numbers count.

    Args:
        codec: which pictures a frame has; depth must be one.
        actions: A.
        thin: every so many pixels, in both directions, become a point.
        channels: of the layers of a point.
        hidden: numbers of the layer before the action.

    Raises:
        ValueError: no depth.
    """

    def __init__(self, codec: StateCodec, actions: int, thin: int, channels: Sequence[int], hidden: int) -> None:
        super().__init__()
        if "disparity" not in codec.coded:
            raise ValueError(f"modalities={codec.modalities} has no depth, so there are no points; set rgbd or rgbdn")
        self.codec, self.actions, self.thin = codec, actions, thin
        width = 3 + sum(width for name, width in WIDTHS.items() if name in codec.coded and name != "disparity")
        widths = [width, *channels]
        layers = list[nn.Module]()
        for before, after in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Linear(before, after), nn.SiLU()]
        self.look = nn.Sequential(*layers)
        self.read = nn.Sequential(nn.Linear(3 * channels[-1], hidden), nn.SiLU(), nn.Linear(hidden, actions))

    def forward(self, pictures: Maps, lens_B33: Tensor) -> Tensor:
        """Return actions between neighbouring frames, [B, T - 1, A].

        Args:
            pictures: of clips.
            lens_B33: of their cameras; 1 is the distance of the nearest point of a clip's first frame.
        """
        clouds_BTPK = torch.stack(
            [
                torch.stack(
                    [
                        self.place({name: each[row, :, time] for name, each in pictures.items()}, lens_33)
                        for time in range(pictures["colours"].shape[2])
                    ]
                )
                for row, lens_33 in enumerate(lens_B33)
            ]
        )
        seen_BTC = self.look(clouds_BTPK).amax(2)
        before, after = seen_BTC[:, :-1], seen_BTC[:, 1:]
        actions: Tensor = self.read(torch.cat((before, after, after - before), 2))
        return actions

    def place(self, frame: Maps, lens_33: Tensor) -> Tensor:
        """Points of a frame with their colours and normals, [P, K]."""
        near_HW = self.codec.decode_disparity(frame["disparity"].mean(0)).clamp(min=FARTHEST)
        still = torch.eye(4, dtype=near_HW.dtype, device=near_HW.device)
        maps = [place_points(1 / near_HW, still, lens_33).movedim(-1, 0)]
        maps += [each for name, each in frame.items() if name != "disparity"]
        return torch.cat(maps)[:, :: self.thin, :: self.thin].flatten(1).mT


class Reading(nn.Module):
    """A network that reads actions, beside the world model whose frames it is to read.

    Args:
        world: doesn't learn.
        reader: learns.
    """

    def __init__(self, world: World, reader: PictureReader | PlaceReader | PointReader) -> None:
        super().__init__()
        self.world, self.reader = world.requires_grad_(False).eval(), reader

    def forward(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Call a function of the model: whatever it does, strategies see one call of one module."""
        return work(*arguments)

    def train(self, mode: bool = True) -> "Reading":
        """Train the reader alone."""
        super().train(mode)
        self.world.eval()
        return self


def join_pairs(pictures: Maps) -> Tensor:
    """Neighbouring frames, one over the other, and what differs, with all that is looked at, [B, T - 1, 3 K, H, W]."""
    parts = [each[:, : WIDTHS[name]] for name, each in pictures.items()]
    frames_BTKHW = torch.cat(parts, 1).transpose(1, 2)
    before, after = frames_BTKHW[:, :-1], frames_BTKHW[:, 1:]
    return torch.cat((before, after, after - before), 2)
