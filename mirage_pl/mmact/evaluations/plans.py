"""What a policy says comes next, at steps of demonstrations: is it what the demonstration says?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from data_modules.demonstrations.steps import Demonstrations, Step
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import Measure, Once, Row
from mirage_pl.mmact.evaluations.asking import BLIND, SILENT, WRONG, StepTrial, pick_places
from mirage_pl.mmact.evaluations.deviation import measure_deviation
from mirage_pl.mmact.model.decoding import Decoder

MAJORITY = "majority"
CONDITIONS = (WRONG, SILENT, BLIND, MAJORITY)


class Saying:
    """Score plans in words.

    Args:
        conditions: names out of ``CONDITIONS``.
        decode: how words are filled in.
        per_episode: steps of each episode that are asked about, evenly spread.
        demonstrations: reads the training data, for the majority.
        train_file: the training data.

    Raises:
        ValueError: a condition that there isn't.
    """

    name = "plans"
    measures: Mapping[str, Measure] = {
        "exact": Measure("share", "higher", meaning="Exact: every word is as the demonstration says."),
    }
    conditions_in, numbers_in, words = "conditions", "saying", "mirage_pl.mmact.report"

    def __init__(
        self,
        conditions: Sequence[str],
        decode: Decoder,
        per_episode: int,
        demonstrations: Demonstrations,
        train_file: str | None,
    ) -> None:
        check_conditions(conditions, CONDITIONS)
        if per_episode < 1:
            raise ValueError(f"per_episode={per_episode} must be 1 step or more")
        if MAJORITY in conditions and train_file is None:
            raise ValueError(f"conditions=[{MAJORITY}] needs training data, and task.train_file is null")
        self.conditions, self.decode, self.per_episode = tuple(conditions), decode, per_episode
        self.demonstrations, self.train_file = demonstrations, train_file
        self.facts: Mapping[str, Any] = {"per_episode": per_episode, "decode": dict(vars(decode))}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "SayingTrial":
        """Take some steps of each episode of a split, or the steps at ``picks``.

        Raises:
            ValueError: a step without a plan, or a module that says none.
        """
        if not hasattr(module, "write_plans"):
            raise ValueError("this run says no words; score one of stage=mmact/text or stage=mmact/mix")
        rows = data.datasets[split]
        places = pick_places(rows, self.per_episode) if picks is None else picks
        steps = [rows[place] for place in places]
        if without := [step.where for step in steps if step.plan is None]:
            raise ValueError(f"{without[0]}: no plan, so nothing that is said can be scored")
        return SayingTrial(self, module, data, once, rows, steps)


class SayingTrial(StepTrial):
    """What a module says at some steps; it has ``write_plans``."""

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
