"""A world model on some clips, under each condition. Shapes: B clips, T frames, N units, H x W pixels in [0, 1]."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data_modules.episodes.clips import Clip
from mirage_pl.deepverse.evaluations.geometry import measure_points
from mirage_pl.deepverse.evaluations.motion import Motion, correlate, measure_motion
from mirage_pl.deepverse.evaluations.other_clips import OtherClips
from mirage_pl.deepverse.evaluations.prediction_conditions import (
    CODES,
    COPY,
    INSTRUCTION,
    NO_DEPTH,
    NO_MEMORY,
    NO_RAYS,
    ONE_AHEAD,
    PLACEBO,
    REMEMBERING,
    REST,
    SPATIAL,
    TURN,
)
from mirage_pl.deepverse.evaluations.reconstruction import AT_ONCE, draw_clip
from mirage_pl.deepverse.evaluations.trial import ClipTrial
from mirage_pl.deepverse.evaluations.unit_scores import LAST, find_moves, score_frames
from mirage_pl.deepverse.evaluations.warping import measure_agreement
from mirage_pl.deepverse.model.cameras import relate
from mirage_pl.deepverse.model.codec import RAYS
from mirage_pl.deepverse.model.prompts import turn_prompts
from mirage_pl.deepverse.model.world import World
from mirage_pl.deepverse.pictures import find_scales, read_pictures
from mirage_pl.deepverse.units import UnitBatch
from mirage_pl.engine.seams import OWN, Drawn, Once, Row
from mirage_pl.engine.training.draws import row_stream


@dataclass(frozen=True)
class Seen:
    """What is made of clips, from the first unit after the given ones on.

    Attributes:
        maps: colours, [B, T, 3, H, W] in [0, 1], depth along the axis as ``disparity``, and normals, as they are coded.
        steps_B44: the next unit's camera as the one before sees it.
        told_B: what was said of the next unit, by number.
    """

    maps: Mapping[str, Tensor]
    steps_B44: Tensor
    told_B: Tensor


class PredictTrial(ClipTrial):
    """One world model on some clips; arguments as of :class:`ClipTrial`."""

    def __init__(self, evaluation: Any, module: Any, data: Any, once: Once, rows: Any, clips: Sequence[Clip]) -> None:
        width = min(AT_ONCE, data.loader.eval_batch_size)
        super().__init__(evaluation, module, data, once, rows, clips, width)
        self.given: int = data.collate.given
        self.others = OtherClips(clips, data.collate)

    @property
    def world(self) -> World:
        """The model."""
        world: World = self.module.world
        return world

    def score_clips(self, clips: Sequence[Clip], condition: str) -> dict[str, Any]:
        """Score some clips: their ``rows``, ``failures``, and of ``own`` what was imagined."""
        batch, failures = self.open_clips(clips)
        if batch is None:
            return {"rows": [], "failures": failures, "frames": [], "maps": {}}
        with torch.no_grad():
            seen = self.world(self.see, batch, condition)
            rows = self.write_rows(batch, seen, condition)
        part: dict[str, Any] = {"rows": rows, "failures": failures}
        if condition != OWN:
            return part
        maps = {name: list(each.half().cpu()) for name, each in seen.maps.items() if name != "colours"}
        return part | {"frames": list((seen.maps["colours"] * 255).round().to(torch.uint8).cpu()), "maps": maps}

    def check(self, clip: Clip) -> None:
        """Refuse clips in which nothing is left to be imagined.

        Raises:
            ValueError: names one.
        """
        units = self.collate([clip]).poses_BN44.shape[1]
        if units <= self.given:
            raise ValueError(f"{clip.where}: {units} unit(s), and {self.given} are given; raise task.window.length")

    def count_ahead(self, batch: UnitBatch) -> int:
        """Units that are imagined: as many as asked for, or as clips have."""
        return min(self.evaluation.ahead, batch.poses_BN44.shape[1] - self.given)

    def see(self, batch: UnitBatch, condition: str) -> Seen:
        """What is made of a batch under a condition."""
        channels = self.world.codec.latent_channels
        make: Mapping[str, Callable[[], Seen]] = {
            COPY: lambda: self.copy(batch),
            CODES: lambda: self.recode(batch),
            NO_MEMORY: lambda: self.imagine(replace(batch, remembered_B=torch.zeros_like(batch.remembered_B))),
            PLACEBO: lambda: self.imagine(self.others.mislead(batch)),
            TURN: lambda: self.imagine(replace(batch, prompts_BN=turn_prompts(batch.prompts_BN)), 1),
            INSTRUCTION: lambda: self.imagine(self.others.misinstruct(batch)),
            NO_RAYS: lambda: self.imagine(batch, 1, hidden=slice(-RAYS, None)),
            NO_DEPTH: lambda: self.imagine(batch, 1, hidden=slice(channels, 2 * channels)),
            OWN: lambda: self.imagine(batch),
        }
        return make[condition]()

    def imagine(self, batch: UnitBatch, ahead: int | None = None, hidden: slice | None = None) -> Seen:
        """Clips as they go on from their given units; ``hidden``: channels of these that the model sees as 0."""
        return self.decode(batch, self.go_on(batch, ahead, hidden), batch.prompts_BN[:, self.given])

    def go_on(self, batch: UnitBatch, ahead: int | None = None, hidden: slice | None = None) -> Tensor:
        """States of clips, the given ones and as many as are imagined, [B, S, N, h, w]."""
        evaluation, ahead = self.evaluation, ahead or self.count_ahead(batch)
        states, memory = self.module.build(batch)
        past = states[:, :, : self.given]
        if hidden is not None:
            past = past.clone()
            past[:, hidden] = 0
        streams = [row_stream(evaluation.seed, Path(clip.where).name, 0) for clip in batch.samples]
        prompts = batch.prompts_BN[:, self.given : self.given + ahead]
        units = self.world.draw_units(evaluation.sampler, past, prompts, streams, (memory, batch.remembered_B))
        return torch.cat((states[:, :, : self.given], units), 2)

    def recode(self, batch: UnitBatch) -> Seen:
        """The true units through their codes and back: what no model over these codes exceeds by much."""
        states, _ = self.module.build(batch)
        return self.decode(batch, states, batch.prompts_BN[:, self.given])

    def decode(self, batch: UnitBatch, states_BSNhw: Tensor, told_B: Tensor) -> Seen:
        """What units after the given ones look like, of states of all units."""
        pictures, cameras = self.world.show(states_BSNhw)
        maps = read_pictures(self.world.codec, pictures, self.list_truth(batch))
        steps_B44 = cameras.poses_BN44[:, self.given].clone()
        steps_B44[:, :3, 3] *= find_scales(batch.depth_BTHW.float()).view(-1, 1)
        return Seen({name: each[:, self.first_frame() :] for name, each in maps.items()}, steps_B44, told_B)

    def list_truth(self, batch: UnitBatch) -> dict[str, Tensor]:
        """What is coded of clips, as it is."""
        truth = {"colours": batch.frames_BTCHW.float() / 255, "disparity": batch.depth_BTHW.float()}
        truth["normals"] = batch.normals_BTHW3.float()
        return {name: truth[name] for name in self.world.codec.coded}

    def first_frame(self) -> int:
        """Of the first unit after the given ones."""
        return (self.given - 1) * self.world.stride + 1

    def copy(self, batch: UnitBatch) -> Seen:
        """The newest given frame, again and again, by a camera that stays."""
        newest, count = self.first_frame() - 1, self.count_ahead(batch) * self.world.stride
        truth = {name: maps[:, newest : newest + 1] for name, maps in self.list_truth(batch).items()}
        maps = {name: each.expand(-1, count, *each.shape[2:]) for name, each in truth.items()}
        stays = torch.eye(4, device=batch.frames_BTCHW.device).repeat(len(batch), 1, 1)
        return Seen(maps, stays, batch.prompts_BN[:, self.given])

    def write_rows(self, batch: UnitBatch, seen: Seen, condition: str) -> list[Row]:
        """Rows of ``predictions.jsonl``; intervals draw walks, since clips of one are alike."""
        first, stride, ahead = self.first_frame(), self.world.stride, self.count_ahead(batch)
        truth = {name: maps[:, first:] for name, maps in self.list_truth(batch).items()}
        count = min(truth["colours"].shape[1], seen.maps["colours"].shape[1])
        ours, truth = ({name: maps[:, :count] for name, maps in each.items()} for each in (seen.maps, truth))
        scores = score_frames(ours, truth)
        points = self.score_points(batch, ours, truth, seen.steps_B44) if condition in SPATIAL else {}
        last = slice((ahead - 1) * stride, ahead * stride)
        steps_B44 = torch.stack([relate(poses_N44)[self.given] for poses_N44 in batch.poses_BN44])
        walks = self.evaluation.walks
        moves_B = [False] * len(batch) if walks else find_moves(batch.frames_BTCHW[:, first - 1 : first + stride])
        rows = []
        for place, clip in enumerate(batch.samples):
            told = int(seen.told_B[place]) if walks else 0
            edges = self.evaluation.edge, self.evaluation.reach
            motion = measure_motion(seen.steps_B44[place], steps_B44[place], told, *edges)
            row = self.name_row(clip, motion, moves := motion.moves or moves_B[place])
            counts = condition not in REMEMBERING or bool(batch.remembered_B[place])
            if counts and not (condition == INSTRUCTION and not batch.prompts_BN[place, self.given]):
                values = {name: float(score[place, :stride].nanmean()) for name, score in scores.items()}
                row |= values | {"psnr_all": values["psnr"], "psnr": values["psnr"] if moves else None}
                row |= motion.measures if walks else {}
                row |= {name: each[place] for name, each in points.items()}
                if condition not in ONE_AHEAD:
                    row |= {f"{name}_last": float(scores[name][place, last].mean()) for name in LAST if name in scores}
            rows.append({name: value for name, value in row.items() if value == value})
        return rows

    def score_points(
        self, batch: UnitBatch, ours: Mapping[str, Tensor], truth: Mapping[str, Tensor], steps_B44: Tensor
    ) -> dict[str, list[float]]:
        """Measures in space of the last frame of the next unit; none without depth."""
        if "disparity" not in ours:
            return {}
        here, there = ({name: maps[:, self.world.stride - 1] for name, maps in each.items()} for each in (ours, truth))
        lenses_B33, newest = batch.lenses_BN33[:, self.given].float(), self.first_frame() - 1
        points = measure_points(here, there, lenses_B33, self.evaluation.strength)
        if self.evaluation.walks:
            before = self.list_truth(batch)["colours"][:, newest]
            views = before, here["colours"], here["disparity"], steps_B44
            points["agreement"] = measure_agreement(*views, lenses_B33)
        return points

    def name_row(self, clip: Clip, motion: Motion, moves: bool) -> Row:
        """What a row is of."""
        episode, group = self.rows.identity(clip), clip.group if moves else REST
        facts = motion.facts if self.evaluation.walks else {}
        return {"id": episode, "where": clip.where, "group": group, "unit": episode, **facts}

    def over_all(self, condition: str, rows: Sequence[Row]) -> Mapping[str, float]:
        """Correlations of steps with true ones; of a camera that stays there is none."""
        if not self.evaluation.walks:
            return {}
        pairs = {"move_aside": 0, "move_ahead": 2}
        steps = {name: [(row["step"][axis], row["true_step"][axis]) for row in rows] for name, axis in pairs.items()}
        values = {name: correlate(each) for name, each in steps.items()}
        return {name: value for name, value in values.items() if value is not None}

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw what was imagined, and what came, each beside its depth."""
        clip = next(clip for clip in self.clips if clip.where == row["where"])
        frames, maps = self.shown[clip.where]
        first = self.first_frame()
        there = slice(first, first + len(frames))
        truth = {name: each[0, there].cpu() for name, each in self.list_truth(self.collate([clip])).items()}
        yield "", draw_clip(frames.cpu() / 255, {name: each.float().cpu() for name, each in maps.items()})
        yield "truth", draw_clip(truth.pop("colours"), truth)
