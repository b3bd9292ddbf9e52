"""Steps of demonstrations at which something is asked, and what is changed in them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from data_modules.demonstrations.steps import Demonstrations, Step
from data_modules.loading.draws import stream_seed
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import OWN, Once, Row, Trial
from mirage_pl.mmact.evaluations.decoders import describe_decoder
from mirage_pl.mmact.model.decoding import Decoder

WRONG, SILENT, BLIND, BLANK = "wrong_instruction", "no_instruction", "no_state", "blank_image"


def pick_places(rows: Any, per_episode: int) -> list[int]:
    """Places of some steps of each episode, evenly spread."""
    episodes: dict[int, list[int]] = {}
    for place, (row, _) in enumerate(rows.places):
        episodes.setdefault(row, []).append(place)
    return [
        places[index]
        for places in episodes.values()
        for index in sorted({round(part * (len(places) - 1) / max(1, per_episode - 1)) for part in range(per_episode)})
    ]


class StepTrial(Trial):
    """One module at some steps.

    Args:
        evaluation: its options.
        module: answers.
        data: its collator and batch size are used.
        once: keeps what was answered, so that an interrupted evaluation goes on.
        rows: the data set.
        steps: the items.
    """

    def __init__(self, evaluation: Any, module: Any, data: Any, once: Once, rows: Any, steps: Sequence[Step]) -> None:
        self.evaluation, self.module, self.once, self.rows, self.steps = evaluation, module, once, rows, steps
        self.collate, self.width, self.failures = data.collate, data.loader.eval_batch_size, ()

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for.

        Raises:
            ValueError: another instruction where all items have the same, or pictures of a policy that reads none.
        """
        conditions: Sequence[str] = self.evaluation.conditions
        if WRONG in conditions and len({step.instruction for step in self.steps}) < 2:
            others = ",".join(name for name in conditions if name != WRONG)
            raise ValueError(f"conditions=[{WRONG}]: all items have the same instruction; give conditions=[{others}]")
        if BLANK in conditions and not getattr(self.collate, "views", 0):
            raise ValueError(f"conditions=[{BLANK}] needs a view, and this policy reads 0")
        return conditions

    def tamper(self, step: Step, condition: str) -> Step:
        """What is seen of a step under a condition."""
        if condition == BLIND:
            return replace(step, state_S=None)
        if condition == SILENT:
            return replace(step, instruction="")
        if condition == BLANK:
            return replace(step, seen=[np.zeros_like(frame) for frame in step.look()])
        if condition == OWN:
            return step
        others = sorted({other.instruction for other in self.steps} - {step.instruction})
        return replace(step, instruction=others[stream_seed("other", step.where) % len(others)])

    def place_row(self, step: Step) -> Row:
        """Where a row of ``predictions.jsonl`` is from; steps of an episode share a unit."""
        episode = self.rows.identity(step)
        place = {"id": episode, "where": step.where, "group": step.group, "unit": episode}
        return place | {"instruction": step.instruction}


class Asking(ABC):
    """Ask a module at some steps of demonstrations; what is asked and what counts, a subclass says.

    Args:
        conditions: names out of ``known``.
        decode: how what is asked for is filled in.
        per_episode: steps of each episode, evenly spread.
        demonstrations: reads the training data, for ``baseline``.
        train_file: the training data.

    Attributes:
        known: the conditions there are.
        baseline: the one among them that is made of the training data.
        trial: what is opened.

    Raises:
        ValueError: a condition that there isn't, or one that can't be made.
    """

    known: ClassVar[Sequence[str]]
    baseline: ClassVar[str]
    trial: ClassVar[type[StepTrial]]
    conditions_in = "conditions"
    words = "mirage_pl.mmact.report"

    def __init__(
        self,
        conditions: Sequence[str],
        decode: Decoder,
        per_episode: int,
        demonstrations: Demonstrations,
        train_file: str | None,
    ) -> None:
        check_conditions(conditions, self.known)
        if per_episode < 1:
            raise ValueError(f"per_episode={per_episode} must be 1 step or more")
        if self.baseline in conditions and train_file is None:
            raise ValueError(f"conditions=[{self.baseline}] needs training data, and task.train_file is null")
        self.conditions, self.decode, self.per_episode = tuple(conditions), decode, per_episode
        self.demonstrations, self.train_file = demonstrations, train_file
        self.facts: Mapping[str, Any] = {"per_episode": per_episode, "decode": describe_decoder(decode)}

    @abstractmethod
    def check(self, module: Any, data: Any) -> None:
        """Refuse a module that can't be asked.

        Raises:
            ValueError: says which can.
        """

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> StepTrial:
        """Take some steps of each episode of a split, or those at ``picks``.

        Raises:
            ValueError: the module can't be asked.
        """
        self.check(module, data)
        rows = data.datasets[split]
        places = pick_places(rows, self.per_episode) if picks is None else picks
        return self.trial(self, module, data, once, rows, [rows[place] for place in places])
