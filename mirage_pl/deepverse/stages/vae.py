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
from mirage_pl.deepverse.pictures import draw_colours, draw_disparity, find_scales
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.draws import row_stream

CARD = """A causal video VAE of colours and disparity (DeepVerse, arXiv 2506.01103).

`{weights}` has the names of the released one, `config.json` our sizes. Pixels are in [-1, 1]; disparity is a map copied
to three channels. `patch` other than 1, `time_kernel` other than 3, `attends: false` and `straight` aren't
in the release.
"""
LEAST = 0.1
"""Root of the disparity, as a share of the nearest, below which farther things don't count more."""


class Autoencode(BaseModule):
    """Learn codes of clips, colours and disparity alike, from which they can be seen again.

    Args:
        codec: what disparity is as a picture.
        far: 0: errors of disparity count alike; 1: as shares of it, so that those of far things count as those of near.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`; ``net`` is the VAE.
    """

    def __init__(self, codec: StateCodec, far: Annotated[float, Ge(0)], **base: Any) -> None:
        super().__init__(**base)
        self.codec, self.far = codec, far

    @property
    def vae(self) -> CausalVAE:
        """What is trained."""
        vae: CausalVAE = self.net  # type: ignore[assignment]
        return vae

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``colours`` and ``disparity``: absolute errors; ``information``: of a code's number, in nats."""
        pictures_M3THW = self.draw_pictures(batch)
        codes, back_M3THW = self.net(pictures_M3THW, self.draw_noise(batch, pictures_M3THW))
        error_colours, error_disparity = (back_M3THW - pictures_M3THW).abs().chunk(2)
        root = ((pictures_M3THW.chunk(2)[1] + 1) / 2).clamp(min=LEAST, max=1)
        return {
            "colours": error_colours.mean(),
            "disparity": (error_disparity / root**self.far).mean(),
            "information": codes.measure_information().mean(),
        }

    def draw_pictures(self, batch: Batch) -> Tensor:
        """Colours of all clips, then disparity of all clips, [2 B, 3, T, H, W]."""
        depth_BTHW = batch.depth_BTHW.to(self.device, self.vae.dtype)
        colours = draw_colours(batch.frames_BTCHW.to(self.device), self.vae.dtype)
        return torch.cat((colours, draw_disparity(self.codec, depth_BTHW, find_scales(depth_BTHW))))

    def draw_noise(self, batch: Batch, pictures_M3THW: Tensor) -> Tensor | None:
        """The noise of this step's codes, drawn clip by clip; ``None``, the mean of codes, outside training."""
        if not self.training:
            return None
        sizes = self.vae.sizes
        height, width = (side // sizes.space for side in pictures_M3THW.shape[3:])
        shape = (2, sizes.latent_channels, self.vae.count_units(pictures_M3THW.shape[2]), height, width)
        streams = [row_stream(self.seed, Path(clip.where).name, self.step) for clip in batch.samples]
        noise = torch.stack([torch.randn(shape, generator=stream) for stream in streams], 1)
        return noise.flatten(0, 1).to(pictures_M3THW)

    def reconstruct(self, batch: Batch) -> tuple[Codes, Tensor, Tensor]:
        """Codes of a batch as :meth:`draw_pictures` has it, and colours and disparity that their means decode to."""
        codes, back_M3THW = self.net(self.draw_pictures(batch))
        colours, disparity = back_M3THW.chunk(2)
        return codes, colours, disparity

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """Both halves."""
        net = self.vae
        return {"encoder": [net.encoder, net.quant_conv], "decoder": [net.decoder, net.post_quant_conv]}

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write a folder as the release has it, in one file whatever its size, and read the weights back."""
        (folder / "README.md").write_text(CARD.format(weights=WEIGHTS))
        return {f"net.{name}": weight for name, weight in write_folder(self.vae, folder).items()}
