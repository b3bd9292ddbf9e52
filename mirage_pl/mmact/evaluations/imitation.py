"""How far a policy's actions are from those of demonstrations, step by step: no simulator is needed.

Shapes: B steps, H steps of a chunk, A numbers of an action.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_modules.demonstrations.steps import Step
from data_modules.loading.draws import stream_seed
from mirage_pl.engine.seams import Measure, Row
from mirage_pl.mmact.evaluations.asking import BLANK, BLIND, SILENT, WRONG, Asking, StepTrial

MEAN = "mean"
CONDITIONS = (WRONG, SILENT, BLIND, BLANK, MEAN)


class ImitatingTrial(StepTrial):
    """What a module does at some steps; it has ``choose_actions`` and ``scales``."""

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Choose actions at each step, some at a time."""
        for first in range(0, len(self.steps), self.width):
            steps = self.steps[first : first + self.width]
            off = self.once(f"{condition}-{first}", partial(self.compare, steps, condition))["off"]
            yield [self.place_row(step) | {"off": away} for step, away in zip(steps, off, strict=True)]

    def compare(self, steps: Sequence[Step], condition: str) -> dict[str, Any]:
        """``off`` of each step: the mean over what of its chunk lies within the episode."""
        batch = self.collate([self.tamper(step, condition) for step in steps] if condition != MEAN else steps)
        truth_BHA, chosen_BHA = self.scale(batch.actions_BHA), self.choose(batch, steps, condition)
        away_BN, real_BN = (chosen_BHA - truth_BHA).abs().flatten(1), batch.real_BN
        return {"off": ((away_BN * real_BN).sum(1) / real_BN.sum(1)).tolist()}

    def scale(self, actions_BHA: Tensor) -> Tensor:
        """Actions in the range that they are learnt in, [B, H, A]."""
        scaled_BHA: Tensor = self.module.scales.action(actions_BHA.to(self.module.device))
        return scaled_BHA.clamp(-1, 1).cpu()

    def choose(self, batch: Any, steps: Sequence[Step], condition: str) -> Tensor:
        """What is done under a condition, [B, H, A], in that range."""
        if condition == MEAN:
            return self.scale(self.mean_A.expand_as(batch.actions_BHA))
        streams = [torch.Generator().manual_seed(stream_seed("act", step.where)) for step in steps]
        chosen_BN = self.module.choose_actions(batch.to(self.module.device), self.evaluation.decode, streams)
        return self.scale(chosen_BN.view_as(batch.actions_BHA))

    @cached_property
    def mean_A(self) -> Tensor:
        """The mean action of the training data."""
        actions_NA = self.evaluation.demonstrations.read(self.evaluation.train_file).gather()[1]
        return torch.from_numpy(np.asarray(actions_NA.mean(0), np.float32))


class Imitating(Asking):
    """Score chunks of actions against those of demonstrations; ``mean`` is of the training data."""

    name = "imitation"
    measures: Mapping[str, Measure] = {
        "off": Measure("mean", "lower", meaning="Off: how far actions are from the demonstrated ones, of [-1, 1]."),
    }
    numbers_in = "imitating"
    known, baseline, trial = CONDITIONS, MEAN, ImitatingTrial

    def check(self, module: Any, data: Any) -> None:
        """Refuse a module that doesn't act."""
        if not hasattr(module, "choose_actions"):
            raise ValueError("this run chooses no actions; give evaluation=mmact/plans, or train stage=mmact/mix")
