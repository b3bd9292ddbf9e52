"""Clips that went through their codes. Shapes: B clips, T context frames, F others, C channels, H x W pixels."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from data_modules.episodes.clips import Clip
from data_modules.episodes.video import place_beside
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial
from mirage_pl.ivideogpt.evaluations.measures import psnr, squared_error, ssim, to_pixels
from mirage_pl.ivideogpt.model.tokenizer import Tokenizer

COPY, NOTHING = "copy_context", "no_context"
CONDITIONS = (COPY, NOTHING)
AT_ONCE = 16
"""Clips that are scored at a time at most: all features of their frames exist then."""
GRAY = 0.5
"""What stands in place of a context."""


class Reconstruct:
    """Score the frames after the context, each clip's own as its codes have them.

    Args:
        conditions: names out of ``CONDITIONS``.

    Raises:
        ValueError: a condition that there isn't.
    """

    name = "reconstruction"
    measures: Mapping[str, Measure] = {
        "psnr": Measure("mean", "higher", "dB", "PSNR: of each frame after the context, mean over a clip."),
        "ssim": Measure("mean", "higher", meaning="SSIM: structural similarity, 1 is the same."),
        "mse": Measure("mean", "lower", meaning="MSE: squared error of pixels in [0, 1]."),
    }
    conditions_in, numbers_in, words = "conditions", "codes", "mirage_pl.ivideogpt.report"

    def __init__(self, conditions: Sequence[str]) -> None:
        if unknown := sorted(set(conditions) - set(CONDITIONS)):
            raise ValueError(f"conditions={unknown} are unknown; choose from {', '.join(CONDITIONS)}")
        self.conditions = tuple(conditions)
        self.facts: Mapping[str, Any] = {}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ReconstructTrial":
        """Take the clips of a split, or those at ``picks``."""
        rows = data.datasets[split]
        clips = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        return ReconstructTrial(self, module, data, once, rows, clips)


class ReconstructTrial(Trial):
    """One module on some clips.

    Args:
        evaluation: its options.
        module: has a ``tokenizer``, and ``reconstruct``, which works where weights are in parts.
        data: its collator and batch size are used.
        once: keeps scores, so that an interrupted evaluation goes on.
        rows: the data set.
        clips: the items.
    """

    def __init__(
        self, evaluation: Reconstruct, module: Any, data: Any, once: Once, rows: Any, clips: Sequence[Clip]
    ) -> None:
        self.evaluation, self.module, self.once, self.rows, self.clips = evaluation, module, once, rows, clips
        self.collate, self.width = data.collate, min(AT_ONCE, data.loader.eval_batch_size)
        self.failures: list[dict[str, str]] = []
        self.used: tuple[Counter[int], Counter[int]] = Counter(), Counter()
        self.curves: dict[str, list[list[float]]] = {}
        self.frames: dict[str, Tensor] = {}

    @property
    def tokenizer(self) -> Tokenizer:
        """What is scored."""
        tokenizer: Tokenizer = self.module.tokenizer
        return tokenizer

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Score the clips; those whose file can't be read are ``failures``."""
        if condition == OWN:
            self.failures, self.used, self.frames = [], (Counter(), Counter()), {}
        self.curves[condition] = []
        for first in range(0, len(self.clips), self.width):
            clips = self.clips[first : first + self.width]
            part = self.once(f"{condition}-{first}", partial(self.score_clips, clips, condition))
            if condition == OWN:
                self.failures += part["failures"]
                for book, ids in zip(self.used, part["ids"], strict=True):
                    book.update(ids.tolist())
                self.frames |= {row["where"]: ours for row, ours in zip(part["rows"], part["ours"], strict=True)}
            rows = [dict(row) for row in part["rows"]]
            self.curves[condition] += [row.pop("frames") for row in rows]
            yield rows

    def score_clips(self, clips: Sequence[Clip], condition: str) -> dict[str, Any]:
        """Score some clips: their ``rows``, the ``ids`` of both books, ``failures``, and of ``own`` the frames."""
        readable, frames, failures = list[Clip](), list[Tensor](), list[dict[str, str]]()
        for clip in clips:
            try:
                frames.append(self.collate.open_frames(clip))
                readable.append(clip)
            except ValueError as error:
                failures.append({"where": clip.where, "error": str(error)})
        if not readable:
            return {"rows": [], "ids": [torch.zeros(0)] * 2, "failures": failures, "ours": []}
        frames_BTCHW = torch.stack(frames).to(self.module.device, torch.float32) / 255
        ours_BFCHW, ids = self.see(frames_BTCHW, condition)
        rest_BFCHW = self.tokenizer.divide(frames_BTCHW)[1]
        error_BF = squared_error(ours_BFCHW.flatten(0, 1), rest_BFCHW.flatten(0, 1)).view(rest_BFCHW.shape[:2])
        alike_BF = ssim(ours_BFCHW.flatten(0, 1), rest_BFCHW.flatten(0, 1)).view_as(error_BF)
        values = zip(
            readable, psnr(error_BF).tolist(), alike_BF.mean(1).tolist(), error_BF.mean(1).tolist(), strict=True
        )
        shown = list((255 * ours_BFCHW).round().to("cpu", torch.uint8)) if condition == OWN else []
        rows = [self.write_row(*value) for value in values]
        return {"rows": rows, "ids": ids, "failures": failures, "ours": shown}

    def see(self, frames_BTCHW: Tensor, condition: str) -> tuple[Tensor, list[Tensor]]:
        """The frames after the context under a condition, clamped, [B, F, C, H, W], and the ids of both books."""
        context_BTCHW, rest_BFCHW = self.tokenizer.divide(frames_BTCHW)
        if condition == COPY:
            return context_BTCHW[:, -1:].expand_as(rest_BFCHW), []
        if condition == NOTHING:
            frames_BTCHW = torch.cat((torch.full_like(context_BTCHW, GRAY), rest_BFCHW), 1)
        with torch.no_grad():
            clip = self.module.reconstruct(frames_BTCHW)
        return clip.dynamics_BFCHW.clamp(0, 1), [clip.context.ids_MN.flatten(), clip.dynamics.ids_MN.flatten()]

    def write_row(self, clip: Clip, levels: list[float], alike: float, error: float) -> Row:
        """A row of ``predictions.jsonl``; intervals draw episodes, since clips of one are alike."""
        episode = self.rows.identity(clip)
        place = {"id": episode, "where": clip.where, "group": clip.group, "unit": episode}
        return place | {"psnr": sum(levels) / len(levels), "ssim": alike, "mse": error, "frames": levels}

    def describe(self) -> Mapping[str, Any]:
        """How many codes are used, and PSNR frame by frame beside that of copying the context."""
        books = (self.tokenizer.quantize, self.tokenizer.dynamics_quantize)
        numbers: dict[str, float] = {}
        for name, counts, book in zip(("context", "dynamics"), self.used, books, strict=True):
            shares = torch.tensor([count / counts.total() for count in counts.values()])
            numbers |= {
                f"{name}_used": len(counts),
                f"{name}_perplexity": torch.special.entr(shares).sum().exp().item(),
            }
            numbers[f"{name}_codes"] = book.num_codes
        for condition, curves in self.curves.items():
            means = torch.tensor(curves).mean(0).tolist()
            prefix = "" if condition == OWN else f"{condition}_"
            numbers |= {f"{prefix}psnr_{frame}": value for frame, value in enumerate(means, start=1)}
        return numbers

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw a clip as its codes have it, and as it is; from what was kept, since one rank alone draws."""
        clip = next(clip for clip in self.clips if clip.where == row["where"])
        context_BTCHW, rest_BFCHW = self.tokenizer.divide(self.collate.open_frames(clip)[None] / 255)
        ours_FCHW = self.frames[clip.where].cpu() / 255
        yield "", list_frames(context_BTCHW[0, -1:], ours_FCHW, (ours_FCHW - rest_BFCHW[0]).abs())
        yield "truth", list_frames(context_BTCHW[0, -1:], rest_BFCHW[0])


def list_frames(newest_1CHW: Tensor, *clips: Tensor) -> list[Image.Image]:
    """Clips beside each other after the newest context frame, enlarged for eyes."""
    parts = [to_pixels(torch.cat((newest_1CHW, clip_FCHW))) for clip_FCHW in clips]
    if len(parts) > 1:
        parts[-1][0] = 0  # the context has no error
    frames = place_beside(parts)
    factor = max(1, 128 // frames.shape[1])
    return [Image.fromarray(frame.repeat(factor, 0).repeat(factor, 1)) for frame in frames]
