"""One use of a trained VAE: a clip through its codes and back, beside the clip."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.episodes.episode import Episode
from data_modules.episodes.form import Form, as_plain
from data_modules.episodes.geometry import shade_depth
from data_modules.episodes.recording import read_episode
from data_modules.episodes.video import Clip, place_beside, read_frames
from mirage_pl.deepverse.batch import fit_depth, fit_frames, fit_lens
from mirage_pl.deepverse.clouds import build_cloud
from mirage_pl.deepverse.model.vae import CausalVAE
from mirage_pl.deepverse.pictures import draw_colours, draw_disparity, find_scales, read_colours, read_depth
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.seams import Piece

PIECE = 4
"""Units that are coded at a time, so that a long clip needs no more memory than a short one."""


class Reconstruct:
    """``conf/session/deepverse/reconstruct.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
    """

    def __init__(self, trained: Trained, takes: Mapping[str, str]) -> None:
        self.trained, self.takes = trained, takes

    def begin(self, clip: str | None = None) -> Iterator[Piece]:
        """Write a clip beside what its codes have of it, and below both their depth, where the clip has one.

        With intrinsics, too, the last frame's depth out of the codes becomes points, as that frame's camera sees them.

        Args:
            clip: ``.npz``, ``.gif`` or ``.mp4``; frames beyond the last whole unit are left out.

        Raises:
            ValueError: no such clip.
        """
        if clip is None:
            raise ValueError("give clip=FILE: an .npz episode, a .gif or an .mp4")
        episode, model = self.read(Path(clip)), self.trained.config.model
        size, space = (model.height, model.width), episode.geometry
        depth = None if space is None or space.depth_THW is None else fit_depth(space.depth_THW, size)
        lens = None
        if space is not None and space.intrinsics_T33 is not None:
            _, height, width, _ = episode.frames_THWC.shape
            lens = fit_lens(space.intrinsics_T33, height, width, size)
        yield from self.step(fit_frames(episode.frames_THWC, size), depth, lens)

    def read(self, file: Path) -> Episode:
        """Read a clip, and where it is an ``.npz`` its depth."""
        form = as_plain(self.trained.config.task.form)
        if file.suffix.lower() != ".npz":
            return Episode(read_frames(file, form["keys"]), None, None)
        return read_episode(file, Form(**form))

    @torch.no_grad()
    def step(self, frames_TCHW: Tensor, depth_THW: Tensor | None, lens_T33: Tensor | None = None) -> Iterator[Piece]:
        """Show one clip of uint8 frames at the model's size; with depth and lens its last frame as points, too."""
        vae: CausalVAE = self.trained.module.vae
        codec, device = self.trained.module.codec, self.trained.device
        colours = draw_colours(frames_TCHW[None].to(device), vae.dtype)
        numbers, ours = self.code(vae, colours)
        pairs = [[to_pixels(read_colours(each.float())[0]) for each in (colours[:, :, : ours.shape[2]], ours)]]
        if depth_THW is not None:
            depth = depth_THW[None].to(device, vae.dtype)
            scale = find_scales(depth)
            count, back = self.code(vae, draw_disparity(codec, depth, scale))
            numbers += count
            shown = torch.cat((depth[:, : back.shape[2]], read_depth(codec, back, scale))).float().cpu()
            pairs.append(list(np.split(shade_depth(shown.flatten(0, 1).numpy()), 2)))
            far_HW = read_depth(codec, back, scale)[0, -1].float().cpu()
        pixels = place_below([place_beside(pair) for pair in pairs])
        said = f"{numbers} numbers of {len(pixels)} frames; left the clip, right what they have of it\n"
        yield Piece("text", said)
        yield Piece("clip", Clip(pixels), "reconstruction.mp4")
        yield Piece("clip", Clip(pixels), "reconstruction.gif")
        if depth_THW is not None and lens_T33 is not None:
            frame_3HW = read_colours(ours.float())[0, -1].cpu()
            lens_33 = lens_T33[len(pixels) - 1]
            yield Piece("cloud", build_cloud(frame_3HW, far_HW, torch.eye(4), lens_33), "reconstruction.ply")

    def code(self, vae: CausalVAE, pictures_13THW: Tensor) -> tuple[int, Tensor]:
        """How many numbers the codes of a clip have, and what they decode to."""
        codes = vae.encode(pictures_13THW, piece=PIECE).mean_BCNhw
        return codes.numel(), vae.decode(codes, piece=PIECE)


def place_below(clips: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Clips of one width below each other, [T, H, W, 3]."""
    return np.concatenate(clips, 1)
