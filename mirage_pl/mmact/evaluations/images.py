"""What a model says will be seen after a chunk, code by code. Shapes: n codes of a picture, K codes there are."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from data_modules.demonstrations.steps import Step
from mirage_pl.engine.seams import OWN, Drawn, Measure, Row
from mirage_pl.mmact.evaluations.asking import BLANK, BLIND, SILENT, WRONG, Asking, StepTrial
from mirage_pl.mmact.evaluations.deviation import measure_deviation
from mirage_pl.mmact.evaluations.pictures import PSNR, measure_psnr, place_beside, to_levels
from mirage_pl.mmact.pictures import prepare_views

UNIGRAM, COPY = "unigram", "copy"
CONDITIONS = (WRONG, SILENT, BLIND, BLANK, UNIGRAM, COPY)


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


class Foreseeing(Asking):
    """Score images of the future; ``unigram`` is of the training data."""

    name = "images"
    measures: Mapping[str, Measure] = {
        "accuracy": Measure("mean", "higher", meaning="Accuracy: share of the picture's codes that are right."),
        "psnr": PSNR,
    }
    numbers_in = "foreseeing"
    known, baseline, trial = CONDITIONS, UNIGRAM, ForeseeingTrial

    def check(self, module: Any, data: Any) -> None:
        """Refuse a module that paints nothing."""
        if not hasattr(module, "paint") or not data.collate.paints:
            raise ValueError("this run paints nothing; train one with stage=mmact/mix mix.image=0.05 sight=images")
