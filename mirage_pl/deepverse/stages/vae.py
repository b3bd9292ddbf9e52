"""The stage of the VAE. Shapes: B clips, T frames, N units, C channels of a code, H x W pixels, h x w places."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge
from torch import Tensor, nn

from mirage_pl.deepverse.batch import Batch
from mirage_pl.deepverse.model.codec import StateCodec
from mirage_pl.deepverse.model.released import WEIGHTS, write_folder
from mirage_pl.deepverse.model.vae import CausalVAE, Codes
from mirage_pl.deepverse.pictures import draw_colours, draw_disparity, draw_normals, find_scales
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.draws import row_stream

CARD = """A causal video VAE of colours, disparity and normals (DeepVerse, arXiv 2506.01103).

`{weights}` has the names of the released one, `config.json` our sizes. Pixels are in [-1, 1]; disparity is a map copied
to three channels; normals are x to the right, y up, z towards the viewer. `patch` other than 1, `time_kernel` other
than 3, `attends: false` and `straight` aren't in the release.
"""
INFORMATION = "information"
STEADY = 1e-8
"""Squared error below which a frame's root doesn't pull any harder."""
LEAST = 0.1
"""Root of the disparity, as a share of the nearest, below which farther things don't count more."""


class Autoencode(BaseModule):
    """Learn codes of clips, colours, disparity and normals alike, from which they can be seen again.

    Args:
        codec: what disparity is as a picture.
        far: 0: errors of disparity count alike; 1: as shares of it, so that those of far things count as those of near.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`; ``net`` is the VAE; of ``loss_weights`` those of
            pictures that the codec hasn't are left out.
    """

    def __init__(self, codec: StateCodec, far: Annotated[float, Ge(0)], **base: Any) -> None:
        wanted = (*codec.coded, INFORMATION)
        base["loss_weights"] = {name: weight for name, weight in base["loss_weights"].items() if name in wanted}
        super().__init__(**base)
        self.codec, self.far = codec, far

    @property
    def vae(self) -> CausalVAE:
        """What is trained."""
        vae: CausalVAE = self.net  # type: ignore[assignment]
        return vae

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Of ``colours`` each frame's root of the mean squared error, which PSNR is of; of others absolute errors.

        ``information``: of a code's number, in nats.
        """
        pictures_M3THW = self.draw_pictures(batch)
        codes, back_M3THW = self.net(pictures_M3THW, self.draw_noise(batch, pictures_M3THW))
        names = self.codec.coded
        errors = dict(zip(names, (back_M3THW - pictures_M3THW).abs().chunk(len(names)), strict=True))
        losses = {name: error.mean() for name, error in errors.items()}
        losses["colours"] = (errors["colours"].square().mean((1, 3, 4)) + STEADY).sqrt().mean()
        if "disparity" in errors:
            root = ((pictures_M3THW.chunk(len(names))[1] + 1) / 2).clamp(min=LEAST, max=1)
            losses["disparity"] = (errors["disparity"] / root**self.far).mean()
        return losses | {INFORMATION: codes.measure_information().mean()}

    def draw_pictures(self, batch: Batch) -> Tensor:
        """Colours of all clips, then disparity of all clips, then normals, as the codec has them, [K B, 3, T, H, W].

        Raises:
            ValueError: clips aren't of whole units.
        """
        frames, unit, dtype = batch.frames_BTCHW.shape[1], self.vae.sizes.time, self.vae.dtype
        if (frames - 1) % unit:
            fitting = (frames - 1) // unit * unit + 1
            raise ValueError(
                f"{batch.samples[0].where}: a clip of {frames} frames; the VAE codes one, then {unit} at a time: give "
                f"task.window.length={fitting} or {fitting + unit}"
            )
        pictures = [draw_colours(batch.frames_BTCHW.to(self.device), dtype)]
        if "disparity" in self.codec.coded:
            depth_BTHW = batch.depth_BTHW.to(self.device, dtype)
            pictures.append(draw_disparity(self.codec, depth_BTHW, find_scales(depth_BTHW)))
        if "normals" in self.codec.coded:
            pictures.append(draw_normals(self.codec, batch.normals_BTHW3.to(self.device, dtype)))
        return torch.cat(pictures)

    def draw_noise(self, batch: Batch, pictures_M3THW: Tensor) -> Tensor | None:
        """The noise of this step's codes, drawn clip by clip; ``None``, the mean of codes, outside training."""
        if not self.training:
            return None
        sizes = self.vae.sizes
        height, width = (side // sizes.space for side in pictures_M3THW.shape[3:])
        shape = (
            len(self.codec.coded),
            sizes.latent_channels,
            self.vae.count_units(pictures_M3THW.shape[2]),
            height,
            width,
        )
        streams = [row_stream(self.seed, Path(clip.where).name, self.step) for clip in batch.samples]
        noise = torch.stack([torch.randn(shape, generator=stream) for stream in streams], 1)
        return noise.flatten(0, 1).to(pictures_M3THW)

    def reconstruct(self, batch: Batch) -> tuple[Codes, dict[str, Tensor]]:
        """Codes of a batch as :meth:`draw_pictures` has it, and the pictures that their means decode to, by name."""
        codes, back_M3THW = self.net(self.draw_pictures(batch))
        return codes, dict(zip(self.codec.coded, back_M3THW.chunk(len(self.codec.coded)), strict=True))

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """Both halves."""
        net = self.vae
        return {"encoder": [net.encoder, net.quant_conv], "decoder": [net.decoder, net.post_quant_conv]}

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write a folder as the release has it, in one file whatever its size, and read the weights back."""
        (folder / "README.md").write_text(CARD.format(weights=WEIGHTS))
        return {f"net.{name}": weight for name, weight in write_folder(self.vae, folder).items()}
