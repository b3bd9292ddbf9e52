"""Clips that are imagined from their context and actions, against copying, and with something taken from the model."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.seams import Measure, Once
from mirage_pl.ivideogpt.evaluations.fvd import FEATURES, Fvd
from mirage_pl.ivideogpt.evaluations.measures import FrameScores
from mirage_pl.ivideogpt.evaluations.prediction_trial import CONDITIONS, DRAWN, PredictTrial
from mirage_pl.ivideogpt.model.rollout import Sampling

MEASURES: Mapping[str, Measure] = {
    "cross_entropy": Measure("mean", "lower", "nats", "Cross-entropy: of a code, given all true frames before it."),
    "reward_error": Measure("mean", "lower", meaning="Reward error: squared, in symlog, in what is imagined."),
    "reward_error_seen": Measure("mean", "lower", meaning="Reward error seen: the same, given all true frames."),
    "repetition": Measure(
        "mean", "lower", meaning="Repetition: share of frames whose codes are those of the one before."
    ),
}
FVD = "FVD: distance of the whole set from the true clips, {}; it falls with more clips."


class Predict:
    """Score rollouts of held-out clips: the frames after the context, imagined from it with the clips' own actions.

    Args:
        conditions: names out of ``CONDITIONS``; ``None``: all that this model can be given.
        sampling: how codes are chosen.
        draws: rollouts of each clip, for ``drawn``, their mean, and ``best_drawn``, the best by each measure.
        drawing: how their codes are chosen.
        lpips: path of LPIPS as TorchScript; ``None``: it isn't measured.
        fvd: what has an FVD.
        compat: as published: the context's frames count too, as their codes have them.
        seed: of what is drawn.

    Raises:
        ValueError: a condition that there isn't, or draws that can't differ.
    """

    name = "prediction"
    conditions_in, numbers_in, words = "conditions", "imagined", "mirage_pl.ivideogpt.evaluations.prediction_words"

    def __init__(
        self,
        conditions: Sequence[str] | None,
        sampling: Sampling,
        draws: int,
        drawing: Sampling,
        lpips: str | None,
        fvd: Fvd,
        compat: bool,
        seed: int,
    ) -> None:
        if unknown := sorted({*(conditions or ()), *fvd.scored} - {"own", *CONDITIONS}):
            raise ValueError(f"conditions {unknown} are unknown; choose from {', '.join(CONDITIONS)}")
        if draws < 0 or (draws and drawing.temperature == 0):
            raise ValueError(f"draws={draws} must be 0 or more, and their temperature={drawing.temperature:g} above 0")
        if not draws and (needing := sorted({*(conditions or ()), *fvd.scored} & set(DRAWN))):
            raise ValueError(f"conditions {needing} need draws, and draws=0; give draws=5")
        self.given, self.sampling, self.draws, self.drawing = conditions, sampling, draws, drawing
        self.scores, self.fvd, self.compat, self.seed = FrameScores(lpips), fvd, compat, seed
        set_measures = {"fvd": Measure("set", "lower", meaning=FVD.format(FEATURES))} if fvd.scored else {}
        self.measures: Mapping[str, Measure] = {**self.scores.measures, **MEASURES, **set_measures}
        self.facts: Mapping[str, Any] = {
            "sampling": vars(sampling) | {"seed": seed},
            "draws": {"number": draws, **vars(drawing)},
            "context_counts": compat,
            "lpips": lpips,
            "fvd_of": list(fvd.scored),
        }

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> PredictTrial:
        """Take the clips of a split, or those at ``picks``."""
        rows = data.datasets[split]
        clips = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        return PredictTrial(self, module, data, once, rows, clips)
