"""What a model says will be seen after a chunk, code by code. Shapes: n codes of a picture, K codes there are."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from data_modules.demonstrations.steps import Demonstrations, Step
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row
from mirage_pl.mmact.evaluations.asking import BLANK, BLIND, SILENT, WRONG, StepTrial, pick_places
from mirage_pl.mmact.evaluations.deviation import measure_deviation
from mirage_pl.mmact.evaluations.pictures import PSNR, measure_psnr, place_beside, to_levels
from mirage_pl.mmact.model.decoding import Decoder
from mirage_pl.mmact.pictures import prepare_views

UNIGRAM, COPY = "unigram", "copy"
CONDITIONS = (WRONG, SILENT, BLIND, BLANK, UNIGRAM, COPY)


class Foreseeing:
    """Score images of the future.

    Args:
        conditions: names out of ``CONDITIONS``.
        decode: how codes are filled in.
        per_episode: steps of each episode after whose chunks is looked, evenly spread.
        demonstrations: reads the training data, for ``unigram``.
        train_file: the training data.

    Raises:
        ValueError: a condition that there isn't.
    """

    name = "images"
    measures: Mapping[str, Measure] = {
        "accuracy": Measure("mean", "higher", meaning="Accuracy: share of the picture's codes that are right."),
        "psnr": PSNR,
    }
    conditions_in, numbers_in, words = "conditions", "foreseeing", "mirage_pl.mmact.report"

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
        if UNIGRAM in conditions and train_file is None:
            raise ValueError(f"conditions=[{UNIGRAM}] needs training data, and task.train_file is null")
        self.conditions, self.decode, self.per_episode = tuple(conditions), decode, per_episode
        self.demonstrations, self.train_file = demonstrations, train_file
        decoded = {name: str(value) for name, value in vars(decode).items()}
        self.facts: Mapping[str, Any] = {"per_episode": per_episode, "decode": decoded}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ForeseeingTrial":
        """Take some steps of each episode of a split, or those at ``picks``.

        Raises:
            ValueError: this run paints nothing.
        """
        if not hasattr(module, "paint") or not data.collate.paints:
            raise ValueError("this run paints nothing; train one with stage=mmact/mix mix.image=0.05 sight=images")
        rows = data.datasets[split]
        places = pick_places(rows, self.per_episode) if picks is None else picks
        return ForeseeingTrial(self, module, data, once, rows, [rows[place] for place in places])


class ForeseeingTrial(StepTrial):
    """What a module paints at some steps; it has ``paint``."""

    def __init__(self, *trial: Any) -> None:
        super().__init__(*trial)
        self.shown: dict[str, Tensor] = {}

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Paint what is seen after each step's chunk, some at a time."""
        for first in range(0, len(self.steps), self.width):
            steps = self.steps[first : first + self.width]
            part = self.once(f"{condition}-{first}", partial(self.paint, steps, condition))
            if condition == OWN:
                self.shown |= dict(zip([step.where for step in steps], part["shown"], strict=True))
            yield [self.write_row(*each) for each in zip(steps, part["accuracy"], part["psnr"], strict=True)]

    def paint(self, steps: Sequence[Step], condition: str) -> dict[str, Any]:
        """``accuracy`` and ``psnr`` of each step under a condition, and what was ``shown``."""
        coder = self.module.coder
        truth_Bn = torch.stack([self.module.codes.foresee(step, coder) for step in steps])
        codes_Bn = self.choose(steps, condition).cpu()
        shown_BCSS = coder.decode(codes_Bn.to(self.module.device)).cpu()
        return {
            "accuracy": (codes_Bn == truth_Bn).float().mean(1).tolist(),
            "psnr": [
                measure_psnr(shown_CSS, self.look_ahead(step))
                for step, shown_CSS in zip(steps, shown_BCSS, strict=True)
            ],
            "shown": to_levels(shown_BCSS),
        }

    def choose(self, steps: Sequence[Step], condition: str) -> Tensor:
        """Codes of each step under a condition, [B, n]."""
        if condition == COPY:
            return torch.stack([self.module.codes.see(step, self.module.coder)[0] for step in steps])
        if condition == UNIGRAM:
            return self.count().expand(len(steps), -1)
        batch = self.collate([self.tamper(step, condition) for step in steps]).to(self.module.device)
        codes_Bn: Tensor = self.module.paint(batch, self.evaluation.decode)
        return codes_Bn

    def count(self) -> Tensor:
        """The code that stands most often in each place in the training data, [n]."""

        def count() -> dict[str, Any]:
            assert self.evaluation.train_file is not None
            train, coder = self.evaluation.demonstrations.read(self.evaluation.train_file), self.module.coder
            places = range(0, len(train), train.chunk)
            codes = torch.stack([self.module.codes.foresee(train[place], coder) for place in places])
            return {"codes": codes.mode(0).values}

        codes_n: Tensor = self.once("unigram", count)["codes"]
        return codes_n

    def describe(self) -> Mapping[str, float]:
        """How far codes depart from those of exact decoding, where it approximates: at some steps."""
        batch = self.collate(self.steps[: self.width]).to(self.module.device)
        return measure_deviation(
            self.evaluation.decode, lambda decode: self.module.paint(batch, decode).double().cpu().numpy()
        )

    def look_ahead(self, step: Step) -> Tensor:
        """What the first camera sees after a step's chunk, as it is coded."""
        return prepare_views(step.look_ahead()[:1], self.module.coder.sizes.side)[0]

    def write_row(self, step: Step, accuracy: float, psnr: float) -> Row:
        """A row of ``predictions.jsonl``; steps of an episode share a unit."""
        return self.place_row(step) | {"accuracy": accuracy, "psnr": psnr}

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """What was painted, and what was seen."""
        step = next(each for each in self.steps if each.where == row["where"])
        yield "", place_beside(self.shown[step.where][None])
        yield "truth", place_beside(to_levels(self.look_ahead(step))[None])
