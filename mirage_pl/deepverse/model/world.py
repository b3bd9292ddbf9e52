"""The world model: a VAE that doesn't learn any more, and a transformer over states of units.

Shapes: B clips of T frames, N units, C channels of a code, S of a state, H x W pixels, h x w places.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Generator, Tensor, nn

from mirage_pl.deepverse.model.cameras import invert, relate
from mirage_pl.deepverse.model.codec import StateCodec
from mirage_pl.deepverse.model.flow import PyramidFlow
from mirage_pl.deepverse.model.mmdit import MMDiT, MmditSizes, Said
from mirage_pl.deepverse.model.released import PARTS, load_world
from mirage_pl.deepverse.model.sampler import Sampler, draw_noise
from mirage_pl.deepverse.model.vae import CausalVAE

Result = TypeVar("Result")
UNKNOWN = (0.0, 1.0)
"""Mean and deviation of codes before they are measured."""
Maps = Mapping[str, Tensor]
"""What a codec codes of clips, by name: pictures, [B, 3, T, H, W], about [-1, 1]; or their codes, [B, C, N, h, w]."""


@dataclass(frozen=True)
class Cameras:
    """Where units are seen from.

    Attributes:
        poses_BN44: camera to world.
        lenses_BN33: in pixels.
    """

    poses_BN44: Tensor
    lenses_BN33: Tensor


class World(nn.Module):
    """Predicts the next unit's state.

    Args:
        vae: of pictures; stays as it is.
        codec: how states are written; where it doesn't say mean and deviation of codes, they are measured.
        sizes: of the transformer.
        prompts: what is said, as numbers.
        flow: stages of noise.
        path: folder of a released model or of an export, whose transformer is taken, too, if it holds one; ``None``:
            untrained.

    Raises:
        ValueError: a transformer of other channels than states, or a folder of another one.
    """

    constants_22: Tensor
    measured: Tensor

    def __init__(
        self,
        vae: CausalVAE,
        codec: StateCodec,
        sizes: MmditSizes,
        prompts: nn.Module,
        flow: PyramidFlow,
        path: str | None = None,
    ) -> None:
        super().__init__()
        if sizes.channels != codec.channels:
            raise ValueError(
                f"model.transformer.channels={sizes.channels}, but a state has {codec.channels}: {len(codec.coded)} "
                f"code(s) of {codec.latent_channels} and 6 of rays"
            )
        self.vae = vae.requires_grad_(False).eval()
        self.transformer, self.prompts, self.flow, self.written = MMDiT(sizes), prompts, flow, codec
        known = codec.first is not None and codec.later is not None
        rows = [list(row or UNKNOWN) for row in (codec.first, codec.later)]
        self.register_buffer("constants_22", torch.tensor(rows))
        self.register_buffer("measured", torch.tensor(known))
        if path is not None and (codes := load_world({name: getattr(self, name) for name in PARTS}, path)) is not None:
            self.constants_22.copy_(torch.tensor(codes))
            self.measured.fill_(True)

    def forward(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Call a function of the model: whatever it does, strategies see one call of one module."""
        return work(*arguments)

    @property
    def codec(self) -> StateCodec:
        """How states are written, with mean and deviation of codes as they were measured."""
        first, later = self.constants_22.tolist()
        return replace(self.written, first=first, later=later)

    @property
    def stride(self) -> int:
        """Frames of a unit."""
        return self.vae.sizes.time

    @property
    def dtype(self) -> torch.dtype:
        """Of the transformer's weights."""
        return self.transformer.proj_out.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return self.constants_22.device

    def measure(self, first: Tensor, later: Tensor) -> None:
        """Take mean and deviation of codes: of the first units of clips, and of later ones."""
        rows = [[float(codes.double().mean()), float(codes.double().std())] for codes in (first, later)]
        self.constants_22.copy_(torch.tensor(rows))
        self.measured.fill_(True)

    def check_size(self, height: int, width: int) -> None:
        """Refuse pictures that can't be halved as often as there are stages.

        Raises:
            ValueError: says what they must be a multiple of.
        """
        least = self.vae.sizes.space * self.transformer.sizes.patch * 2 ** (self.flow.count - 1)
        if height % least or width % least:
            raise ValueError(
                f"model.height={height} and model.width={width} must be multiples of {least}: pixels of a place, times "
                f"places of a token, halved by each of model.flow.count={self.flow.count} stages but one"
            )

    @torch.no_grad()
    def encode(self, pictures: Maps) -> dict[str, Tensor]:
        """Codes of pictures, as the VAE has them."""
        together = torch.cat([pictures[name] for name in self.written.coded]).to(self.vae.dtype)
        codes = self.vae.encode(together).mean_BCNhw.chunk(len(self.written.coded))
        return dict(zip(self.written.coded, codes, strict=True))

    def build_states(self, codes: Maps, cameras: Cameras, scale_B: Tensor, size: tuple[int, int]) -> Tensor:
        """States of clips, [B, S, N, h, w], each camera as the one before sees it.

        Args:
            codes: of :meth:`encode`.
            cameras: of the units, anywhere in the world.
            scale_B: of each clip.
            size: H and W.
        """
        relative = torch.cat([relate(poses_N44) for poses_N44 in cameras.poses_BN44])
        return self.join(codes, Cameras(relative.view_as(cameras.poses_BN44), cameras.lenses_BN33), scale_B, size)

    def build_memory(
        self, codes: Maps, cameras: Cameras, first_B44: Tensor, scale_B: Tensor, size: tuple[int, int]
    ) -> Tensor:
        """A unit of the past as a window is shown it: as the camera of its first unit, ``first_B44``, sees it."""
        place_B44 = invert(first_B44) @ cameras.poses_BN44[:, 0]
        return self.join(codes, Cameras(place_B44[:, None], cameras.lenses_BN33), scale_B, size)

    def join(self, codes: Maps, cameras: Cameras, scale_B: Tensor, size: tuple[int, int]) -> Tensor:
        """States of codes, and of cameras as they are written."""
        units = cameras.poses_BN44.shape[1]
        scale_M1 = scale_B.repeat_interleave(units)[:, None]
        rays_M6hw = self.codec.encode_rays(
            cameras.poses_BN44.flatten(0, 1), cameras.lenses_BN33.flatten(0, 1), size, scale_M1
        )
        return self.write(codes, rays_M6hw.unflatten(0, (-1, units)).transpose(1, 2))

    def write(self, codes: Maps, rays_B6Nhw: Tensor | None) -> Tensor:
        """States of codes as the VAE has them, and of rays; what isn't known is 0."""
        known = {name: self.codec.standardise(code) for name, code in codes.items()}
        return self.codec.join(known["colours"], known.get("disparity"), rays_B6Nhw, known.get("normals"))

    def build_image(self, state_BS1hw: Tensor) -> Tensor:
        """What a walk begins with: a state of which the picture alone is known."""
        return self.codec.join(self.codec.split_codes(state_BS1hw)["colours"], None, None)

    def say(self, prompts_B: Tensor, memory: Tensor | None = None, on_B: Tensor | None = None) -> Said:
        """What is said of a unit, by the numbers of :data:`mirage_pl.deepverse.model.prompts.PROMPTS`."""
        tokens, valid, pooled = self.prompts(prompts_B)
        return Said(tokens, valid, pooled, memory, on_B)

    @torch.no_grad()
    def draw_units(
        self,
        sampler: Sampler,
        past_BSNhw: Tensor,
        prompts_BU: Tensor,
        streams: Sequence[Generator],
        memory: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Draw U units, one after the other; return them, [B, S, U, h, w].

        Args:
            sampler: how.
            past_BSNhw: units before, or of :meth:`build_image`, which is followed by one unit alone.
            prompts_BU: what is said of each.
            streams: random numbers of each row.
            memory: a state and the rows in which it counts; ``None``: none.
        """
        units, past = list[Tensor](), past_BSNhw.to(self.dtype)
        memory = None if memory is None else (memory[0].to(self.dtype), memory[1])
        shape = past.shape[1], past.shape[3], past.shape[4]
        empty = self.say(torch.zeros_like(prompts_BU[:, 0]))
        for prompts_B in prompts_BU.unbind(1):
            said = self.say(prompts_B, *(memory or ()))
            noise = draw_noise(self.flow, shape, streams, past)
            units.append(sampler.draw(self.flow, self.transformer, past, said, empty, noise)[-1])
            past = torch.cat((past, units[-1]), 2)
        return torch.cat(units, 2)

    @torch.no_grad()
    def show(self, states_BSNhw: Tensor) -> tuple[dict[str, Tensor], Cameras]:
        """What states look like, and where they are seen from, each camera as the one before sees it."""
        codec, states_BSNhw = self.codec, states_BSNhw.float()
        codes = [codec.restore(code) for code in codec.split_codes(states_BSNhw).values()]
        pictures = self.vae.decode(torch.cat(codes).to(self.vae.dtype)).float().chunk(len(codes))
        _, _, rays_B6Nhw = codec.split(states_BSNhw)
        poses_M44, lenses_M33 = codec.decode_rays(rays_B6Nhw.transpose(1, 2).flatten(0, 1))
        units = states_BSNhw.shape[2]
        cameras = Cameras(poses_M44.unflatten(0, (-1, units)), lenses_M33.unflatten(0, (-1, units)))
        return dict(zip(codec.coded, pictures, strict=True)), cameras
