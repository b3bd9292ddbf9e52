"""Pictures that went through their codes. Shapes: as in ``pictures``, n codes of a picture."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from data_modules.demonstrations.steps import Step
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial
from mirage_pl.mmact.evaluations.asking import pick_places
from mirage_pl.mmact.model.coder import CoderSizes
from mirage_pl.mmact.model.images import read_codes
from mirage_pl.mmact.pictures import prepare_views

GRAY = "mean_picture"
CONDITIONS = (GRAY,)
PSNR = Measure("mean", "higher", "dB", "PSNR: of pictures within [0, 1], each view by itself.")


class Recoding:
    """Score pictures by how they come back.

    Args:
        conditions: names out of ``CONDITIONS``.
        per_episode: steps of each episode whose pictures are taken, evenly spread.

    Raises:
        ValueError: a condition that there isn't.
    """

    name = "pictures"
    measures: Mapping[str, Measure] = {"psnr": PSNR}
    conditions_in, numbers_in, words = "conditions", "codes", "mirage_pl.mmact.report"
    facts: Mapping[str, Any] = {}

    def __init__(self, conditions: Sequence[str], per_episode: int) -> None:
        check_conditions(conditions, CONDITIONS)
        if per_episode < 1:
            raise ValueError(f"per_episode={per_episode} must be 1 step or more")
        self.conditions, self.per_episode = tuple(conditions), per_episode

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "RecodingTrial":
        """Take some steps of each episode of a split, or those at ``picks``.

        Raises:
            ValueError: the module codes no pictures.
        """
        if not isinstance(getattr(getattr(module, "net", None), "sizes", None), CoderSizes):
            raise ValueError("this run doesn't learn to code pictures; score one of stage=mmact/vq")
        rows = data.datasets[split]
        places = pick_places(rows, self.per_episode) if picks is None else picks
        return RecodingTrial(self, module, once, rows, [rows[place] for place in places])


class RecodingTrial(Trial):
    """One coder on the pictures of some steps.

    Args:
        evaluation: its options.
        module: its ``net`` is a coder.
        once: keeps what was computed.
        rows: the data set.
        steps: the items.
    """

    def __init__(self, evaluation: Recoding, module: Any, once: Once, rows: Any, steps: Sequence[Step]) -> None:
        self.evaluation, self.module, self.once, self.rows, self.steps = evaluation, module, once, rows, steps
        self.side, self.failures, self.parts = module.net.sizes.side, (), dict[str, dict[str, Any]]()
        self.mean_VCSS = torch.zeros(0)

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Score the pictures of each step."""
        for number, step in enumerate(self.steps):
            part = self.once(f"{condition}-{number}", partial(self.measure, step, condition))
            if condition == OWN:
                self.parts[step.where] = part
            episode = self.rows.identity(step)
            yield [{"id": episode, "where": step.where, "group": step.group, "unit": episode, "psnr": part["psnr"]}]

    @torch.no_grad()
    def measure(self, step: Step, condition: str) -> dict[str, Any]:
        """PSNR, codes and looks of a step's pictures."""
        truth_VCSS = prepare_views(step.look(), self.side)
        if condition == GRAY:
            return {"psnr": measure_psnr(self.average(), truth_VCSS)}
        coded = self.module.net(
            truth_VCSS.to(self.module.device)
        )  # one call, so that it works where weights are in parts
        shown_VCSS, codes_Vn = coded.pictures_MCSS.cpu(), read_codes(coded.vectors_MKGG).cpu()
        return {"psnr": measure_psnr(shown_VCSS, truth_VCSS), "codes": codes_Vn, "shown": to_levels(shown_VCSS)}

    def average(self) -> Tensor:
        """The mean of all pictures, view by view."""
        if not len(self.mean_VCSS):
            self.mean_VCSS = torch.stack([prepare_views(step.look(), self.side) for step in self.steps]).mean(0)
        return self.mean_VCSS

    def describe(self) -> Mapping[str, Any]:
        """How many codes are used."""
        if not self.parts:
            return {}
        counts = torch.bincount(torch.cat([part["codes"].flatten() for part in self.parts.values()]))
        shares = counts[counts > 0] / counts.sum()
        return {"used": len(shares), "perplexity": torch.special.entr(shares).sum().exp().item()}

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """What came back, and what it was."""
        step = next(each for each in self.steps if each.where == row["where"])
        yield "", place_beside(self.parts[step.where]["shown"])
        yield "truth", place_beside(to_levels(prepare_views(step.look(), self.side)))


def measure_psnr(shown: Tensor, truth: Tensor) -> float:
    """PSNR of pictures about [-1, 1], as if within [0, 1]."""
    error = (shown.clamp(-1, 1) - truth.clamp(-1, 1)).div(2).square().mean()
    return float(-10 * error.clamp(min=1e-10).log10())


def to_levels(pictures_VCSS: Tensor) -> Tensor:
    """Pictures about [-1, 1] as uint8."""
    return ((pictures_VCSS.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def place_beside(levels_VCSS: Tensor) -> Image.Image:
    """Pictures of uint8, side by side."""
    return Image.fromarray(torch.cat(list(levels_VCSS), 2).permute(1, 2, 0).numpy())
