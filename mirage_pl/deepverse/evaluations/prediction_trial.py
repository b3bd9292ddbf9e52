"""A world model on some clips, under each condition. Shapes: B clips, T frames, N units, H x W pixels in [0, 1]."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from data_modules.episodes.clips import Clip
from mirage_pl.deepverse.evaluations.motion import Motion, correlate, measure_motion
from mirage_pl.deepverse.evaluations.reconstruction import AT_ONCE, draw_clip
from mirage_pl.deepverse.model.cameras import invert, relate
from mirage_pl.deepverse.model.prompts import turn_prompts
from mirage_pl.deepverse.model.world import World
from mirage_pl.deepverse.pictures import find_scales, measure_depth_error, read_colours, read_depth
from mirage_pl.deepverse.units import UnitBatch
from mirage_pl.engine.evaluation.frames import psnr, squared_error
from mirage_pl.engine.seams import OWN, Drawn, Once, Row, Trial
from mirage_pl.engine.training.draws import row_stream

if TYPE_CHECKING:
    from mirage_pl.deepverse.evaluations.prediction import Predict

COPY, CODES, TURN, NO_MEMORY, PLACEBO, NO_RAYS, NO_DEPTH = (
    "copy_last",
    "codes",
    "wrong_turn",
    "no_memory",
    "placebo_memory",
    "no_rays",
    "no_depth",
)
CONDITIONS = (COPY, CODES, TURN, NO_MEMORY, PLACEBO, NO_RAYS, NO_DEPTH)
ONE_AHEAD = (TURN, NO_RAYS, NO_DEPTH)
"""Conditions of which one unit is imagined."""
REST = "at rest"
"""The group of units in which the camera stays where it is."""
REMEMBERING = (NO_MEMORY, PLACEBO)
"""Conditions of clips that have a memory."""


@dataclass(frozen=True)
class Seen:
    """What is made of clips, from the first unit after the given ones on.

    Attributes:
        frames_BTCHW: in [0, 1].
        depth_BTHW: along the axis.
        steps_B44: the next unit's camera as the one before sees it.
        told_B: what was said of the next unit, by number.
    """

    frames_BTCHW: Tensor
    depth_BTHW: Tensor
    steps_B44: Tensor
    told_B: Tensor


class PredictTrial(Trial):
    """One world model on some clips.

    Args:
        evaluation: its options.
        module: of a world model's stage.
        data: its collator and batch size are used.
        once: keeps scores, so that an interrupted evaluation goes on.
        rows: the data set.
        clips: the items.
    """

    def __init__(
        self, evaluation: "Predict", module: Any, data: Any, once: Once, rows: Any, clips: Sequence[Clip]
    ) -> None:
        self.evaluation, self.module, self.once, self.rows, self.clips = evaluation, module, once, rows, clips
        self.collate, self.width = data.collate, min(AT_ONCE, data.loader.eval_batch_size)
        self.given: int = data.collate.given
        self.failures: list[dict[str, str]] = []
        self.shown: dict[str, tuple[Tensor, Tensor]] = {}
        self.places = {clip.where: place for place, clip in enumerate(clips)}

    @property
    def world(self) -> World:
        """The model."""
        world: World = self.module.net
        return world

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Score the clips; those whose file can't be read are ``failures``."""
        if condition == OWN:
            self.failures, self.shown = [], {}
        for first in range(0, len(self.clips), self.width):
            clips = self.clips[first : first + self.width]
            part = self.once(f"{condition}-{first}", partial(self.score_clips, clips, condition))
            if condition == OWN:
                self.failures += part["failures"]
                pairs = zip(part["rows"], part["frames"], part["depth"], strict=True)
                self.shown |= {row["where"]: (frames, depth) for row, frames, depth in pairs}
            yield part["rows"]

    def score_clips(self, clips: Sequence[Clip], condition: str) -> dict[str, Any]:
        """Score some clips: their ``rows``, ``failures``, and of ``own`` what was imagined."""
        readable, failures = list[Clip](), list[dict[str, str]]()
        for clip in clips:
            try:
                self.check(self.collate([clip]))
                readable.append(clip)
            except ValueError as error:
                failures.append({"where": clip.where, "error": str(error)})
        if not readable:
            return {"rows": [], "failures": failures, "frames": [], "depth": []}
        batch = self.collate(readable).to(self.module.device)
        with torch.no_grad():
            seen = self.world(self.see, batch, condition)
            rows = self.write_rows(batch, seen, condition)
        part: dict[str, Any] = {"rows": rows, "failures": failures, "frames": [], "depth": []}
        if condition == OWN:
            part["frames"] = list((seen.frames_BTCHW * 255).round().to(torch.uint8).cpu())
            part["depth"] = list(seen.depth_BTHW.half().cpu())
        return part

    def check(self, batch: UnitBatch) -> None:
        """Refuse clips in which nothing is left to be imagined.

        Raises:
            ValueError: names one.
        """
        units = batch.poses_BN44.shape[1]
        if units <= self.given:
            raise ValueError(
                f"{batch.samples[0].where}: {units} unit(s), and {self.given} are given; raise task.window.length"
            )

    def count_ahead(self, batch: UnitBatch) -> int:
        """Units that are imagined: as many as asked for, or as clips have."""
        return min(self.evaluation.ahead, batch.poses_BN44.shape[1] - self.given)

    def see(self, batch: UnitBatch, condition: str) -> Seen:
        """What is made of a batch under a condition."""
        make: Mapping[str, Callable[[], Seen]] = {
            COPY: lambda: self.copy(batch),
            CODES: lambda: self.recode(batch),
            NO_MEMORY: lambda: self.imagine(replace(batch, remembered_B=torch.zeros_like(batch.remembered_B))),
            PLACEBO: lambda: self.imagine(self.mislead(batch)),
            TURN: lambda: self.imagine(replace(batch, prompts_BN=turn_prompts(batch.prompts_BN)), 1),
            NO_RAYS: lambda: self.imagine(batch, 1, hidden=slice(2 * self.world.codec.latent_channels, None)),
            NO_DEPTH: lambda: self.imagine(batch, 1, hidden=self.find_depth()),
            OWN: lambda: self.imagine(batch),
        }
        return make[condition]()

    def find_depth(self) -> slice:
        """Where depth is in a state."""
        return slice(self.world.codec.latent_channels, 2 * self.world.codec.latent_channels)

    def imagine(self, batch: UnitBatch, ahead: int | None = None, hidden: slice | None = None) -> Seen:
        """Clips as they go on from their given units; ``hidden``: channels of these that the model sees as 0."""
        evaluation, ahead = self.evaluation, ahead or self.count_ahead(batch)
        states, memory = self.module.build(batch)
        past = states[:, :, : self.given]
        if hidden is not None:
            past = past.clone()
            past[:, hidden] = 0
        streams = [row_stream(evaluation.seed, Path(clip.where).name, 0) for clip in batch.samples]
        prompts = batch.prompts_BN[:, self.given : self.given + ahead]
        units = self.world.draw_units(evaluation.sampler, past, prompts, streams, (memory, batch.remembered_B))
        return self.decode(batch, torch.cat((states[:, :, : self.given], units), 2), prompts[:, 0])

    def recode(self, batch: UnitBatch) -> Seen:
        """The true units through their codes and back: what no model over these codes exceeds by much."""
        states, _ = self.module.build(batch)
        return self.decode(batch, states, batch.prompts_BN[:, self.given])

    def decode(self, batch: UnitBatch, states_BSNhw: Tensor, told_B: Tensor) -> Seen:
        """What units after the given ones look like, of states of all units."""
        pictures, cameras = self.world.show(states_BSNhw)
        first, scale = self.first_frame(), find_scales(batch.depth_BTHW.float())
        depth = read_depth(self.world.codec, pictures.disparity_B3THW, scale)
        steps_B44 = cameras.poses_BN44[:, self.given].clone()
        steps_B44[:, :3, 3] *= scale.view(-1, 1)
        return Seen(read_colours(pictures.colours_B3THW)[:, first:], depth[:, first:], steps_B44, told_B)

    def first_frame(self) -> int:
        """Of the first unit after the given ones."""
        return (self.given - 1) * self.world.stride + 1

    def copy(self, batch: UnitBatch) -> Seen:
        """The newest given frame, again and again, by a camera that stays."""
        newest, count = self.first_frame() - 1, self.count_ahead(batch) * self.world.stride
        frames = (batch.frames_BTCHW[:, newest : newest + 1].float() / 255).expand(-1, count, -1, -1, -1)
        depth = batch.depth_BTHW[:, newest : newest + 1].float().expand(-1, count, -1, -1)
        stays = torch.eye(4, device=frames.device).repeat(len(batch), 1, 1)
        return Seen(frames, depth, stays, batch.prompts_BN[:, self.given])

    def mislead(self, batch: UnitBatch) -> UnitBatch:
        """The batch, reminded of what clips of other episodes are, half the test set away."""
        number, others = len(self.clips), list[Clip]()
        for clip in batch.samples:
            start = self.places[clip.where] + number // 2
            turn = (self.clips[(start + step) % number] for step in range(number))
            others.append(next((each for each in turn if each.entry.where != clip.entry.where), clip))
        other = self.collate(others).to(self.module.device)
        placed = batch.poses_BN44[:, :1] @ invert(other.poses_BN44[:, :1]) @ other.memory_poses_BN44
        return replace(
            batch, memory_BTCHW=other.memory_BTCHW, memory_depth_BTHW=other.memory_depth_BTHW, memory_poses_BN44=placed
        )

    def write_rows(self, batch: UnitBatch, seen: Seen, condition: str) -> list[Row]:
        """Rows of ``predictions.jsonl``; intervals draw walks, since clips of one are alike."""
        first, count, stride = self.first_frame(), seen.frames_BTCHW.shape[1], self.world.stride
        truth = batch.frames_BTCHW[:, first : first + count].float() / 255
        far = batch.depth_BTHW[:, first : first + count].float()
        count = truth.shape[1]
        ours = seen.frames_BTCHW[:, :count]
        level_BT = psnr(squared_error(ours.flatten(0, 1), truth.flatten(0, 1))).view(len(batch), -1)
        error_BT = measure_depth_error(seen.depth_BTHW[:, :count], far)
        ahead = self.count_ahead(batch)
        last = slice((ahead - 1) * stride, ahead * stride)
        steps_B44 = torch.stack([relate(poses_N44)[self.given] for poses_N44 in batch.poses_BN44])
        rows = []
        for place, clip in enumerate(batch.samples):
            motion = measure_motion(
                seen.steps_B44[place], steps_B44[place], int(seen.told_B[place]), self.evaluation.edge
            )
            row = self.name_row(clip, motion) | {"psnr": None}  # reports ask every row for the first measure
            if condition not in REMEMBERING or bool(batch.remembered_B[place]):
                next_one = float(level_BT[place, :stride].mean())
                row |= {"psnr": next_one} if motion.moves else {}
                row |= {"psnr_all": next_one, "absrel": float(error_BT[place, :stride].mean()), **motion.measures}
                if condition not in ONE_AHEAD:
                    row["psnr_last"] = float(level_BT[place, last].mean())
                    row["absrel_last"] = float(error_BT[place, last].mean())
            rows.append(row)
        return rows

    def name_row(self, clip: Clip, motion: Motion) -> Row:
        """What a row is of."""
        episode, group = self.rows.identity(clip), clip.group if motion.moves else REST
        return {"id": episode, "where": clip.where, "group": group, "unit": episode, **motion.facts}

    def over_all(self, condition: str, rows: Sequence[Row]) -> Mapping[str, float]:
        """Correlations of steps with true ones; of a camera that stays there is none."""
        pairs = {"move_aside": 0, "move_ahead": 2}
        steps = {name: [(row["step"][axis], row["true_step"][axis]) for row in rows] for name, axis in pairs.items()}
        values = {name: correlate(each) for name, each in steps.items()}
        return {name: value for name, value in values.items() if value is not None}

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw what was imagined, and what came, each beside its depth."""
        clip = next(clip for clip in self.clips if clip.where == row["where"])
        frames, depth = self.shown[clip.where]
        batch, first = self.collate([clip]), self.first_frame()
        there = slice(first, first + len(frames))
        yield "", draw_clip(frames.cpu() / 255, {"disparity": depth.float().cpu()})
        yield "truth", draw_clip(batch.frames_BTCHW[0, there] / 255, {"disparity": batch.depth_BTHW[0, there]})
