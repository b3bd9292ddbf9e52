"""Questions answered in text and graded by their data set: the part that all evaluations of answers share."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from data_modules.scores import Scores
from mirage_pl.engine.evaluation.statistics import wilson
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial

MEASURES = {
    "success": Measure("share", "higher", meaning="Success: right, as the data set grades it."),
    "optimal": Measure("share", "higher", meaning="Optimal: right, and as short as possible."),
    "invalid": Measure("share", "lower", meaning="Invalid: no answer could be read."),
}
UNGRADED = "ungraded"


@dataclass(frozen=True)
class Batch:
    """A batch of questions and their answers.

    Attributes:
        samples: the questions.
        generation: their answers, with ``texts`` and ``describe(number)``; ``None`` without questions.
    """

    samples: Sequence[Any]
    generation: Any


class Answers:
    """Score the answers that the model decodes. A family's subclass adds conditions and numbers.

    Args:
        decoding: options of the module's ``generate``; ``max_new_tokens`` is one.
    """

    name = "answers"
    measures: Mapping[str, Measure] = MEASURES
    conditions_in = "conditions"
    numbers_in = "numbers"
    words: str | None = None

    def __init__(self, decoding: Mapping[str, Any]) -> None:
        self.decoding = dict(decoding)
        self.facts: Mapping[str, Any] = {"decoding": self.decoding}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "AnswersTrial":
        """Prepare the questions of a split, or those at ``picks``."""
        return AnswersTrial(self, module, data, once, split, picks)


class AnswersTrial(Trial):
    """Answers of one module to the questions of one split.

    Args:
        evaluation: its options.
        module: has ``generate(prompts, **decoding)`` and ``generation_type``, the class that it returns; attributes
            of this class are plain values and tensors.
        data: a data module; its collator has ``prompts(samples)``, its data sets grade and draw.
        once: see :data:`mirage_pl.engine.seams.Once`.
        split: name of the data set.
        picks: indices of the questions; ``None``: all.

    Attributes:
        batches: filled while ``own`` is scored.
        samples: scored samples by ``where``.
        graded: measures that the data set has graded.
    """

    def __init__(
        self, evaluation: Answers, module: Any, data: Any, once: Once, split: str, picks: Sequence[int] | None
    ) -> None:
        self.measures, self.decoding = evaluation.measures, evaluation.decoding
        self.module, self.once = module, once
        self.collate, self.dataset = data.collate, data.datasets[split]
        self.picks = range(len(self.dataset)) if picks is None else picks
        self.width: int = data.loader.eval_batch_size
        self.failures: list[dict[str, str]] = []
        self.batches: list[Batch] = []
        self.samples: dict[str, Any] = {}
        self.graded: set[str] = set()

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Answer and grade, batch by batch; questions that can't be asked are listed in ``failures`` and skipped."""
        if condition == OWN:
            self.failures, self.batches = [], []
            for batch in self.ask():
                self.batches.append(batch)
                yield self.grade(batch)
        else:
            yield from self.score_again(condition)

    def score_again(self, condition: str) -> Iterator[list[Row]]:
        """Score the questions of ``own`` under another condition.

        Raises:
            ValueError: this evaluation has no such condition.
        """
        raise ValueError(f"there is no condition {condition}")

    def ask(self) -> Iterator[Batch]:
        """Answer all questions in order, ``eval_batch_size`` at a time."""
        for number, first in enumerate(range(0, len(self.picks), self.width)):
            samples = [self.dataset[index] for index in self.picks[first : first + self.width]]
            answers = self.once(
                f"answers-{number}", partial(ask_batch, self.module, self.collate, samples, self.decoding)
            )
            self.failures += answers["failures"]
            if answers["rows"]:
                generation = self.module.generation_type(**answers["generation"])
                yield Batch([samples[row] for row in answers["rows"]], generation)

    def grade(self, batch: Batch) -> list[Row]:
        """Make a row of each answer: the question, the answer, and its scores."""
        return [
            self.grade_answer(sample, text) | batch.generation.describe(number)
            for number, (sample, text) in enumerate(zip(batch.samples, batch.generation.texts, strict=True))
        ]

    def grade_answer(self, sample: Any, text: str) -> Row:
        """Grade one answer; where the data set holds no truth, its measures are ``None``."""
        scores: Scores = self.dataset.grade(sample, text)
        self.samples[sample.where] = sample
        self.graded.update(scores.values)
        values = measure_answer(scores, self.measures)
        facts = {"where": sample.where, "id": self.dataset.identity(sample), "group": scores.group}
        truth = sample.answer_text if sample.answer else None
        texts = {"question": write_question(sample), "truth": truth, "text": text}
        outcome = scores.outcome if "success" in scores.values else UNGRADED
        return facts | values | {"outcome": outcome} | texts

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Count answers by outcome (``outcomes``) and those cut at ``max_new_tokens`` (``cut``); see ``every_time``."""
        outcomes = Counter(row["outcome"] for row in rows)
        counts = {"outcomes": dict(outcomes), "cut": sum(not row["finished"] for row in rows)}
        return counts | count_every_time(rows)

    @property
    def hidden(self) -> Sequence[str]:  # type: ignore[override]
        """Measures that say the same as ``success``, as the data set doesn't grade them."""
        return [name for name in ("optimal",) if name in self.measures and name not in self.graded]

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Say how many answers were cut, and how many questions were right each time that they were asked."""
        cut, limit = sum(not row["finished"] for row in rows), self.decoding["max_new_tokens"]
        lines = [f"{cut} answer(s) were cut at decoding.max_new_tokens={limit}; consider raising it"] if cut else []
        for share in count_every_time(rows).values():
            lines.append(f"right every time that it is asked: {100 * share['mean']:.1f} % of {share['n']} questions")
        return lines

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw the answer over the question's picture, and the true answer where it is known."""
        sample = self.samples[row["where"]]
        yield "", self.dataset.draw(sample, row["text"])
        if row["truth"] is not None:
            yield "truth", self.dataset.draw(sample, row["truth"])


def measure_answer(scores: Scores, measures: Iterable[str] = MEASURES) -> dict[str, Any]:
    """Value of each measure of a graded answer; ``None`` where the data set holds no truth.

    A data set that doesn't grade length calls every right answer optimal.
    """
    values: dict[str, Any] = dict.fromkeys(measures)
    if "success" in scores.values:
        defaults = {"optimal": scores.values["success"], "invalid": scores.outcome == "invalid"}
        values |= {name: value for name, value in (defaults | dict(scores.values)).items() if name in values}
    return values


def count_every_time(rows: Sequence[Row]) -> dict[str, Any]:
    """Share of questions that are right each time (``every_time``); nothing unless each is asked several times.

    So questions are whose choices come in several orders: a right answer that depends on the order counts for little.
    """
    successes: dict[str, list[bool]] = {}
    for row in rows:
        if row["success"] is not None:
            successes.setdefault(row["id"], []).append(bool(row["success"]))
    if not successes or min(map(len, successes.values())) < 2:
        return {}
    return {"every_time": wilson(sum(map(all, successes.values())), len(successes))}


def ask_batch(module: Any, collate: Any, samples: Sequence[Any], decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one batch.

    Returns:
        Plain values and tensors: ``rows``, indices of the samples that could be asked; ``generation``, the attributes
        of their answers; ``failures``, ``where`` and ``error`` of each other sample.
    """
    failures: dict[int, dict[str, str]] = {}
    try:
        prompts = collate.prompts(samples)
    except Exception:  # one sample or several: ask each alone to find out which
        errors = {row: explain_failure(collate, sample) for row, sample in enumerate(samples)}
        failures = {row: error for row, error in errors.items() if error}
        if not failures:  # each can be asked alone, but not all together
            raise
        rest = [sample for row, sample in enumerate(samples) if row not in failures]
        prompts = collate.prompts(rest) if rest else None
    rows = [row for row in range(len(samples)) if row not in failures]
    generation = vars(module.generate(prompts.to(module.device), **decoding)) if rows else None
    return {"rows": rows, "generation": generation, "failures": list(failures.values())}


def explain_failure(collate: Any, sample: Any) -> dict[str, str] | None:
    """Say why a question can't be asked; ``None`` if it can.

    Whatever a collator raises for one row is that row's failure, see
    ``docs/develop/decisions/2026-11-29-one-bad-question.md``.
    """
    try:
        collate.prompts([sample])
    except MemoryError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        if not (isinstance(error, ValueError) and text.startswith(sample.where)):
            text = f"{sample.where}: {type(error).__name__} {text}".strip()
        return {"where": sample.where, "error": text}
    return None


def write_question(sample: Any) -> str:
    """Write a question as text, with ``<image>`` for each picture."""
    return "".join(getattr(part, "text", "<image>") for part in sample.question)
