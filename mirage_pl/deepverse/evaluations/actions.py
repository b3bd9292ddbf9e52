"""Actions that are read from frames: from true ones, out of their codes, and from imagined ones.

Shapes: B clips, S steps, A numbers of an action, N units, U of them after the given ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from data_modules.episodes.clips import Clip
from data_modules.worlds.walking import name_action
from mirage_pl.deepverse.evaluations.motion import read_code
from mirage_pl.deepverse.evaluations.prediction_trial import PredictTrial
from mirage_pl.deepverse.model.cameras import relate
from mirage_pl.deepverse.model.prompts import CODES
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.pictures import find_scales
from mirage_pl.deepverse.units import UnitBatch
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row

STILL, CODED, IMAGINED, RAYS = "still", "codes", "imagined", "rays"
CONDITIONS = (STILL, CODED, IMAGINED, RAYS)
ERROR = Measure("mean", "lower", meaning="error: how far each number of an action is off, mean; they are -1 to 1.")
NAMED = Measure(
    "mean",
    "higher",
    meaning="named: share of units whose action, of 27, is read right, where the camera moved by it.",
)


class Read:
    """Score what is done in the units after the given ones, as it is read from frames.

    Args:
        conditions: names out of ``CONDITIONS``; ``None``: all that there are for such a model.
        ahead: units that are read, and imagined, at most as many as clips have.
        sampler: how units are drawn.
        seed: of what is drawn.
        walks: whether actions are those of a walk, which have names.
        edge: degrees from which a unit's turn is one: half of what an action turns by.
        reach: length from which a unit's step is one, in the unit of the poses.

    Raises:
        ValueError: a condition that there isn't, or not for such a model; or no unit ahead.
    """

    name = "actions"
    conditions_in, numbers_in = "conditions", "reading"
    words = "mirage_pl.deepverse.evaluations.actions_words"

    def __init__(
        self,
        conditions: Sequence[str] | None,
        ahead: int,
        sampler: Sampler,
        seed: int,
        walks: bool,
        edge: float,
        reach: float,
    ) -> None:
        known = CONDITIONS if walks else CONDITIONS[:-1]
        check_conditions(conditions or (), known)
        if ahead < 1:
            raise ValueError(f"ahead={ahead} must be 1 or more")
        self.conditions = known if conditions is None else tuple(conditions)
        self.measures: Mapping[str, Measure] = {"named": NAMED, "error": ERROR} if walks else {"error": ERROR}
        self.ahead, self.sampler, self.seed, self.walks, self.edge, self.reach = (
            ahead,
            sampler,
            seed,
            walks,
            edge,
            reach,
        )
        self.facts: Mapping[str, Any] = {"ahead": ahead, "seed": seed, "steps": sampler.steps}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ReadTrial":
        """Take the clips of a split, or those at ``picks``."""
        rows = data.datasets[split]
        clips = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        return ReadTrial(self, module, data, once, rows, clips)


class ReadTrial(PredictTrial):
    """One reader on some clips, and the world model beside it."""

    def score_clips(self, clips: Sequence[Clip], condition: str) -> dict[str, Any]:
        """Score some clips: their ``rows`` and ``failures``."""
        batch, failures = self.open_clips(clips)
        with torch.no_grad():
            rows = [] if batch is None else self.module.net(self.write_read, batch, condition)
        return {"rows": rows, "failures": failures}

    def keep(self, part: dict[str, Any]) -> None:
        """Nothing."""

    def write_read(self, batch: UnitBatch, condition: str) -> list[Row]:
        """Rows of ``predictions.jsonl``; intervals draw episodes, since clips of one are alike."""
        first, count = self.first_frame() - 1, self.count_ahead(batch) * self.world.stride
        done_BSA = batch.actions_BSA[:, first : first + count].float()
        codes, read_BSA = None, None
        if condition == RAYS:
            codes = self.name_motions(self.go_on(batch), batch)
        else:
            read_BSA = self.read(batch, condition)[:, first : first + count].float()
            codes = [self.name_units(row) for row in read_BSA] if self.evaluation.walks else None
        truth = self.name_truth(batch) if self.evaluation.walks else None
        rows = []
        for place, clip in enumerate(batch.samples):
            episode = self.rows.identity(clip)
            row: Row = {"id": episode, "where": clip.where, "group": clip.group, "unit": episode}
            if read_BSA is not None:
                row["error"] = float((read_BSA[place] - done_BSA[place]).abs().mean())
            if codes is not None and truth is not None:
                pairs = [(ours, told) for ours, told in zip(codes[place], truth[place], strict=True) if told]
                row["named"] = sum(ours == told for ours, told in pairs) / len(pairs) if pairs else None
            rows.append(row)
        return rows

    def read(self, batch: UnitBatch, condition: str) -> Tensor:
        """Actions of clips, [B, S, A]: from frames as a condition has them."""
        if condition == STILL:
            return torch.zeros_like(batch.actions_BSA)
        if condition == OWN:
            pictures = self.module.draw(batch)
        else:
            states = self.module.build(batch)[0] if condition == CODED else self.go_on(batch)
            pictures, _ = self.world.show(states)
        actions_BSA: Tensor = self.module.read(pictures, batch)
        return actions_BSA

    def name_units(self, actions_SA: Tensor) -> list[str]:
        """The action of each unit, by its code: the mean of its steps, each number rounded."""
        means_UA = actions_SA.unflatten(0, (-1, self.world.stride)).mean(1)
        return [name_action(action) for action in means_UA.clamp(-1, 1).tolist()]

    def name_motions(self, states_BSNhw: Tensor, batch: UnitBatch) -> list[list[str]]:
        """The action of each unit after the given ones, by its code, as its camera moves."""
        _, cameras = self.world.show(states_BSNhw)
        steps_BN44 = cameras.poses_BN44[:, self.given :].clone()
        steps_BN44[..., :3, 3] *= find_scales(batch.depth_BTHW.float()).view(-1, 1, 1)
        return [[self.name_motion(step_44) for step_44 in steps_N44] for steps_N44 in steps_BN44]

    def name_truth(self, batch: UnitBatch) -> list[list[str]]:
        """What was told of each unit after the given ones; nothing where the camera moved otherwise, as at walls."""
        ahead, rows = self.count_ahead(batch), list[list[str]]()
        for told_N, poses_N44 in zip(batch.prompts_BN.tolist(), batch.poses_BN44, strict=True):
            codes = [CODES[told] for told in told_N[self.given : self.given + ahead]]
            moved = [self.name_motion(step_44) for step_44 in relate(poses_N44)[self.given : self.given + ahead]]
            rows.append([code if code == other else "" for code, other in zip(codes, moved, strict=True)])
        return rows

    def name_motion(self, step_44: Tensor) -> str:
        """The code of a unit's step."""
        return read_code(step_44, self.evaluation.edge, self.evaluation.reach)

    def over_all(self, condition: str, rows: Sequence[Row]) -> Mapping[str, float]:
        """Nothing more."""
        return {}

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Nothing."""
        return iter(())
