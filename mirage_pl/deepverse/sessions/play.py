"""A world to walk in with the arrow keys: what is imagined, beside what the simulator shows, unit by unit.

Shapes: T frames of H x W pixels.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from data_modules.images import open_image
from mirage_pl.deepverse.actions import ActionProgram
from mirage_pl.deepverse.batch import fit_depth, fit_frames, fit_picture
from mirage_pl.deepverse.model.codec import invert_depth
from mirage_pl.deepverse.model.handover import Walked
from mirage_pl.deepverse.model.memory import Memory
from mirage_pl.deepverse.model.prompts import NUMBERS
from mirage_pl.deepverse.model.rollout import Rollout, size_windows
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.pictures import draw_colours, read_colours
from mirage_pl.deepverse.sessions.real import RealWalk
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.evaluation.frames import psnr, squared_error, to_pixels
from mirage_pl.engine.inputs import check_count
from mirage_pl.engine.seams import Piece

PAGE = Path(__file__).parent / "pages" / "walk"


class Play:
    """``conf/session/deepverse/play.yaml``: with ``serve=true`` a page of its own.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
        sampler: how units are drawn.
        memory: which unit of the past a unit is drawn with.
        seed: of what is drawn.
        rate: frames a second that the page shows.
    """

    uses = ("module.net.stride", "collator.given")
    page = PAGE

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
        world, config = trained.module.net, trained.config
        self.rollout = Rollout(world, sampler, size_windows(config, world, trained.collator.given), memory, seed)
        self.real: RealWalk | None = None
        self.size = int(config.model.height), int(config.model.width)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the page has to know."""
        height, width = self.size
        return {"height": height, "width": width, "rate": self.rate, "real": RealWalk.is_there(self.trained.config)}

    def begin(self, image: str | None = None, place: float = 0, actions: str | None = None) -> Iterator[Piece]:
        """Begin with a picture, or somewhere in the simulator.

        Args:
            image: a picture; ``None``: what the simulator of the run's task shows.
            place: 0, 1, …: another map each; first those that training hasn't seen.
            actions: a program to begin with.

        Raises:
            ValueError: no such file or place, or neither a picture nor a simulator.
        """
        if image is not None:
            self.real, picture = None, fit_picture(np.array(open_image(Path(image), f"image={image}")), self.size)
            yield from self.imagine_from(picture)
        else:
            self.real = RealWalk.open(self.trained.config, check_count("place", place, 0))
            yield from self.imagine_from(self.fit_newest(self.real))
        if actions is not None:
            yield from self.step(actions)

    def step(self, actions: str | None = None) -> Iterator[Piece]:
        """Do what a program says; without one, imagine anew from what the simulator shows now.

        Raises:
            ValueError: nothing was begun, a program that is none, or there is no simulator.
        """
        if self.rollout.walked is None:
            raise ValueError("begin first")
        if actions is None:
            if self.real is None:
                raise ValueError("there is no simulator to begin anew from; give actions, such as (FN)")
            self.real.rest()
            yield from self.imagine_from(self.fit_newest(self.real))
            return
        codes, started = ActionProgram.parse(actions).codes, perf_counter()
        self.rollout.go([NUMBERS[code] for code in codes])
        seconds = perf_counter() - started
        if self.real is not None:
            self.real.go(codes)
        yield from self.show(len(codes) * self.rollout.world.stride, seconds)

    def fit_newest(self, real: RealWalk) -> Tensor:
        """What the simulator shows now, [1, 3, H, W]."""
        return fit_frames(real.views[-1].frame_HWC[None], self.size)

    def imagine_from(self, picture_13HW: Tensor) -> Iterator[Piece]:
        """Begin with a picture, and show it as it is imagined."""
        started = perf_counter()
        self.rollout.begin(draw_colours(picture_13HW[None], torch.float32)[0, :, 0])
        yield from self.show(1, perf_counter() - started)

    def show(self, frames: int, seconds: float) -> Iterator[Piece]:
        """The newest frames in one picture: imagined, its depth, and real and its depth, one row below the other."""
        walked = self.rollout.walked
        assert walked is not None
        imagined = read_colours(walked.colours_3THW[None, :, -frames:])[0]
        rows = [to_pixels(imagined), shade(walked.disparity_THW[-frames:])]
        facts: dict[str, Any] = {
            "units": self.rollout.count - 1,
            "reminded": self.rollout.chosen[-1] if self.rollout.chosen and frames > 1 else None,
            "seconds": round(seconds, 2),
            "imagined": tell_camera(walked, 1.0 if self.real is None else self.real.nearest),
        }
        if self.real is not None:
            colours, disparity = self.fit_real(self.real, frames)
            rows += [to_pixels(colours), shade(disparity * self.real.nearest)]
            facts["alike"] = round(float(psnr(squared_error(imagined[-1:].cpu(), colours[-1:]))), 1)
            facts["real"] = self.real.tell_place()
        yield Piece("text", json.dumps(facts))
        strip = np.concatenate([np.concatenate(list(row), 1) for row in rows])
        yield Piece("picture", Image.fromarray(strip), "unit.png")

    def fit_real(self, real: RealWalk, frames: int) -> tuple[Tensor, Tensor]:
        """The simulator's newest frames in [0, 1], and their disparity, as large as imagined ones."""
        views = real.views[-frames:]
        colours = fit_frames(np.stack([view.frame_HWC for view in views]), self.size).float() / 255
        depth = fit_depth(np.stack([view.depth_HW for view in views]), self.size)
        return colours, invert_depth(depth)


def shade(disparity_THW: Tensor) -> NDArray[np.uint8]:
    """Depth as gray frames, [T, H, W, 3]: as near as the nearest point of the first frame, or nearer, is white."""
    gray = disparity_THW.clamp(0, 1).sqrt()[:, None].expand(-1, 3, -1, -1)
    return to_pixels(gray)


def tell_camera(walked: Walked, unit: float) -> list[float]:
    """Where the newest imagined camera is: to the right and ahead of the first one, and degrees clockwise."""
    pose_44 = walked.poses_N44[-1].cpu()
    right, _, ahead = (pose_44[:3, 3] * unit).tolist()
    turned = float(torch.atan2(pose_44[0, 2], pose_44[2, 2]).rad2deg())
    return [round(number, 3) for number in (right, ahead, turned)]
