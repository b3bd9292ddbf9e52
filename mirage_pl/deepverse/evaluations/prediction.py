"""Walks that are imagined from their first units and what was done, against copying, and with something changed."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.deepverse.evaluations.geometry import NORMALS, POINTS, REFINED
from mirage_pl.deepverse.evaluations.prediction_conditions import CONDITIONS, choose_conditions
from mirage_pl.deepverse.evaluations.prediction_trial import PredictTrial
from mirage_pl.deepverse.model.codec import Modalities, StateCodec
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import Measure, Once

MEASURES: Mapping[str, Measure] = {
    "psnr": Measure("mean", "higher", "dB", "PSNR: frames of the next unit, where something moves in it."),
    "psnr_all": Measure("mean", "higher", "dB", "PSNR all: the same, units at rest as well."),
    "psnr_last": Measure("mean", "higher", "dB", "PSNR last: frames of the last unit that is imagined."),
    "ssim": Measure("mean", "higher", meaning="SSIM: structural similarity of frames of the next unit."),
    "absrel": Measure("mean", "lower", meaning="AbsRel: error of depth in the next unit as a share of it."),
    "absrel_last": Measure("mean", "lower", meaning="AbsRel last: the same of the last unit that is imagined."),
    **NORMALS,
    **POINTS,
    **REFINED,
    "yaw": Measure("share", "higher", meaning="Yaw: the next unit's rays turn left, right or not at all, as told."),
    "action_right": Measure(
        "share", "higher", meaning="Action right: of all 27 the next unit's rays say the one that was told."
    ),
    "agreement": Measure(
        "mean",
        "higher",
        "dB",
        "Agreement: by how much the next unit's last frame is more like the newest given one as its depth and rays "
        "move that than as it is.",
    ),
    "turn_error": Measure("mean", "lower", "degrees", "Turn error: between the next unit's rotation and the true one."),
    "move_error": Measure("mean", "lower", meaning="Move error: of the next unit's step, in the unit of the poses."),
    "move_aside": Measure("set", "higher", meaning="Move aside: correlation of steps to the right with true ones."),
    "move_ahead": Measure("set", "higher", meaning="Move ahead: the same of steps ahead."),
}
OF = dict.fromkeys(("absrel", "absrel_last", "agreement", *POINTS), "disparity") | dict.fromkeys(
    (*NORMALS, *REFINED), "normals"
)
"""Measures -> the picture that they need; the others need colours."""
WALKING = ("yaw", "action_right", "agreement", "turn_error", "move_error", "move_aside", "move_ahead")
"""Measures of a camera that moves as it is told."""


class Predict:
    """Score the units after the given ones, as they are imagined of these and of what was done.

    Args:
        conditions: names out of ``CONDITIONS``; ``None``: all that there are for such a model.
        ahead: units that are imagined, at most as many as clips have; one where what is done or known is changed.
        edge: degrees from which a turn of a unit is one: half of what an action turns by.
        reach: length from which a step of a unit is one: half of what an action moves by, in the unit of the poses.
        sampler: how units are drawn.
        seed: of what is drawn.
        modalities: which pictures are coded of a frame; measures of others are left out.
        walks: whether cameras move as they are told; otherwise measures of it are left out.
        strength: how much imagined depth counts where it is made to agree with normals.

    Raises:
        ValueError: a condition that there isn't, or not for such a model; or no unit ahead.
    """

    name = "prediction"
    conditions_in, numbers_in = "conditions", "imagined"
    words = "mirage_pl.deepverse.evaluations.prediction_words"

    def __init__(
        self,
        conditions: Sequence[str] | None,
        ahead: int,
        edge: float,
        sampler: Sampler,
        seed: int,
        modalities: Modalities = "rgbd",
        walks: bool = True,
        strength: float = 20.0,
        reach: float = 0.24,
    ) -> None:
        check_conditions(conditions or (), CONDITIONS)
        coded = StateCodec(modalities=modalities).coded
        self.conditions = choose_conditions(conditions, coded, walks)
        if ahead < 1:
            raise ValueError(f"ahead={ahead} must be 1 or more")
        self.measures = {
            name: measure
            for name, measure in MEASURES.items()
            if OF.get(name, "colours") in coded and (walks or name not in WALKING)
        }
        self.walks, self.strength = walks, strength
        self.ahead, self.edge, self.reach, self.sampler, self.seed = ahead, edge, reach, sampler, seed
        drawing = {"steps": sampler.steps, "text": sampler.text, "memory": sampler.memory, "seed": seed}
        self.facts: Mapping[str, Any] = {
            "ahead": ahead,
            "edge": edge,
            "reach": reach,
            "strength": strength,
            "sampling": drawing,
        }

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> PredictTrial:
        """Take the clips of a split, or those at ``picks``."""
        rows = data.datasets[split]
        clips = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        return PredictTrial(self, module, data, once, rows, clips)
