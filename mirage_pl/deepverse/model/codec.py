"""What a unit's channels mean: pictures, disparity, normals and rays, as numbers that a network takes, and back.

Shapes: N units, B clips, H x W pixels, h x w places, C channels of a VAE's code. Disparity is 1 / z, 0 where nothing is
known; z is along the optical axis. Nothing here has state, nothing is changed in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mirage_pl.deepverse.model.rays import decode_rays, encode_rays

ROOM = 0.95
"""The nearest point of a window's first picture is encoded as the root of this: what comes nearer still fits."""
RAYS = 6
TURNED = (1.0, -1.0, -1.0)
"""Axes of pictures of normals (x right, y up, z towards the viewer) against ours."""
Modalities = Literal["rgb", "rgbd", "rgbdn"]
CODED: Mapping[str, tuple[str, ...]] = {
    "rgb": ("colours",),
    "rgbd": ("colours", "disparity"),
    "rgbdn": ("colours", "disparity", "normals"),
}
"""Modalities -> the pictures that are coded of a frame, in the order of a state's channels; rays are below them."""


@dataclass(frozen=True)
class StateCodec:
    """How a state is written.

    A window has a scale s: 1 / s is the largest disparity of its first picture. Disparity is multiplied by it, places
    are divided by it, so that the nearest point there is at depth 1.

    Attributes:
        patch: pixels of a place, in height and in width.
        latent_channels: C.
        modalities: which pictures are coded of a frame.
        first: mean and deviation of the codes of a clip's first unit, which is one frame; ``None``: not known.
        later: the same of all others.
        ray_mean: of the six numbers of a ray.
        ray_deviation: of the six numbers of a ray.
        compat: as released: nothing nearer than :data:`ROOM` allows is decoded; and as in
            :mod:`mirage_pl.deepverse.model.rays`.

    Raises:
        ValueError: modalities that there aren't.
    """

    patch: int = 8
    latent_channels: int = 16
    first: Sequence[float] | None = (0.1490, 1.8415)
    later: Sequence[float] | None = (-0.2343, 3.0986)
    ray_mean: Sequence[float] = (-0.0016, -0.0010, 0.9015, 0.0313, -0.0538, 0.2079)
    ray_deviation: Sequence[float] = (0.3333, 0.2567, 0.0927, 0.4338, 0.1746, 0.5802)
    modalities: Modalities = "rgbd"
    compat: bool = False

    def __post_init__(self) -> None:
        if self.modalities not in CODED:
            raise ValueError(f"modalities={self.modalities} is unknown; choose from {', '.join(CODED)}")

    @property
    def coded(self) -> tuple[str, ...]:
        """The pictures that are coded of a frame."""
        return CODED[self.modalities]

    @property
    def channels(self) -> int:
        """Of a unit: a code of each picture, and rays."""
        return len(self.coded) * self.latent_channels + RAYS

    def encode_disparity(self, disparity: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        """Disparity as a picture from -1 (nothing, or infinitely far) on; 1 is a little nearer than the nearest."""
        return (ROOM * disparity * scale).clamp(min=0).sqrt() * 2 - 1

    def decode_disparity(self, picture: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        """Disparity out of a picture of it, whose values below -1 are cut; as released those above 1, too."""
        return ((picture + 1) / 2).clamp(0, 1 if self.compat else None).square() / (scale * ROOM)

    def encode_places(self, places: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        """Places as roots with their signs, which spreads small ones."""
        return places.sign() * (places / scale).abs().sqrt()

    def decode_places(self, roots: Tensor, scale: Tensor | float = 1.0) -> Tensor:
        """Places out of roots with their signs."""
        return roots.sign() * roots.square() * scale

    def encode_rays(
        self, relative_N44: Tensor, intrinsics_N33: Tensor, size: tuple[int, int], scale: Tensor | float = 1.0
    ) -> Tensor:
        """Cameras, each as the one before sees it, as standardised maps of rays, [N, 6, h, w]."""
        written_N44 = relative_N44.clone()
        written_N44[:, :3, 3] = self.encode_places(relative_N44[:, :3, 3], scale)
        rays_N6hw = encode_rays(written_N44, intrinsics_N33, size, self.patch, self.compat)
        mean_611, deviation_611 = self.ray_constants(rays_N6hw)
        return (rays_N6hw - mean_611) / deviation_611

    def decode_rays(self, rays_N6hw: Tensor, scale: Tensor | float = 1.0) -> tuple[Tensor, Tensor]:
        """Cameras out of standardised maps: poses, each as the one before sees it, and intrinsics."""
        mean_611, deviation_611 = self.ray_constants(rays_N6hw)
        rays_N6hw = rays_N6hw * deviation_611 + mean_611
        places_N3hw = self.decode_places(rays_N6hw[:, 3:], scale)
        return decode_rays(torch.cat((rays_N6hw[:, :3], places_N3hw), 1), self.patch, self.compat)

    def ray_constants(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of rays, [6, 1, 1] each."""
        mean, deviation = (like.new_tensor(list(row))[:, None, None] for row in (self.ray_mean, self.ray_deviation))
        return mean, deviation

    def standardise(self, codes_BCNhw: Tensor, begins: bool = True) -> Tensor:
        """Codes of a VAE as the network takes them; ``begins``: the first unit of them is the first of a clip."""
        mean_N, deviation_N = self.code_constants(codes_BCNhw, begins)
        return (codes_BCNhw - mean_N) / deviation_N

    def restore(self, codes_BCNhw: Tensor, begins: bool = True) -> Tensor:
        """Codes as the VAE had them."""
        mean_N, deviation_N = self.code_constants(codes_BCNhw, begins)
        return codes_BCNhw * deviation_N + mean_N

    def code_constants(self, like: Tensor, begins: bool) -> tuple[Tensor, Tensor]:
        """Mean and deviation of codes, [N, 1, 1] each.

        Raises:
            ValueError: they aren't known.
        """
        if self.first is None or self.later is None:
            raise ValueError("model.codec.first and later are null: mean and deviation of codes aren't known")
        rows = [self.first if begins and unit == 0 else self.later for unit in range(like.shape[2])]
        mean, deviation = like.new_tensor([list(row) for row in rows]).T[..., None, None].unbind()
        return mean, deviation

    def encode_normals(self, normals: Tensor) -> Tensor:
        """Normals (x right, y down, z ahead), [..., 3], as pictures in [-1, 1]: red is to the right, green up.

        Blue is towards the viewer; what isn't known is 0.
        """
        return normals * normals.new_tensor(TURNED)

    def decode_normals(self, picture: Tensor) -> Tensor:
        """Normals of length 1 out of pictures of them, [..., 3]."""
        return F.normalize(picture, dim=-1) * picture.new_tensor(TURNED)

    def join(
        self,
        pictures_BCNhw: Tensor,
        disparity_BCNhw: Tensor | None,
        rays_B6Nhw: Tensor | None,
        normals_BCNhw: Tensor | None = None,
    ) -> Tensor:
        """A state's channels: the codes that the modalities have, then rays; what isn't known is 0."""
        given = {"colours": pictures_BCNhw, "disparity": disparity_BCNhw, "normals": normals_BCNhw}
        codes = [given[name] for name in self.coded]
        if rays_B6Nhw is None:
            rays_B6Nhw = torch.zeros_like(pictures_BCNhw[:, :1]).expand(-1, RAYS, -1, -1, -1)
        known = [torch.zeros_like(pictures_BCNhw) if code is None else code for code in codes]
        return torch.cat((*known, rays_B6Nhw), 1)

    def split(self, state_BCNhw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Codes of pictures, codes of disparity (no channels where the modalities have none), and rays."""
        codes = self.split_codes(state_BCNhw)
        return codes["colours"], codes.get("disparity", state_BCNhw[:, :0]), state_BCNhw[:, -RAYS:]

    def split_codes(self, state_BCNhw: Tensor) -> dict[str, Tensor]:
        """The codes of a state by what they are of, as :attr:`coded` names them."""
        codes = state_BCNhw[:, :-RAYS].split(self.latent_channels, 1)
        return dict(zip(self.coded, codes, strict=True))


def invert_depth(depth: Tensor) -> Tensor:
    """Disparity of depth: 0 where it is infinite, not a number, 0 or below."""
    known = depth.isfinite() & (depth > 0)
    return torch.where(known, 1 / depth.where(known, torch.ones_like(depth)), torch.zeros_like(depth))


def find_scale(disparity: Tensor) -> Tensor:
    """The scale of a window, from the disparity of its first picture; 1 where nothing of it is known."""
    nearest = disparity.max()
    return torch.where(nearest > 0, 1 / nearest.clamp(min=torch.finfo(disparity.dtype).tiny), torch.ones_like(nearest))
