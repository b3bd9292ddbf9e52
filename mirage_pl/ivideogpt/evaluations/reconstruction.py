"""Clips that went through their codes. Shapes: B clips, T context frames, F others, C channels, H x W pixels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import OWN, Measure, Once
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.evaluations.clips import GRAY, ClipTrial, Seen
from mirage_pl.ivideogpt.evaluations.measures import FrameScores

COPY, NOTHING = "copy_context", "no_context"
CONDITIONS = (COPY, NOTHING)
AT_ONCE = 16


class Reconstruct:
    """Score the frames after the context, each clip's own as its codes have them.

    Args:
        conditions: names out of ``CONDITIONS``.
        lpips: path of LPIPS as TorchScript; ``None``: it isn't measured.

    Raises:
        ValueError: a condition that there isn't, or no such file.
    """

    name = "reconstruction"
    conditions_in, numbers_in, words = "conditions", "codes", "mirage_pl.ivideogpt.report"

    def __init__(self, conditions: Sequence[str], lpips: str | None) -> None:
        check_conditions(conditions, CONDITIONS)
        self.conditions, self.scores = tuple(conditions), FrameScores(lpips)
        self.measures: Mapping[str, Measure] = self.scores.measures
        self.facts: Mapping[str, Any] = {} if lpips is None else {"lpips": lpips}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ReconstructTrial":
        """Take the clips of a split, or those at ``picks``."""
        rows = data.datasets[split]
        clips = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        trial = ReconstructTrial(self.scores, module, data, once, rows, clips, AT_ONCE)
        trial.conditions = self.conditions
        return trial


class ReconstructTrial(ClipTrial):
    """One tokenizer on some clips."""

    conditions: Sequence[str] = ()

    def see(self, batch: Batch, condition: str) -> Seen:
        """The frames after the context under a condition, and the ids of both books."""
        frames_BTCHW = self.take_frames(batch)
        context_BTCHW, rest_BFCHW = self.tokenizer.divide(frames_BTCHW)
        if condition == COPY:
            return Seen(context_BTCHW[:, -1:].expand_as(rest_BFCHW), rest_BFCHW)
        if condition == NOTHING:
            frames_BTCHW = torch.cat((torch.full_like(context_BTCHW, GRAY), rest_BFCHW), 1)
        clip = self.module.reconstruct(frames_BTCHW)
        ids = [clip.context.ids_MN.flatten(), clip.dynamics.ids_MN.flatten()]
        return Seen(clip.dynamics_BFCHW.clamp(0, 1), rest_BFCHW, kept={"ids": ids})

    def describe(self) -> Mapping[str, Any]:
        """How many codes are used, and PSNR frame by frame beside that of copying the context."""
        books = (self.tokenizer.quantize, self.tokenizer.dynamics_quantize)
        numbers: dict[str, float] = {}
        if not self.parts[OWN]:
            return numbers
        for place, (name, book) in enumerate(zip(("context", "dynamics"), books, strict=True)):
            counts = Counter(torch.cat([part["ids"][place] for part in self.parts[OWN]]).tolist())
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
