"""Clips that are scored frame by frame: what the evaluations of a tokenizer and of a world model share.

Shapes: B clips, T context frames, F others, C channels, H x W pixels in [0, 1].
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_modules.episodes.clips import Clip
from data_modules.episodes.video import place_beside
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.seams import OWN, Drawn, Once, Row, Trial
from mirage_pl.ivideogpt.batch import Batch, to_bytes
from mirage_pl.ivideogpt.evaluations.measures import FrameScores
from mirage_pl.ivideogpt.model.tokenizer import Tokenizer

GRAY = 0.5
"""What stands in place of a context."""
EYES = 128
"""Pixels: smaller frames are shown larger."""
EDGE = ((0, 2), (0, 2), (0, 0))
"""White pixels below and right of a frame of a strip."""


@dataclass(frozen=True)
class Seen:
    """What is made of some clips under a condition.

    Attributes:
        frames_BFCHW: to be scored, clamped; ``None``: there are none, and no score of them.
        truth_BFCHW: what they should be.
        values: of further measures, or in place of those of the frames: one for each clip.
        curves: PSNR of each frame of each clip, in place of those of the frames.
        kept: plain values and tensors that numbers or other conditions need.
    """

    frames_BFCHW: Tensor | None
    truth_BFCHW: Tensor
    values: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    curves: Sequence[Sequence[float]] | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)


class ClipTrial(Trial):
    """One module on some clips.

    Args:
        scores: of frames.
        module: has a ``tokenizer``, and ``reconstruct``, which works where weights are in parts.
        data: its collator and batch size are used.
        once: keeps scores, so that an interrupted evaluation goes on.
        rows: the data set.
        clips: the items.
        at_once: clips that are scored at a time at most: all features of their frames exist then.

    Attributes:
        curves: PSNR of each frame of each clip, by condition.
        parts: what was made of some clips at a time, by condition: their ``rows``, and the entries of ``Seen.kept``.
        frames: of ``own``, in uint8, by the clip's place.
    """

    def __init__(
        self, scores: FrameScores, module: Any, data: Any, once: Once, rows: Any, clips: Sequence[Clip], at_once: int
    ) -> None:
        self.scores, self.module, self.once, self.rows, self.clips = scores, module, once, rows, clips
        self.collate, self.width = data.collate, min(at_once, data.loader.eval_batch_size)
        self.failures: list[dict[str, str]] = []
        self.curves: dict[str, list[list[float]]] = {}
        self.parts: dict[str, list[dict[str, Any]]] = {}
        self.frames: dict[str, Tensor] = {}

    @property
    def tokenizer(self) -> Tokenizer:
        """Whose codes frames become."""
        tokenizer: Tokenizer = self.module.tokenizer
        return tokenizer

    @abstractmethod
    def see(self, batch: Batch, condition: str) -> Seen:
        """What is made of a batch under a condition."""

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Score the clips; those whose file can't be read are ``failures``."""
        if condition == OWN:
            self.failures, self.frames = [], {}
        self.curves[condition], self.parts[condition] = [], []
        for first in range(0, len(self.clips), self.width):
            clips = self.clips[first : first + self.width]
            part = self.once(f"{condition}-{first}", partial(self.score_clips, clips, condition))
            if condition == OWN:
                self.failures += part["failures"]
                self.frames |= {row["where"]: ours for row, ours in zip(part["rows"], part["ours"], strict=True)}
            self.parts[condition] += [part] if part["rows"] else []
            rows = [dict(row) for row in part["rows"]]
            self.curves[condition] += [row.pop("frames") for row in rows]
            yield rows

    def take_frames(self, batch: Batch) -> Tensor:
        """The frames of a batch as the tokenizer takes them, in [0, 1]."""
        return batch.frames_BTCHW.to(self.tokenizer.dtype) / 255

    def score_clips(self, clips: Sequence[Clip], condition: str) -> dict[str, Any]:
        """Score some clips: their ``rows``, ``failures``, what was kept of them, and of ``own`` the frames."""
        batch, failures = self.open_clips(clips)
        if batch is None:
            return {"rows": [], "failures": failures, "ours": []}
        with torch.no_grad():
            seen = self.see(batch.to(self.module.device), condition)
            rows = self.write_rows(batch.samples, seen)
        shown = []
        if condition == OWN and seen.frames_BFCHW is not None:
            shown = list(to_bytes(seen.frames_BFCHW).cpu())
        return {"rows": rows, "failures": failures, "ours": shown, **seen.kept}

    def open_clips(self, clips: Sequence[Clip]) -> tuple[Batch | None, list[dict[str, str]]]:
        """Read clips: a batch of those that can be read, and why the others can't."""
        try:
            return self.collate(clips), []
        except ValueError:
            readable, failures = list[Clip](), list[dict[str, str]]()
        for clip in clips:
            try:
                self.collate([clip])
                readable.append(clip)
            except ValueError as error:
                failures.append({"where": clip.where, "error": str(error)})
        return self.collate(readable) if readable else None, failures

    def write_rows(self, clips: Sequence[Clip], seen: Seen) -> list[Row]:
        """Rows of ``predictions.jsonl``; intervals draw episodes, since clips of one are alike."""
        scores: dict[str, Any] = {}
        if seen.frames_BFCHW is not None:
            scores = {
                name: score.tolist()
                for name, score in self.scores(seen.frames_BFCHW.float(), seen.truth_BFCHW.float()).items()
            }
        curves = seen.curves if seen.curves is not None else scores.get("psnr", [[]] * len(clips))
        rows = []
        for place, clip in enumerate(clips):
            episode = self.rows.identity(clip)
            values = {name: sum(score[place]) / len(score[place]) for name, score in scores.items()}
            values |= {name: value[place] for name, value in seen.values.items()}
            row = {"id": episode, "where": clip.where, "group": clip.group, "unit": episode}
            rows.append(row | values | {"frames": curves[place]})
        return rows

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw a clip as the model has it, as it is, and both as a strip; from what was kept: one rank alone draws."""
        clip = next(clip for clip in self.clips if clip.where == row["where"])
        context_BTCHW, rest_BFCHW = self.tokenizer.divide(self.collate.open_frames(clip)[None] / 255)
        newest_1CHW, ours_FCHW = context_BTCHW[0, -1:], self.frames[clip.where][-rest_BFCHW.shape[1] :].cpu() / 255
        yield "", list_frames(newest_1CHW, ours_FCHW, (ours_FCHW - rest_BFCHW[0]).abs())
        yield "truth", list_frames(newest_1CHW, rest_BFCHW[0])
        yield "strip", draw_strip(newest_1CHW, rest_BFCHW[0], ours_FCHW)


def list_frames(newest_1CHW: Tensor, *clips: Tensor) -> list[Image.Image]:
    """Clips beside each other after the newest context frame, enlarged for eyes."""
    parts = [to_pixels(torch.cat((newest_1CHW, clip_FCHW))) for clip_FCHW in clips]
    if len(parts) > 1:
        parts[-1][0] = 0  # the context has no error
    frames = place_beside(parts)
    factor = max(1, EYES // frames.shape[1])
    return [Image.fromarray(frame.repeat(factor, 0).repeat(factor, 1)) for frame in frames]


def draw_strip(newest_1CHW: Tensor, *clips: Tensor) -> Image.Image:
    """Clips as rows of frames, each after the newest context frame: a picture for a page that can't play."""
    factor = max(1, EYES // newest_1CHW.shape[2])
    rows = []
    for clip_FCHW in clips:
        frames = to_pixels(torch.cat((newest_1CHW, clip_FCHW))).repeat(factor, 1).repeat(factor, 2)
        rows.append(np.concatenate([np.pad(frame, EDGE, constant_values=255) for frame in frames], 1))
    return Image.fromarray(np.concatenate(rows))
