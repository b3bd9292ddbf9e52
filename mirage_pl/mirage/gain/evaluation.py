"""How much helper images help: how likely the true answer is when they are shown with the question, and when not.

Rows may be chosen by it (``data keep=``), and runs asked whether they are better where it is high. Keeping rows whose
answer becomes likelier with the helper image is Future-L1's; this measure of it, in nats of whole answers, is ours.

Shapes: B rows, T columns, M supervised places.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from data_modules.samples import Picture, Sample
from mirage_pl.engine.evaluation.answers import write_question
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.evaluation.statistics import paired_difference, wilson
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial
from mirage_pl.mirage.against import find_results, match_success
from mirage_pl.mirage.batch import IGNORE
from mirage_pl.mirage.collator import Collator, blocks, reveal
from mirage_pl.mirage.losses import to_float32

SHUFFLED = "shuffled"
QUARTERS = 4
CHUNK = 1024
"""Places whose logits are in memory at a time."""


class HelperGain:
    """Score rows by how much their helper images help a model that is shown them.

    Args:
        conditions: ``[shuffled]``: also with another row's helper images; ``[]``: without.
        against: run folders whose success is shown by quarter of the gain; they were scored on the same questions.

    Raises:
        ValueError: a condition that there isn't; or a run of ``against`` is none, or hasn't been scored.
    """

    name, like = "gain", "answers"
    measures: Mapping[str, Measure] = {
        "gain": Measure(
            "mean", "higher", "nats", "Gain: by how much the true answer is likelier with the row's helper images."
        ),
        "helped": Measure("share", "higher", meaning="Helped: it is likelier."),
        "shown": Measure("mean", "higher", "nats", "Shown: log-likelihood of the answer with them."),
        "unshown": Measure("mean", "higher", "nats", "Unshown: the same without."),
    }
    conditions_in, numbers_in = "conditions", "numbers"
    words = "mirage_pl.mirage.gain.words"

    def __init__(self, conditions: Sequence[str] = (), against: Sequence[str] = ()) -> None:
        check_conditions(conditions, [SHUFFLED])
        self.conditions = tuple(conditions)
        self.against = {run: find_results(Path(run)) for run in against}
        self.facts: Mapping[str, Any] = {}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "GainTrial":
        """Prepare the rows of a split, or those at ``picks``.

        Raises:
            ValueError: the run answers in latents.
        """
        if data.collate.latents:
            raise ValueError(
                "evaluation=gain asks how likely an answer is with helper images in the question, and this run thinks "
                "in latents; score with a run that doesn't, such as one of stage=sft stage.collator.revealed=0.5"
            )
        return GainTrial(self, module, data, once, split, picks)


class GainTrial(Trial):
    """How likely one module finds the answers of some rows.

    Attributes:
        kept: the samples that could be scored, with their row of ``own``.
    """

    def __init__(
        self, evaluation: HelperGain, module: Any, data: Any, once: Once, split: str, picks: Sequence[int] | None
    ) -> None:
        self.evaluation, self.module, self.once = evaluation, module, once
        self.dataset, self.width = data.datasets[split], data.loader.eval_batch_size
        self.collate: Collator = copy(data.collate)
        self.trained_on = self.collate.revealed
        self.collate.revealed, self.collate.helpers = None, False
        self.picks = range(len(self.dataset)) if picks is None else picks
        self.failures: list[dict[str, str]] = []
        self.kept: list[tuple[Sample, Row]] = []

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Score all rows, some at a time; those that can't be are listed in ``failures``."""
        if condition == OWN:
            self.failures, self.kept = [], []
            for first in range(0, len(self.picks), self.width):
                yield self.score_own(first)
            return
        givers = self.choose_givers()
        for first in range(0, len(self.kept), self.width):
            part = self.kept[first : first + self.width]
            told = [lend(sample, giver) for (sample, _), giver in zip(part, givers[first:], strict=False)]
            shown = self.once(f"{condition}-{first}", partial(self.measure, told))["logs"]
            yield [row | judge(row["unshown"], logs) for (_, row), logs in zip(part, shown, strict=True)]

    def score_own(self, first: int) -> list[Row]:
        """Score some rows with their own helper images and without."""
        samples = [self.dataset[index] for index in self.picks[first : first + self.width]]
        problems = [self.find_problem(sample) for sample in samples]
        self.failures += [
            {"where": sample.where, "error": problem}
            for sample, problem in zip(samples, problems, strict=True)
            if problem is not None
        ]
        samples = [sample for sample, problem in zip(samples, problems, strict=True) if problem is None]
        if not samples:
            return []
        shown = self.once(f"shown-{first}", partial(self.measure, list(map(reveal, samples))))["logs"]
        unshown = self.once(f"unshown-{first}", partial(self.measure, samples))["logs"]
        rows = [self.describe_row(sample) for sample in samples]
        rows = [row | judge(*logs) for row, *logs in zip(rows, unshown, shown, strict=True)]
        self.kept += zip(samples, rows, strict=True)
        return rows

    def find_problem(self, sample: Sample) -> str | None:
        """Say why a row can't be scored; ``None`` if it can."""
        if sample.answer and not blocks(sample):
            return f"{sample.where}: no helper image; give image_output or a sequence_plan"
        return self.collate.problem(reveal(sample))

    def choose_givers(self) -> list[Sample]:
        """Of each scored row the one whose helper images it is shown, see :func:`find_giver`."""
        samples = [sample for sample, _ in self.kept]
        return [find_giver(samples, number) for number in range(len(samples))]

    @torch.no_grad()
    def measure(self, samples: Sequence[Sample]) -> dict[str, Any]:
        """The log-likelihood of each row's answer, in nats, as ``logs``."""
        batch = self.collate(samples).to(self.module.device)
        hidden_BTD = self.module.net.recurrent(batch)
        return {"logs": sum_logs(hidden_BTD, batch.targets_BT, self.module.net.logits).tolist()}

    def describe_row(self, sample: Sample) -> Row:
        """A row of ``predictions.jsonl`` without its scores."""
        names = {"id": self.dataset.identity(sample), "answer_id": self.dataset.answer_identity(sample)}
        group = self.dataset.grade(sample, sample.answer_text).group
        texts = {"question": write_question(sample), "truth": sample.answer_text}
        return {"where": sample.where, **names, "group": group, **texts}

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """``quarters``: ends of the gain in each; ``by_quarter``: run of ``against`` -> its success there."""
        parts = split_by_gain(rows)
        gains = [[rows[number]["gain"] for number in part] for part in parts]
        quarters = [{"low": min(part), "high": max(part), "n": len(part)} for part in gains]
        return {"quarters": quarters, "by_quarter": self.compare(rows, parts)}

    def compare(self, rows: Sequence[Row], parts: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Run of ``against`` -> ``name``, ``success`` by quarter, and how far it is above that of the first run.

        Raises:
            ValueError: it was scored on other questions.
        """
        found: dict[str, Any] = {}
        first: list[Any] | None = None
        for run, results in self.evaluation.against.items():
            result, values = match_success(run, results, rows)
            success = [[bool(values[number]) for number in part] for part in parts]
            found[run] = {"name": result.name, "success": [wilson(sum(part), len(part)) for part in success]}
            if first is not None:
                pairs = [[bool(first[number]) for number in part] for part in parts]
                found[run]["above_first"] = [paired_difference(*pair) for pair in zip(pairs, success, strict=True)]
            first = values if first is None else first
        return found

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Say so if the run has never been shown helper images of these rows' kind."""
        if self.trained_on:
            return ()
        return [
            "this run saw no helper image in training (stage.collator.revealed), so that gains may only be strangeness"
        ]

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw the row's images, those that help framed."""
        sample = next(sample for sample, _ in self.kept if sample.where == row["where"])
        yield "", self.dataset.picture(sample)


def judge(unshown: float, shown: float) -> dict[str, Any]:
    """The measures of a row, from its log-likelihoods."""
    return {"gain": shown - unshown, "helped": shown > unshown, "shown": shown, "unshown": unshown}


def sum_logs(hidden_BTD: Tensor, targets_BT: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """The log-likelihood of the supervised tokens of each row, summed: ``[B]``."""
    supervised_BT = targets_BT != IGNORE
    pieces = zip(hidden_BTD[supervised_BT].split(CHUNK), targets_BT[supervised_BT].split(CHUNK), strict=True)
    losses_M = torch.cat([cross_entropy(to_float32(head(each)), right, reduction="none") for each, right in pieces])
    row_M = supervised_BT.nonzero()[:, 0]
    return -losses_M.new_zeros(len(targets_BT)).index_add(0, row_M, losses_M)


def find_giver(samples: Sequence[Sample], number: int) -> Sample:
    """The next row after one, and around, of another answer with as many helper images; itself if there is none."""
    sample = samples[number]
    for step in range(1, len(samples)):
        other = samples[(number + step) % len(samples)]
        if len(blocks(other)) == len(blocks(sample)) and other.answer_text != sample.answer_text:
            return other
    return sample


def lend(sample: Sample, giver: Sample) -> Sample:
    """A row that is shown another's helper images."""
    return replace(sample, question=(*sample.question, *(Picture(block.path) for block in blocks(giver))))


def split_by_gain(rows: Sequence[Row]) -> list[list[int]]:
    """Numbers of the rows in quarters by gain, the lowest first; fewer where there are fewer rows."""
    order = sorted(range(len(rows)), key=lambda number: rows[number]["gain"])
    ends = [round(part * len(order) / QUARTERS) for part in range(QUARTERS + 1)]
    return [order[low:high] for low, high in pairwise(ends) if low < high]
