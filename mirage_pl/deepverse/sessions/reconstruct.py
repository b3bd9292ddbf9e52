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
from data_modules.episodes.normals import find_normals, shade_normals
from data_modules.episodes.recording import read_episode
from data_modules.episodes.video import Clip, place_beside, read_frames
from mirage_pl.deepverse.batch import fit_depth, fit_frames, fit_lens, fit_normals
from mirage_pl.deepverse.model.vae import CausalVAE
from mirage_pl.deepverse.pictures import (
    draw_colours,
    draw_disparity,
    draw_normals,
    find_scales,
    read_colours,
    read_pictures,
)
from mirage_pl.deepverse.scenes import build_scene
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.seams import Piece

RATE = 2.0
"""Units a second, of points."""
PIECE = 4
"""Units that are coded at a time, so that a long clip needs no more memory than a short one."""


class Reconstruct:
    """``conf/session/deepverse/reconstruct.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
    """

    uses = ("module.vae", "module.codec.coded")

    def __init__(self, trained: Trained, takes: Mapping[str, str]) -> None:
        self.trained, self.takes = trained, takes

    def begin(self, clip: str | None = None) -> Iterator[Piece]:
        """Write a clip beside what its codes have of it, and below both their depth and normals, where it has them.

        With intrinsics, too, depth out of the codes becomes points, after it was made to agree with normals where they
        are coded: of the last frame, as its camera sees them, and with poses of a frame of each unit in turn.

        Args:
            clip: ``.npz``, ``.gif`` or ``.mp4``; frames beyond the last whole unit are left out.

        Raises:
            ValueError: no such clip.
        """
        if clip is None:
            raise ValueError("give clip=FILE: an .npz episode, a .gif or an .mp4")
        episode, model = self.read(Path(clip)), self.trained.config.model
        size, space, coded = (model.height, model.width), episode.geometry, self.trained.module.codec.coded
        frames = fit_frames(episode.frames_THWC, size)
        if space is None:
            yield from self.show(frames, {}, {})
            return
        maps, cameras = dict[str, Tensor](), dict[str, Tensor]()
        if "disparity" in coded and space.depth_THW is not None:
            maps["disparity"] = fit_depth(space.depth_THW, size)
        derived = {"depth", "intrinsics"} <= space.arrays().keys()
        if "normals" in coded and (derived or space.normals_THW3 is not None):
            maps["normals"] = fit_normals(find_normals(space), size)
        if space.intrinsics_T33 is not None:
            _, height, width, _ = episode.frames_THWC.shape
            cameras["lens"] = fit_lens(space.intrinsics_T33, height, width, size)
        if space.poses_T44 is not None:
            cameras["poses"] = torch.from_numpy(space.poses_T44)
        yield from self.show(frames, maps, cameras)

    def step(self, clip: str | None = None) -> Iterator[Piece]:
        """Write a further clip."""
        yield from self.begin(clip)

    def read(self, file: Path) -> Episode:
        """Read a clip, and where it is an ``.npz`` its depth."""
        form = as_plain(self.trained.config.task.form)
        if file.suffix.lower() != ".npz":
            return Episode(read_frames(file, form["keys"]), None, None)
        return read_episode(file, Form(**form))

    @torch.no_grad()
    def show(self, frames_TCHW: Tensor, maps: Mapping[str, Tensor], cameras: Mapping[str, Tensor]) -> Iterator[Piece]:
        """Show one clip at the model's size, and points of it.

        Args:
            frames_TCHW: uint8.
            maps: depth, [T, H, W], as ``disparity``, and ``normals``, [T, H, W, 3], those that there are.
            cameras: ``lens``, [T, 3, 3], and ``poses``, [T, 4, 4], those that there are.
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
        if "disparity" in read and "lens" in cameras:
            shown = {name: each[0, :: vae.sizes.time].cpu() for name, each in read.items()}
            yield from show_points(shown, {name: each[: count : vae.sizes.time] for name, each in cameras.items()})

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


def show_points(read: Mapping[str, Tensor], cameras: Mapping[str, Tensor]) -> Iterator[Piece]:
    """The last of some frames as points, and all of them one after the other, or where there are no poses the last."""
    frames, depth, lens, normals = read["colours"], read["disparity"], cameras["lens"], read.get("normals")
    still, flat = torch.eye(4)[None], None if normals is None else normals[-1:]
    last = build_scene(frames[-1:], depth[-1:], lens[-1:], still, flat)
    yield Piece("cloud", last.clouds[0], "reconstruction.ply")
    walk = build_scene(frames, depth, lens, cameras["poses"], normals, RATE) if "poses" in cameras else last
    yield Piece("cloud", walk, "reconstruction.glb")
