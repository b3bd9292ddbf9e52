"""One use of a trained VAE: a clip through its codes and back, beside the clip."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.episodes.episode import Episode
from data_modules.episodes.form import Form, as_plain
from data_modules.episodes.geometry import Geometry, shade_depth
from data_modules.episodes.normals import find_normals, shade_normals
from data_modules.episodes.recording import read_episode
from data_modules.episodes.video import Clip, place_beside, read_frames
from mirage_pl.deepverse.batch import fit_depth, fit_frames, fit_lens, fit_normals
from mirage_pl.deepverse.clouds import build_cloud
from mirage_pl.deepverse.model.vae import CausalVAE
from mirage_pl.deepverse.pictures import (
    draw_colours,
    draw_disparity,
    draw_normals,
    find_scales,
    read_colours,
    read_pictures,
)
from mirage_pl.deepverse.scenes import Scene
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
        """Write a clip beside what its codes have of it, and below both their depth and normals, where it has them.

        With intrinsics, too, the last frame's depth out of the codes becomes points, as that frame's camera sees them.

        Args:
            clip: ``.npz``, ``.gif`` or ``.mp4``; frames beyond the last whole unit are left out.

        Raises:
            ValueError: no such clip.
        """
        if clip is None:
            raise ValueError("give clip=FILE: an .npz episode, a .gif or an .mp4")
        episode, model = self.read(Path(clip)), self.trained.config.model
        size, space, coded = (
            (model.height, model.width),
            episode.geometry or Geometry(),
            self.trained.module.codec.coded,
        )
        maps = dict[str, Tensor]()
        if "disparity" in coded and space.depth_THW is not None:
            maps["disparity"] = fit_depth(space.depth_THW, size)
        if "normals" in coded and {"normals", "depth"} & space.arrays().keys():
            maps["normals"] = fit_normals(find_normals(space), size)
        lens = None
        if space.intrinsics_T33 is not None:
            _, height, width, _ = episode.frames_THWC.shape
            lens = fit_lens(space.intrinsics_T33, height, width, size)
        yield from self.step(fit_frames(episode.frames_THWC, size), maps, lens)

    def read(self, file: Path) -> Episode:
        """Read a clip, and where it is an ``.npz`` its depth."""
        form = as_plain(self.trained.config.task.form)
        if file.suffix.lower() != ".npz":
            return Episode(read_frames(file, form["keys"]), None, None)
        return read_episode(file, Form(**form))

    @torch.no_grad()
    def step(self, frames_TCHW: Tensor, maps: Mapping[str, Tensor], lens_T33: Tensor | None = None) -> Iterator[Piece]:
        """Show one clip at the model's size; with depth and lens its last frame as points, too.

        Args:
            frames_TCHW: uint8.
            maps: depth, [T, H, W], as ``disparity``, and ``normals``, [T, H, W, 3], those that there are.
            lens_T33: in pixels.
        """
        vae, codec = self.trained.module.vae, self.trained.module.codec
        given = {name: each[None].to(self.trained.device, vae.dtype) for name, each in maps.items()}
        pictures = {"colours": draw_colours(frames_TCHW[None].to(self.trained.device), vae.dtype)}
        if "disparity" in given:
            pictures["disparity"] = draw_disparity(codec, given["disparity"], find_scales(given["disparity"]))
        if "normals" in given:
            pictures["normals"] = draw_normals(codec, given["normals"])
        coded = {name: self.code(vae, each) for name, each in pictures.items()}
        ours = {name: each.float() for name, (_, each) in coded.items()}
        count = ours["colours"].shape[2]
        truth = {name: each[:, :count].float() for name, each in given.items()}
        truth["colours"] = read_colours(pictures["colours"][:, :, :count].float())
        read = read_pictures(codec, ours, truth)
        rows = [place_beside(shade_pair(name, truth[name][0].cpu(), read[name][0].cpu())) for name in read]
        numbers = sum(numbers for numbers, _ in coded.values())
        yield Piece("text", f"{numbers} numbers of {count} frames; left the clip, right what they have of it\n")
        clip = Clip(np.concatenate(rows, 1))
        yield Piece("clip", clip, "reconstruction.mp4")
        yield Piece("clip", clip, "reconstruction.gif")
        if "disparity" in read and lens_T33 is not None:
            last = read["colours"][0, -1].cpu(), read["disparity"][0, -1].cpu()
            cloud = build_cloud(*last, torch.eye(4), lens_T33[count - 1])
            yield Piece("cloud", cloud, "reconstruction.ply")
            yield Piece("cloud", Scene([cloud]), "reconstruction.glb")

    def code(self, vae: CausalVAE, pictures_13THW: Tensor) -> tuple[int, Tensor]:
        """How many numbers the codes of a clip have, and what they decode to."""
        codes = vae.encode(pictures_13THW, piece=PIECE).mean_BCNhw
        return codes.numel(), vae.decode(codes, piece=PIECE)


def shade_pair(name: str, truth: Tensor, ours: Tensor) -> list[NDArray[np.uint8]]:
    """Two clips of frames, depth or normals for eyes, by the same shades, [T, H, W, 3] each."""
    if name == "colours":
        return [to_pixels(each) for each in (truth, ours)]
    shade = shade_depth if name == "disparity" else shade_normals
    return list(np.split(shade(torch.cat((truth, ours)).numpy()), 2))
