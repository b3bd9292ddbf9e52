"""What a policy says comes next, at steps of demonstrations: is it what the demonstration says?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from data_modules.demonstrations.steps import Step
from mirage_pl.engine.seams import Measure, Row
from mirage_pl.mmact.evaluations.asking import BLIND, SILENT, WRONG, Asking, StepTrial
from mirage_pl.mmact.evaluations.deviation import measure_deviation

MAJORITY = "majority"
CONDITIONS = (WRONG, SILENT, BLIND, MAJORITY)


class SayingTrial(StepTrial):
    """What a module says at some steps; it has ``write_plans``.

    Raises:
        ValueError: a step without a plan.
    """

    def __init__(self, *trial: Any) -> None:
        super().__init__(*trial)
        if without := [step.where for step in self.steps if step.plan is None]:
            raise ValueError(f"{without[0]}: no plan, so nothing that is said can be scored")

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Ask at each step, some at a time."""
        for first in range(0, len(self.steps), self.width):
            steps = self.steps[first : first + self.width]
            said = self.once(f"{condition}-{first}", partial(self.ask, steps, condition))["said"]
            yield [self.write_row(*pair) for pair in zip(steps, said, strict=True)]

    def ask(self, steps: Sequence[Step], condition: str) -> dict[str, Any]:
        """What is said at some steps under a condition."""
        if condition == MAJORITY:
            assert self.evaluation.train_file is not None
            train = self.evaluation.demonstrations.read(self.evaluation.train_file)
            counts = Counter(train[place].plan for place in range(len(train)))
            return {"said": [counts.most_common(1)[0][0] or ""] * len(steps)}
        seen = [replace(self.tamper(step, condition), plan=None) for step in steps]
        batch = self.collate(seen).to(self.module.device)
        plans = self.module.write_plans(batch, self.evaluation.decode)
        return {"said": [self.collate.words.decode(ids) for ids in plans]}

    def describe(self) -> Mapping[str, float]:
        """How far answers depart from those of exact decoding, where it approximates: at some steps."""
        steps = [replace(step, plan=None) for step in self.steps[: self.width]]
        batch = self.collate(steps).to(self.module.device)
        return measure_deviation(
            self.evaluation.decode, lambda decode: np.array(self.module.write_plans(batch, decode), np.float64)
        )

    def write_row(self, step: Step, said: str) -> Row:
        """A row of ``predictions.jsonl``; steps of an episode share a unit."""
        return self.place_row(step) | {"plan": step.plan, "said": said, "exact": said == step.plan}


class Saying(Asking):
    """Score plans in words; the majority is of the training data."""

    name = "plans"
    measures: Mapping[str, Measure] = {
        "exact": Measure("share", "higher", meaning="Exact: every word is as the demonstration says."),
    }
    numbers_in = "saying"
    known, baseline, trial = CONDITIONS, MAJORITY, SayingTrial

    def check(self, module: Any, data: Any) -> None:
        """Refuse a module that says nothing."""
        if not hasattr(module, "write_plans"):
            raise ValueError("this run says no words; score one of stage=mmact/text or stage=mmact/mix")
