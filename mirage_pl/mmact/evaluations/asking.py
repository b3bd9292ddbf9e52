"""Steps of demonstrations at which something is asked, and what is changed in them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from data_modules.demonstrations.steps import Step
from data_modules.loading.draws import stream_seed
from mirage_pl.engine.seams import OWN, Once, Row, Trial

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
        """Those that were asked for."""
        conditions: Sequence[str] = self.evaluation.conditions
        return conditions

    def tamper(self, step: Step, condition: str) -> Step:
        """What is seen of a step under a condition.

        Raises:
            ValueError: there is no other instruction.
        """
        if condition == BLIND:
            return replace(step, state_S=None)
        if condition == SILENT:
            return replace(step, instruction="")
        if condition == BLANK:
            return replace(step, seen=[np.zeros_like(frame) for frame in step.look()])
        if condition == OWN:
            return step
        others = sorted({other.instruction for other in self.steps} - {step.instruction})
        if not others:
            raise ValueError(f"conditions=[{WRONG}]: all items have the same instruction")
        return replace(step, instruction=others[stream_seed("other", step.where) % len(others)])

    def place_row(self, step: Step) -> Row:
        """Where a row of ``predictions.jsonl`` is from; steps of an episode share a unit."""
        episode = self.rows.identity(step)
        place = {"id": episode, "where": step.where, "group": step.group, "unit": episode}
        return place | {"instruction": step.instruction}
