"""Whole walks: the first part is given as it was, the rest imagined window by window; what is seen again, and drift."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.deepverse.evaluations.loops_trial import CONDITIONS, LoopTrial
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import Measure, Once

MEASURES: Mapping[str, Measure] = {
    "psnr": Measure("mean", "higher", "dB", "PSNR: imagined frames of what was seen before, mean over a walk."),
    "ssim": Measure("mean", "higher", meaning="SSIM: structural similarity of the same frames."),
    "absrel": Measure("mean", "lower", meaning="AbsRel: error of depth in them as a share of it."),
    "psnr_all": Measure("mean", "higher", "dB", "PSNR all: all imagined frames."),
    "ssim_all": Measure("mean", "higher", meaning="SSIM all: of all imagined frames."),
    "absrel_all": Measure("mean", "lower", meaning="AbsRel all: of all imagined frames."),
    "turn_error": Measure(
        "mean", "lower", "degrees", "Turn error: how far the last camera is turned from the true one."
    ),
    "move_error": Measure("mean", "lower", meaning="Move error: how far it is away from it, in the unit of the poses."),
}


class Loops:
    """Walk on from the first part of held-out walks, and come back where there is a loop.

    Args:
        conditions: names out of ``CONDITIONS``; ``None``: all.
        share: of a walk's units that are given as they were.
        seen: share of a frame that must have been seen before the window that is given last, so that it counts as seen
            again.
        sampler: how units are drawn.
        seed: of what is drawn.

    Raises:
        ValueError: a condition that there isn't, or a share that leaves nothing.
    """

    name = "loops"
    measures = MEASURES
    conditions_in, numbers_in = "conditions", "imagined"
    words = "mirage_pl.deepverse.evaluations.loops_words"

    def __init__(
        self, conditions: Sequence[str] | None, share: float, seen: float, sampler: Sampler, seed: int
    ) -> None:
        check_conditions(conditions or (), CONDITIONS)
        if not 0 < share < 1 or not 0 < seen <= 1:
            raise ValueError(f"share={share} must be between 0 and 1, and seen={seen} above 0, at most 1")
        self.conditions = CONDITIONS if conditions is None else tuple(conditions)
        self.share, self.seen, self.sampler, self.seed = share, seen, sampler, seed
        drawing = {"steps": sampler.steps, "text": sampler.text, "memory": sampler.memory, "seed": seed}
        self.facts: Mapping[str, Any] = {"share": share, "seen": seen, "sampling": drawing}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> LoopTrial:
        """Take the walks of a split, or those whose clips are at ``picks``."""
        rows = data.datasets[split]
        clips = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        return LoopTrial(self, module, data, once, rows, clips)
