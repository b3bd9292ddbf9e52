"""Waves of a test set: their last number is guessed, as the model is and under conditions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial
from tests.toy.waves import Wave, draw_wave

CONDITIONS = ("copy_last", "shuffled")


class NextNumber:
    """``conf/evaluation/toy/next_number.yaml``.

    Args:
        conditions: names out of ``CONDITIONS``.
        close: a guess that is off by less is a hit.
    """

    name = "next_number"
    measures: Mapping[str, Measure] = {
        "hit": Measure("share", "higher", meaning="Hit: the guess is close."),
        "error": Measure("mean", "lower", meaning="Error: how far the guess is off."),
    }
    conditions_in, numbers_in, words = "conditions", "wave", "tests.toy.report"

    def __init__(self, conditions: Sequence[str], close: float) -> None:
        self.conditions, self.close = tuple(conditions), close
        self.facts: Mapping[str, Any] = {"close": close}

    def check(self, module: Any) -> None:
        """Refuse a condition that there isn't.

        Raises:
            ValueError: names it, and those there are.
        """
        if unknown := set(self.conditions) - set(CONDITIONS):
            raise ValueError(f"conditions={sorted(unknown)}: there is no such condition; choose of {list(CONDITIONS)}")

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "NextNumberTrial":
        """Take the waves of a split, or some of them."""
        rows = data.datasets[split]
        waves = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        return NextNumberTrial(self, module, data, once, rows, waves)


class NextNumberTrial(Trial):
    """One module on some waves.

    Args:
        evaluation: its options.
        module: has ``guess(batch)``.
        data: its collator and batch size are used.
        once: keeps guesses, so that an interrupted evaluation goes on.
        rows: the data set.
        waves: the items.
    """

    def __init__(
        self, evaluation: NextNumber, module: Any, data: Any, once: Once, rows: Any, waves: Sequence[Wave]
    ) -> None:
        self.evaluation, self.module, self.once, self.rows, self.waves = evaluation, module, once, rows, waves
        self.collate, self.width, self.failures = data.collate, data.loader.eval_batch_size, ()
        self.guesses: dict[str, float] = {}

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Guess the last number of each wave: from its own numbers, or from what the condition gives."""
        for first in range(0, len(self.waves), self.width):
            waves = self.waves[first : first + self.width]
            guesses = self.once(f"{condition}-{first}", self.make_guesses(waves, condition))["guesses"]
            yield [self.score_wave(*pair, condition) for pair in zip(waves, guesses, strict=True)]

    def make_guesses(self, waves: Sequence[Wave], condition: str) -> Callable[[], dict[str, Any]]:
        """A function that guesses, called if an interrupted evaluation hasn't."""

        def guess() -> dict[str, Any]:
            if condition == "copy_last":
                return {"guesses": [wave.numbers[-2] for wave in waves]}
            given = [*waves[1:], waves[0]] if condition == "shuffled" else waves
            guessed_B: Tensor = self.module.guess(self.collate(given).to(self.module.device))
            return {"guesses": guessed_B.tolist()}

        return guess

    def score_wave(self, wave: Wave, guess: float, condition: str) -> Row:
        """One row of ``predictions.jsonl``."""
        error = abs(guess - wave.numbers[-1])
        if condition == OWN:
            self.guesses[wave.where] = guess
        row = {"id": self.rows.identity(wave), "where": wave.where, "group": wave.pace, "guess": guess}
        return row | {"hit": error < self.evaluation.close, "error": error}

    def describe(self) -> Mapping[str, Any]:
        """How far guesses are off to one side."""
        off = [self.guesses[wave.where] - wave.numbers[-1] for wave in self.waves]
        return {"bias": torch.tensor(off).mean().item()}

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw a wave with what was guessed of it."""
        wave = next(wave for wave in self.waves if wave.where == row["where"])
        yield "", draw_wave(wave.numbers, row["guess"])
