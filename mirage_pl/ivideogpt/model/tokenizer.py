"""The compressive tokenizer: a clip's first frames as many codes each, every later frame as few.

Shapes: B clips, T context frames, F dynamics frames, N and n codes of each, C channels, G x G the grid of a context
frame's codes, H rows and W columns of pixels in [0, 1].
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.ivideogpt.model.coders import RGB, Decoder, Encoder, Sizes
from mirage_pl.ivideogpt.model.conditional import ConditionalDecoder, ConditionalEncoder
from mirage_pl.ivideogpt.model.layout import TokenLayout
from mirage_pl.ivideogpt.model.quantizer import Quantized, Quantizer

Painting = Literal["plain", "residual", "gated"]


class Scene(NamedTuple):
    """What a clip's context gives to the frames after it.

    Attributes:
        frames_BTCHW: the context as its codes have it.
        features: of the context decoder, [B T, C, H, W] each.
        newest_BCHW: pixels of the newest context frame: as given, or else as its codes have them.
    """

    frames_BTCHW: Tensor
    features: list[Tensor]
    newest_BCHW: Tensor

    def take(self, rows_b: Tensor) -> "Scene":
        """The scenes of some clips; one may be taken often."""
        count = self.frames_BTCHW.shape[:2]
        features = [each.unflatten(0, count)[rows_b].flatten(0, 1) for each in self.features]
        return Scene(self.frames_BTCHW[rows_b], features, self.newest_BCHW[rows_b])


class Reconstruction(NamedTuple):
    """A clip that went through its codes.

    Attributes:
        context_BTCHW: context frames, not clamped.
        dynamics_BFCHW: the others, not clamped.
        context: codes and loss of the context, [B T, N].
        dynamics: codes and loss of the others, [B F, n].
    """

    context_BTCHW: Tensor
    dynamics_BFCHW: Tensor
    context: Quantized
    dynamics: Quantized


class Glance(nn.Module):
    """The shortest way between pixels and codes, patch by patch: what a patch shows, and what its code paints.

    Through the coders alone an untrained decoder doesn't heed codes, and for most seeds all of them become the same.

    Args:
        sizes: of the tokenizer.
        grid: patches in each direction.
        painted: channels that are painted.
    """

    def __init__(self, sizes: Sizes, grid: int, painted: int) -> None:
        super().__init__()
        self.grid, self.side = grid, sizes.resolution // grid
        self.into = nn.Linear(RGB * self.side**2, sizes.latent_channels, bias=False)
        self.back = nn.Linear(sizes.latent_channels, painted * self.side**2, bias=False)

    def read(self, pixels_MCHW: Tensor) -> Tensor:
        """What patches add to the vectors that become codes, [M, n, C]."""
        added_MnC: Tensor = self.into(F.pixel_unshuffle(pixels_MCHW, self.side).flatten(2).mT)
        return added_MnC

    def write(self, vectors_MnC: Tensor) -> Tensor:
        """What the vectors of codes paint, [M, painted, H, W]."""
        patches_MPGG = self.back(vectors_MnC).mT.unflatten(2, (self.grid, self.grid))
        return F.pixel_shuffle(patches_MPGG, self.side)


class Tokenizer(nn.Module):
    """Context and conditional autoencoder around two quantizers.

    Args:
        sizes: of all four networks.
        context_quantizer: channels -> quantizer of context frames.
        dynamics_quantizer: channels -> quantizer of the others.
        decode: ``plain``: a frame is what the decoder returns, as published; ``residual``: what it adds to the newest
            context frame, nothing at first; ``gated``: what it paints over that frame through a gate, with that frame's
            pixels before it.
    """

    def __init__(
        self,
        sizes: Sizes,
        context_quantizer: Callable[[int], nn.Module],
        dynamics_quantizer: Callable[[int], nn.Module],
        decode: Painting = "plain",
    ) -> None:
        super().__init__()
        if decode not in ("plain", "residual", "gated"):
            raise ValueError(f"decode={decode} is unknown; choose plain, residual or gated")
        self.sizes, self.painting = sizes, decode
        channels, patch = sizes.latent_channels, sizes.patch_size
        self.encoder = Encoder(sizes, sizes.mid_block_add_attention)
        self.decoder = Decoder(sizes, sizes.mid_block_add_attention)
        self.cond_encoder = ConditionalEncoder(sizes, gated=decode == "gated")
        self.cond_decoder = ConditionalDecoder(sizes, gated=decode == "gated")
        whole = sizes.context_patch
        self.quant_conv = nn.Conv2d(channels, channels, whole, whole)
        back = nn.Conv2d if whole == 1 else nn.ConvTranspose2d
        self.post_quant_conv = back(channels, channels, whole, whole)
        self.quant_linear = nn.Linear(channels * patch**2, channels)
        self.post_quant_linear = nn.Linear(channels, channels * patch**2)
        self.quantize: Quantizer = context_quantizer(channels)  # type: ignore[assignment]
        self.dynamics_quantize: Quantizer = dynamics_quantizer(channels)  # type: ignore[assignment]
        gated = decode == "gated"
        self.glance = Glance(sizes, sizes.dynamics_grid, RGB + 1) if gated else None
        self.context_glance = Glance(sizes, sizes.context_grid, RGB) if gated else None
        self.begin_near_context()

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights; frames come in it."""
        return self.quant_conv.weight.dtype

    def begin_near_context(self) -> None:
        """Let an untrained ``residual`` decoder begin with the newest context frame, a ``gated`` one half open."""
        with torch.no_grad():
            if self.painting == "residual":
                self.cond_decoder.conv_out.weight.zero_()
            if self.painting != "plain":
                self.cond_decoder.conv_out.bias.zero_()  # type: ignore[union-attr]

    def describe(self) -> dict[str, Any]:
        """All sizes by the names of the published ``config.json``, and what the release doesn't have."""
        sizes = asdict(self.sizes) | {"block_out_channels": list(self.sizes.block_out_channels)}
        books = {"num_vq_embeddings": self.quantize.num_codes, "num_dyn_embeddings": self.dynamics_quantize.num_codes}
        kinds = {"quantizers": [type(each).__name__ for each in (self.quantize, self.dynamics_quantize)]}
        levels = [getattr(each, "levels", None) for each in (self.quantize, self.dynamics_quantize)]
        return sizes | books | kinds | {"levels": levels, "decode": self.painting}

    def layout(self, compat: bool = False) -> TokenLayout:
        """The layout of a clip's codes."""
        tokens = self.sizes.context_grid**2, self.sizes.dynamics_grid**2
        codes = self.quantize.num_codes, self.dynamics_quantize.num_codes
        return TokenLayout(*codes, *tokens, self.sizes.context_length, compat)

    def forward(self, frames_BTCHW: Tensor) -> Reconstruction:
        """Encode clips and decode them, with gradients."""
        context_BTCHW, frames_BFCHW = self.divide(frames_BTCHW)
        latents, features = self.embed_context(context_BTCHW)
        context = self.quantize(latents)
        dynamics = self.dynamics_quantize(self.embed_dynamics(frames_BFCHW, features, context_BTCHW[:, -1]))
        scene = self.paint_context(context.vectors_MNC, context_BTCHW)
        return Reconstruction(scene.frames_BTCHW, self.paint_frames(dynamics.vectors_MNC, scene), context, dynamics)

    def encode(self, frames_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes of clips: [B, T, N] of the context and [B, F, n] of the other frames."""
        context_BTCHW, frames_BFCHW = self.divide(frames_BTCHW)
        latents, features = self.embed_context(context_BTCHW)
        ids_MN = self.quantize(latents).ids_MN
        latents = self.embed_dynamics(frames_BFCHW, features, context_BTCHW[:, -1])
        ids_Mn = self.dynamics_quantize(latents).ids_MN
        return ids_MN.unflatten(0, context_BTCHW.shape[:2]), ids_Mn.unflatten(0, frames_BFCHW.shape[:2])

    def encode_context(self, context_BTCHW: Tensor) -> Tensor:
        """Return the codes of context frames alone, [B, T, N]."""
        latents, _ = self.embed_context(context_BTCHW)
        return self.quantize(latents).ids_MN.unflatten(0, context_BTCHW.shape[:2])

    def decode_context(self, ids_BTN: Tensor, context_BTCHW: Tensor | None = None) -> Scene:
        """Decode context codes into what :meth:`decode_frames` needs, once for all of a clip's frames.

        Args:
            ids_BTN: codes.
            context_BTCHW: the context's pixels; ``None``: what its codes have of them.
        """
        vectors_MNC = self.quantize.look_up(ids_BTN.flatten(0, 1))
        return self.paint_context(vectors_MNC, context_BTCHW, len(ids_BTN))

    def decode_frames(self, ids_BFn: Tensor, scene: Scene) -> Tensor:
        """Decode the codes of any frames after the context; [B, F, RGB, H, W], not clamped."""
        return self.paint_frames(self.dynamics_quantize.look_up(ids_BFn.flatten(0, 1)), scene)

    def divide(self, frames_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Divide clips into context and other frames.

        Raises:
            ValueError: there are no others, or frames have another size.
        """
        length, size = frames_BTCHW.shape[1], tuple(frames_BTCHW.shape[2:])
        if length <= self.sizes.context_length:
            raise ValueError(
                f"a clip of {length} frame(s) has none after its context_length={self.sizes.context_length}"
            )
        if size != (RGB, self.sizes.resolution, self.sizes.resolution):
            raise ValueError(f"frames of shape {size} don't fit resolution={self.sizes.resolution}; resize them")
        return frames_BTCHW[:, : self.sizes.context_length], frames_BTCHW[:, self.sizes.context_length :]

    def embed_context(self, context_BTCHW: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return what becomes the context's codes, [B T, N, C], and the features that other frames' encoder reads."""
        frames_MCHW = context_BTCHW.flatten(0, 1)
        latents_MCGG, features = self.encoder(frames_MCHW)
        vectors_MNC = self.quant_conv(latents_MCGG).flatten(2).mT
        if self.context_glance is not None:
            vectors_MNC = vectors_MNC + self.context_glance.read(frames_MCHW - 0.5)
        return vectors_MNC, features

    def embed_dynamics(self, frames_BFCHW: Tensor, features: list[Tensor], newest_BCHW: Tensor) -> Tensor:
        """Return what becomes the codes of the other frames, [B F, n, C]."""
        latents_MCGG = self.cond_encoder.encode(frames_BFCHW, features, newest_BCHW)
        patch, side = self.sizes.patch_size, self.sizes.dynamics_grid
        patches = latents_MCGG.unflatten(3, (side, patch)).unflatten(
            2, (side, patch)
        )  # M, C, row, in it, column, in it
        vectors_MnC: Tensor = self.quant_linear(patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2))
        if self.glance is not None:
            vectors_MnC = vectors_MnC + self.glance.read((frames_BFCHW - newest_BCHW[:, None]).flatten(0, 1))
        return vectors_MnC

    def paint_context(self, vectors_MNC: Tensor, context_BTCHW: Tensor | None, num_clips: int = 0) -> Scene:
        """Decode the context's vectors; without its pixels the number of clips is needed."""
        clips = num_clips or len(context_BTCHW)  # type: ignore[arg-type]
        latents_MCGG = vectors_MNC.mT.unflatten(2, (self.sizes.context_grid, self.sizes.context_grid))
        frames_MCHW, features = self.decoder(self.post_quant_conv(latents_MCGG))
        if self.context_glance is not None:
            frames_MCHW = frames_MCHW + self.context_glance.write(vectors_MNC)
        frames_BTCHW = frames_MCHW.unflatten(0, (clips, -1))
        newest_BCHW = (frames_BTCHW.clamp(0, 1) if context_BTCHW is None else context_BTCHW)[:, -1]
        return Scene(frames_BTCHW, features, newest_BCHW)

    def paint_frames(self, vectors_MnC: Tensor, scene: Scene) -> Tensor:
        """Decode the vectors of frames after the context; [B, F, RGB, H, W]."""
        patch, side = self.sizes.patch_size, self.sizes.dynamics_grid
        patches = self.post_quant_linear(vectors_MnC).unflatten(2, (patch, patch, -1)).unflatten(1, (side, side))
        latents_MCGG = patches.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
        painted_BFCHW = self.cond_decoder.decode(latents_MCGG, scene.features, scene.newest_BCHW)
        if self.glance is not None:
            painted_BFCHW = painted_BFCHW + self.glance.write(vectors_MnC).view_as(painted_BFCHW)
        newest_B1CHW = scene.newest_BCHW[:, None]
        if self.painting == "residual":
            return newest_B1CHW + painted_BFCHW
        if self.painting == "gated":
            gate_BF1HW = painted_BFCHW[:, :, RGB:].sigmoid()
            return newest_B1CHW + gate_BF1HW * (painted_BFCHW[:, :, :RGB] - newest_B1CHW)
        return painted_BFCHW


def shrink_context(weights: Mapping[str, Tensor], before: int, after: int) -> dict[str, Tensor]:
    """Return the weights of a tokenizer with fewer context frames: tables of places keep those of the newest frames.

    Args:
        weights: its state dict.
        before: its context frames.
        after: at most as many.

    Raises:
        ValueError: more than there were.
    """
    if not 0 < after <= before:
        raise ValueError(f"context_length={after} must be 1 to {before}, as it was; it can't grow")
    keys = {name: len(table) * after // before for name, table in weights.items() if name.endswith("kv_pos_emb")}
    return {name: weight[-keys[name] :] if name in keys else weight for name, weight in weights.items()}
