"""A world model on whole walks, under each condition. Shapes: T frames, N units, H x W pixels in [0, 1]."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from data_modules.episodes.clips import Clip
from mirage_pl.deepverse.evaluations.motion import measure_angle
from mirage_pl.deepverse.evaluations.reconstruction import draw_clip
from mirage_pl.deepverse.evaluations.trial import ClipTrial
from mirage_pl.deepverse.model.cameras import invert
from mirage_pl.deepverse.model.codec import find_scale, invert_depth
from mirage_pl.deepverse.model.handover import Walked
from mirage_pl.deepverse.model.memory import choose_none
from mirage_pl.deepverse.model.overlap import measure_seen, place_views
from mirage_pl.deepverse.model.rollout import Rollout, WindowSizes
from mirage_pl.deepverse.model.world import World
from mirage_pl.deepverse.pictures import FARTHEST, draw_colours, measure_depth_error, read_colours
from mirage_pl.engine.evaluation.frames import psnr, squared_error, ssim
from mirage_pl.engine.seams import OWN, Drawn, Once, Row

if TYPE_CHECKING:
    from mirage_pl.deepverse.evaluations.loops import Loops

COPY, NO_MEMORY, PLACEBO = "copy_last", "no_memory", "placebo_memory"
CONDITIONS = (COPY, NO_MEMORY, PLACEBO)
BY_UNIT = ("psnr_by_unit", "copied_by_unit", "ssim_by_unit", "absrel_by_unit")
SHOWN = 6
"""Walks of which what was imagined is kept, for pictures."""


@dataclass(frozen=True)
class TrueWalk:
    """A walk as it was.

    Attributes:
        clip: all of it.
        frames_T3HW: uint8.
        depth_THW: along the axis; 0: not known.
        poses_T44: camera to world.
        lenses_T33: in pixels.
        told: what was done in each unit, by number; 0 of the first one.
        stride: frames of a unit.
    """

    clip: Clip
    frames_T3HW: Tensor
    depth_THW: Tensor
    poses_T44: Tensor
    lenses_T33: Tensor
    told: list[int]
    stride: int

    @cached_property
    def scale(self) -> Tensor:
        """The distance of the nearest point in the first frame, in the unit of the poses."""
        return find_scale(invert_depth(self.depth_THW[0]))

    def take(self, units: int) -> Walked:
        """Its first units, as a walk that was imagined has them."""
        frames = (units - 1) * self.stride + 1
        poses_N44 = invert(self.poses_T44[:1]) @ self.poses_T44[: frames : self.stride]
        poses_N44[:, :3, 3] /= self.scale
        colours = draw_colours(self.frames_T3HW[None, :frames], torch.float32)[0]
        disparity = invert_depth(self.depth_THW[:frames]) * self.scale
        return Walked(colours, disparity, poses_N44, self.lenses_T33[: frames : self.stride])


class MisledRollout(Rollout):
    """A rollout whose memory shows another walk.

    Attributes:
        other: that walk.
    """

    other: Walked

    def draw_past(self, walked: Walked, unit: int, given: int, scale: Tensor) -> Tensor:
        """What the other walk shows there, by the camera of the right unit."""
        frame = unit * self.world.stride
        frames = torch.arange(walked.colours_3THW.shape[1]).clamp(max=self.other.colours_3THW.shape[1] - 1)
        assert frame < len(frames)
        colours, disparity = self.other.colours_3THW[:, frames], self.other.disparity_THW[frames]
        return super().draw_past(replace(walked, colours_3THW=colours, disparity_THW=disparity), unit, given, scale)


class LoopTrial(ClipTrial):
    """One world model on some walks; arguments as of :class:`ClipTrial`, but for ``clips``: of the walks."""

    def __init__(
        self, evaluation: "Loops", module: Any, data: Any, once: Once, rows: Any, clips: Sequence[Clip]
    ) -> None:
        walks = {clip.entry.where: clip for clip in clips}
        self.walks = [
            replace(clip, first=0, window=replace(clip.window, length=clip.entry.total, step=1))
            for clip in walks.values()
        ]
        super().__init__(evaluation, module, data, once, rows, self.walks, width=1)
        self.sizes = WindowSizes((clips[0].window.length - 1) // self.world.stride + 1, self.collate.given)

    @property
    def world(self) -> World:
        """The model."""
        world: World = self.module.net
        return world

    def score_clips(self, clips: Sequence[Clip], condition: str) -> dict[str, Any]:
        """Score the only one of them."""
        return self.score_walk(self.walks.index(clips[0]), condition)

    def keep(self, part: dict[str, Any]) -> None:
        """Keep frames and depth of a walk, unless there are enough."""
        if part["shown"]:
            self.shown[part["rows"][0]["where"]] = tuple(part["shown"])

    def score_walk(self, place: int, condition: str) -> dict[str, Any]:
        """Score a walk: its ``rows``, one or none, ``failures``, and of ``own`` what was imagined."""
        try:
            walk = self.open_walk(self.walks[place])
        except ValueError as error:
            failure = {"where": self.walks[place].where, "error": str(error)}
            return {"rows": [], "failures": [failure], "shown": []}
        with torch.no_grad():
            walked = self.world(self.imagine, walk, place, condition)
            frames, depth = self.read(walk, walked)
            row = self.write_row(walk, walked, frames, depth)
        kept = condition == OWN and place < SHOWN
        shown = [(frames * 255).round().to(torch.uint8).cpu(), depth.half().cpu()] if kept else []
        return {"rows": [row], "failures": [], "shown": shown}

    def open_walk(self, clip: Clip) -> TrueWalk:
        """Read a walk.

        Raises:
            ValueError: it can't be read, or is too short for something to be imagined.
        """
        episode, stride, device = clip.read(), self.world.stride, self.module.device
        (frames, depth, _), poses, lenses = self.collate.fit(episode, clip.where)
        told = [0, *self.collate.reads(episode, stride, clip.where)]
        frames, depth, poses, lenses = (each.to(device) for each in (frames, depth, poses, lenses))
        walk = TrueWalk(clip, frames, depth, poses, lenses, told, stride)
        if not 1 <= self.count_given(walk) < len(told):
            raise ValueError(
                f"{clip.where}: {len(told)} unit(s), of which {self.evaluation.share:.0%} are given; none is left"
            )
        return walk

    def count_given(self, walk: TrueWalk) -> int:
        """Units that are given."""
        return max(self.sizes.given, round(self.evaluation.share * len(walk.told)))

    def imagine(self, walk: TrueWalk, place: int, condition: str) -> Walked:
        """The walk as it goes on under a condition; of ``copy_last`` the newest given frame stays."""
        number = self.count_given(walk)
        known = walk.take(number)
        if condition == COPY:
            return stay(known, (len(walk.told) - number) * walk.stride)
        kind = MisledRollout if condition == PLACEBO else Rollout
        memory = choose_none if condition == NO_MEMORY else self.collate.memory
        rollout = kind(self.world, self.evaluation.sampler, self.sizes, memory, self.evaluation.seed)
        if isinstance(rollout, MisledRollout):
            other = self.open_walk(self.find_other(place))
            rollout.other = other.take(len(other.told))
        rollout.recall(known, walk.told[:number])
        rollout.go(walk.told[number:])
        assert rollout.walked is not None
        return rollout.walked

    def find_other(self, place: int) -> Clip:
        """A walk half the test set away."""
        return self.walks[(place + max(1, len(self.walks) // 2)) % len(self.walks)]

    def read(self, walk: TrueWalk, walked: Walked) -> tuple[Tensor, Tensor]:
        """The imagined frames, [T, 3, H, W] in [0, 1], and their depth in the unit of the poses."""
        first = (self.count_given(walk) - 1) * walk.stride + 1
        frames = read_colours(walked.colours_3THW[None])[0, first:]
        nearest = walked.disparity_THW[0].max()
        return frames, walk.scale / torch.maximum(walked.disparity_THW[first:], FARTHEST * nearest)

    def write_row(self, walk: TrueWalk, walked: Walked, frames_T3HW: Tensor, depth_THW: Tensor) -> Row:
        """A row of ``predictions.jsonl``."""
        first = len(walk.frames_T3HW) - len(frames_T3HW)
        truth, far = walk.frames_T3HW[first:].float() / 255, walk.depth_THW[first:]
        level = psnr(squared_error(frames_T3HW, truth)).cpu().numpy()
        alike = ssim(frames_T3HW, truth).cpu().numpy()
        error = measure_depth_error(depth_THW[None], far[None])[0].cpu().numpy()
        again = self.find_seen(walk)
        row = self.name_row(walk) | {"seen_again": int(again.sum()), "imagined": len(again)}
        for name, values in (("psnr", level), ("ssim", alike), ("absrel", error)):
            row[name] = float(values[again].mean()) if again.any() else None
            row[f"{name}_all"] = float(values.mean())
            row[f"{name}_by_unit"] = values.reshape(-1, walk.stride).mean(1).tolist()
        still = walk.frames_T3HW[first - 1 : first].float() / 255
        copied = psnr(squared_error(still.expand_as(truth), truth))
        row["copied_by_unit"] = copied.view(-1, walk.stride).mean(1).tolist()
        truth_44 = (invert(walk.poses_T44[:1]) @ walk.poses_T44[-1:])[0]
        ours_44 = walked.poses_N44[-1]
        row["turn_error"] = float(np.degrees(measure_angle(ours_44[:3, :3].mT @ truth_44[:3, :3])))
        row["move_error"] = float((ours_44[:3, 3] * walk.scale - truth_44[:3, 3]).norm())
        return row

    def find_seen(self, walk: TrueWalk) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which imagined frames show what units before the newest given ones have shown."""
        number = self.count_given(walk)
        first, count = (number - 1) * walk.stride + 1, number - self.sizes.given
        frames = range(first, len(walk.depth_THW))
        if count < 1:
            return np.zeros(len(frames), bool)
        units = slice(0, count * walk.stride, walk.stride)
        points = place_views(walk.depth_THW[units], walk.poses_T44[units], walk.lenses_T33[units])
        space = walk.depth_THW, walk.poses_T44, walk.lenses_T33
        shares = [measure_seen(points, *(each[frame] for each in space)) for frame in frames]
        return np.array(shares) >= self.evaluation.seen

    def name_row(self, walk: TrueWalk) -> Row:
        """What a row is of; its group is the kind of walk, where the index says it."""
        entry, episode = walk.clip.entry, self.rows.identity(walk.clip)
        group = str(entry.meta.get("walk", entry.group))
        return {"id": episode, "where": walk.clip.where, "group": group, "unit": episode, "map": entry.group}

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """PSNR, SSIM and AbsRel by how many units ahead, and PSNR of copying, as far as all walks go."""
        return {name: average_units(rows, name) for name in BY_UNIT}

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Drift, for the console."""
        curves = {name: average_units(rows, name) for name in BY_UNIT}
        ours, copied = (
            " ".join(f"{level:.1f}" for level in curves[name]) for name in ("psnr_by_unit", "copied_by_unit")
        )
        errors = " ".join(f"{error:.2f}" for error in curves["absrel_by_unit"])
        return [f"by units ahead: PSNR {ours} dB, of copying {copied}; AbsRel {errors}"]

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw what was imagined, and what came, each beside its depth."""
        if row["where"] not in self.shown:
            return
        frames, depth = self.shown[row["where"]]
        walk = self.open_walk(next(clip for clip in self.walks if clip.where == row["where"]))
        first = len(walk.frames_T3HW) - len(frames)
        yield "", draw_clip(frames / 255, {"disparity": depth.float()})
        truth = walk.frames_T3HW[first:].cpu() / 255
        yield "truth", draw_clip(truth, {"disparity": walk.depth_THW[first:].cpu()})


def stay(known: Walked, frames: int) -> Walked:
    """A walk whose newest frame stays."""
    return replace(
        known,
        colours_3THW=torch.cat((known.colours_3THW, known.colours_3THW[:, -1:].expand(-1, frames, -1, -1)), 1),
        disparity_THW=torch.cat((known.disparity_THW, known.disparity_THW[-1:].expand(frames, -1, -1))),
    )


def average_units(rows: Sequence[Row], name: str) -> list[float]:
    """The mean of each unit over rows, as far as all have one."""
    count = min((len(row[name]) for row in rows), default=0)
    return [float(np.mean([row[name][unit] for row in rows])) for unit in range(count)]
