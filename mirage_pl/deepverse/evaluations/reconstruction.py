"""Clips that went through their codes: colours, depth, normals. Shapes: B clips, T frames, H x W pixels, in [0, 1]."""

from collections.abc import Iterator, Mapping, Sequence
from math import isnan
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from data_modules.episodes.clips import Clip
from data_modules.episodes.geometry import shade_depth
from data_modules.episodes.normals import shade_normals
from data_modules.episodes.video import enlarge, place_beside
from mirage_pl.deepverse.evaluations.geometry import NORMALS, measure_normals
from mirage_pl.deepverse.evaluations.trial import ClipTrial
from mirage_pl.deepverse.model.codec import Modalities, StateCodec
from mirage_pl.deepverse.pictures import measure_depth_error, read_pictures
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.evaluation.frames import psnr, squared_error, ssim, to_pixels
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row

COPY = "copy_first"
CONDITIONS = (COPY,)
AT_ONCE = 16
"""Clips that are scored at a time at most."""
EYES = 128
"""Pixels: smaller frames are shown larger."""
MEASURES: Mapping[str, Measure] = {
    "psnr": Measure("mean", "higher", "dB", "PSNR: of each frame after the first, mean over a clip."),
    "absrel": Measure("mean", "lower", meaning="AbsRel: error of depth as a share of it, where it is known."),
    "ssim": Measure("mean", "higher", meaning="SSIM: structural similarity, 1 is the same."),
    **NORMALS,
}
OF = {"absrel": "disparity"} | dict.fromkeys(NORMALS, "normals")
"""Measures -> the picture that they are of; the others are of colours."""


class Reconstruct:
    """Score the frames after the first, as each clip's codes have them.

    Args:
        conditions: names out of ``CONDITIONS``.
        modalities: which pictures are coded of a frame; measures of others are left out.

    Raises:
        ValueError: a condition or modalities that there aren't.
    """

    name = "reconstruction"
    conditions_in, numbers_in, words = "conditions", "codes", "mirage_pl.deepverse.report"
    facts: Mapping[str, Any] = {}

    def __init__(self, conditions: Sequence[str], modalities: Modalities) -> None:
        check_conditions(conditions, CONDITIONS)
        self.conditions = tuple(conditions)
        coded = StateCodec(modalities=modalities).coded
        self.measures = {name: measure for name, measure in MEASURES.items() if OF.get(name, "colours") in coded}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ReconstructTrial":
        """Take the clips of a split, or those at ``picks``."""
        rows = data.datasets[split]
        clips = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        return ReconstructTrial(self, module, data, once, rows, clips)


class ReconstructTrial(ClipTrial):
    """One VAE on some clips; arguments as of :class:`ClipTrial`; ``module.reconstruct`` works on weights in parts."""

    def __init__(self, evaluation: Any, module: Any, data: Any, once: Once, rows: Any, clips: Sequence[Clip]) -> None:
        width = min(AT_ONCE, data.loader.eval_batch_size)
        super().__init__(evaluation, module, data, once, rows, clips, width)
        self.codes: list[Mapping[str, Tensor]] = []

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Score the clips."""
        if condition == OWN:
            self.codes = []
        return super().score(condition)

    def keep(self, part: dict[str, Any]) -> None:
        """Keep how codes spread, too."""
        super().keep(part)
        self.codes += [part["codes"]] if part["rows"] else []

    def score_clips(self, clips: Sequence[Clip], condition: str) -> dict[str, Any]:
        """Score some clips: their ``rows``, ``failures``, and of ``own`` codes and what came back."""
        batch, failures = self.open_clips(clips)
        if batch is None:
            return {"rows": [], "failures": failures, "frames": [], "maps": {}}
        truth, codec = batch.frames_BTCHW.float() / 255, self.module.codec
        seen = {"colours": truth, "disparity": batch.depth_BTHW.float(), "normals": batch.normals_BTHW3.float()}
        seen = {name: seen[name] for name in codec.coded}
        with torch.no_grad():
            if condition == COPY:
                ours, kept = {name: maps[:, :1].expand_as(maps) for name, maps in seen.items()}, {}
            else:
                codes, pictures = self.module.reconstruct(batch)
                ours = read_pictures(codec, {name: picture.float() for name, picture in pictures.items()}, seen)
                kept = {"first": codes.mean_BCNhw[:, :, :1], "later": codes.mean_BCNhw[:, :, 1:]}
            rows = self.write_rows(batch.samples, ours, seen)
        part = {"rows": rows, "failures": failures, "codes": {key: measure_spread(x) for key, x in kept.items()}}
        if condition != OWN:
            return part
        maps = {name: list(maps.half().cpu()) for name, maps in ours.items() if name != "colours"}
        return part | {"frames": list((ours["colours"] * 255).round().to(torch.uint8).cpu()), "maps": maps}

    def write_rows(self, clips: Sequence[Clip], ours: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> list[Row]:
        """Rows of ``predictions.jsonl``; intervals draw walks, since clips of one are alike."""
        scores = measure_pictures(*({name: maps[:, 1:] for name, maps in each.items()} for each in (ours, truth)))
        means = {name: score.view(len(clips), -1).nanmean(1).tolist() for name, score in scores.items()}
        rows = []
        for place, clip in enumerate(clips):
            episode = self.rows.identity(clip)
            row = {"id": episode, "where": clip.where, "group": clip.group, "unit": episode}
            rows.append(row | {name: None if isnan(values[place]) else values[place] for name, values in means.items()})
        return rows

    def describe(self) -> Mapping[str, Any]:
        """Mean and deviation of codes: of the first unit of a clip, and of later ones."""
        numbers = dict[str, float]()
        for unit in ("first", "later"):
            sums = torch.stack([part[unit] for part in self.codes]).sum(0) if self.codes else torch.zeros(3)
            if (count := float(sums[0])) > 0:
                mean = float(sums[1]) / count
                numbers |= {f"{unit}_mean": mean, f"{unit}_deviation": (float(sums[2]) / count - mean**2) ** 0.5}
        return numbers

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw a clip as its codes have it, and as it is, each beside its depth."""
        clip = next(clip for clip in self.clips if clip.where == row["where"])
        frames, maps = self.shown[clip.where]
        truth, *known = self.collate.open(clip)  # in the order of the codec
        yield "", draw_clip(frames.cpu() / 255, {name: each.float().cpu() for name, each in maps.items()})
        yield "truth", draw_clip(truth / 255, dict(zip(maps, known, strict=False)))


def measure_pictures(ours: Mapping[str, Tensor], truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each measure of each frame, [B T]."""
    pair = [each["colours"].flatten(0, 1) for each in (ours, truth)]
    scores = {"psnr": psnr(squared_error(*pair)), "ssim": ssim(*pair)}
    if "disparity" in ours:
        scores["absrel"] = measure_depth_error(ours["disparity"], truth["disparity"]).flatten()
    if "normals" in ours:
        scores |= measure_normals(ours["normals"], truth["normals"])
    return scores


def measure_spread(codes: Tensor) -> Tensor:
    """Count, sum and sum of squares of numbers, in float64, [3]."""
    numbers = codes.double()
    return torch.stack((numbers.new_tensor(numbers.numel()), numbers.sum(), numbers.square().sum())).cpu()


def draw_clip(frames_TCHW: Tensor, maps: Mapping[str, Tensor]) -> list[Image.Image]:
    """Frames beside their depth and normals, those that there are, enlarged for eyes."""
    shade = {"disparity": shade_depth, "normals": shade_normals}
    shades = [shade[name](each.numpy()) for name, each in maps.items()]
    return [Image.fromarray(frame) for frame in enlarge(place_beside([to_pixels(frames_TCHW), *shades]), EYES)]
