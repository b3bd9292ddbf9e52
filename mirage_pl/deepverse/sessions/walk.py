"""One use of a trained world model: a walk through what a picture shows, action by action."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray

from data_modules.episodes.form import Form, as_plain
from data_modules.episodes.geometry import shade_depth
from data_modules.episodes.recording import read_episode
from data_modules.episodes.video import Clip, enlarge, place_beside
from data_modules.images import open_image
from mirage_pl.deepverse.actions import ActionProgram
from mirage_pl.deepverse.batch import describe_fit, fit_frames, fit_picture
from mirage_pl.deepverse.clouds import build_cloud
from mirage_pl.deepverse.controller import draw_controller
from mirage_pl.deepverse.model.cameras import interpolate
from mirage_pl.deepverse.model.handover import Walked
from mirage_pl.deepverse.model.memory import Memory
from mirage_pl.deepverse.model.prompts import NUMBERS
from mirage_pl.deepverse.model.rollout import Rollout, size_windows
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.model.world import World
from mirage_pl.deepverse.pictures import FARTHEST, draw_colours, read_colours
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.inputs import check_count
from mirage_pl.engine.seams import Piece


@dataclass(frozen=True)
class Path4D:
    """Cameras of all frames, in the unit and as the camera of the first one.

    Attributes:
        poses_T44: camera to world; x right, y down, z ahead.
        intrinsics_T33: in pixels.
    """

    poses_T44: NDArray[np.float32]
    intrinsics_T33: NDArray[np.float32]

    def save(self, file: str | Path) -> None:
        """Write an ``.npz`` with ``poses`` and ``intrinsics``."""
        np.savez_compressed(file, poses=self.poses_T44, intrinsics=self.intrinsics_T33)


class Walk:
    """``conf/session/deepverse/walk.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
        sampler: how units are drawn.
        memory: which unit of the past a window is shown.
        seed: of what is drawn.
        rate: frames a second.
    """

    uses = ("module.net.stride", "collator.given")

    def __init__(
        self,
        trained: Trained,
        takes: Mapping[str, str],
        sampler: Sampler,
        memory: Memory,
        seed: int,
        rate: Annotated[int, Ge(1)],
    ) -> None:
        self.trained, self.takes, self.rate = trained, takes, rate
        world: World = trained.module.net
        self.rollout = Rollout(
            world, sampler, size_windows(trained.config, world, trained.collator.given), memory, seed
        )
        self.codes: list[str] = []

    def begin(
        self, image: str | None = None, clip: str | None = None, actions: str | None = None, first: float = 0
    ) -> Iterator[Piece]:
        """Begin with a picture, and walk.

        Args:
            image: a picture; what is too wide or too high is cut off.
            clip: an ``.npz`` episode, of which frame ``first`` is the picture.
            actions: a program, such as ``(FN)(fRL)``; by default nothing is done yet.
            first: a frame's number.

        Raises:
            ValueError: no such file, or a program that is none.
        """
        if (image is None) == (clip is None):
            raise ValueError("give one of image=FILE, a picture, and clip=FILE, an .npz episode")
        codes = ActionProgram.parse(actions).codes if actions else ()
        model = self.trained.config.model
        size = int(model.height), int(model.width)
        if image is not None:
            frame_HWC = np.array(open_image(Path(image), f"image={image}"))
            frames_TCHW = fit_picture(frame_HWC, size)
        else:
            frame_HWC = self.read_frame(Path(str(clip)), check_count("first", first, 0))
            frames_TCHW = fit_frames(frame_HWC[None], size)
        if fitted := describe_fit(frame_HWC, size):
            yield Piece("text", fitted)
        picture_B3THW = draw_colours(frames_TCHW[None], torch.float32)
        self.codes = []
        self.rollout.begin(picture_B3THW[0, :, 0])
        yield from self.go(codes)

    def step(self, actions: str | None = None) -> Iterator[Piece]:
        """Walk on, and show all so far.

        Raises:
            ValueError: nothing was begun, or a program that is none.
        """
        if self.rollout.walked is None:
            raise ValueError("begin with an image or a clip")
        yield from self.go(ActionProgram.parse(actions or "").codes)

    def read_frame(self, file: Path, first: int) -> NDArray[np.uint8]:
        """A frame of an episode.

        Raises:
            ValueError: there is none.
        """
        episode = read_episode(file, Form(**as_plain(self.trained.config.task.form)))
        if not 0 <= first < len(episode.frames_THWC):
            raise ValueError(f"first={first} must be 0 to {len(episode.frames_THWC) - 1}, the frames of {file}")
        return episode.frames_THWC[first]

    def go(self, codes: Sequence[str]) -> Iterator[Piece]:
        """Do what codes say, and show the walk so far."""
        self.rollout.go([NUMBERS[code] for code in codes])
        self.codes += codes
        assert self.rollout.walked is not None
        yield from self.show(self.rollout.walked)

    def show(self, walked: Walked) -> Iterator[Piece]:
        """What was seen, its depth, where from, and what the last frame shows as points."""
        stride = self.rollout.world.stride
        frames = to_pixels(read_colours(walked.colours_3THW[None])[0])
        nearest = walked.disparity_THW[0].max()
        depth_THW = (1 / torch.maximum(walked.disparity_THW, FARTHEST * nearest)).cpu()
        shaded = shade_depth(depth_THW.float().numpy())
        controlled = draw_controller(enlarge(frames), self.codes, stride)
        poses_T44, lenses_T33 = interpolate(walked.poses_N44.cpu(), walked.lenses_N33.cpu(), stride)
        yield Piece("text", self.describe(walked))
        yield Piece("clip", Clip(place_beside([controlled, enlarge(shaded)]), self.rate), "walk.mp4")
        yield Piece("clip", Clip(frames, self.rate), "colours.mp4")
        yield Piece("clip", Clip(shaded, self.rate), "depth.mp4")
        yield Piece("cameras", Path4D(poses_T44.float().numpy(), lenses_T33.float().numpy()), "cameras.npz")
        frame_3HW = read_colours(walked.colours_3THW[None])[0, -1].cpu()
        cloud = build_cloud(frame_3HW, depth_THW[-1], poses_T44[-1], lenses_T33[-1])
        yield Piece("cloud", cloud, "last.ply")

    def describe(self, walked: Walked) -> str:
        """What was walked, in words."""
        end = [f"{number:.2f}" for number in walked.poses_N44[-1, :3, 3].tolist()]
        shown = [str(unit) for unit in self.rollout.chosen if unit is not None]
        told = f"; shown unit(s) {', '.join(shown)} of the past" if shown else ""
        return (
            f"{len(self.codes)} action(s), {walked.colours_3THW.shape[1]} frames; the camera ends {' '.join(end)} from "
            f"where it began (right, down, ahead; 1: the distance of the nearest point there){told}\n"
        )
