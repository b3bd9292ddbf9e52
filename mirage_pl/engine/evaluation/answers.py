"""Questions answered in text and graded by their data set: what evaluations of question-answering have in common."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from data_modules.scores import Scores
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial

MEASURES = {
    "success": Measure("share", "higher", meaning="Success: right, as the data set grades it."),
    "optimal": Measure("share", "higher", meaning="Optimal: right, and as short as possible."),
    "invalid": Measure("share", "lower", meaning="Invalid: no answer could be read."),
}
UNGRADED = "ungraded"


@dataclass(frozen=True)
class Batch:
    """Questions that were answered together.

    Attributes:
        samples: the questions.
        generation: their answers: ``texts``, and ``describe(number)``; ``None`` of none.
    """

    samples: Sequence[Any]
    generation: Any


class Answers:
    """Answers to questions, as the model decodes them; a family's own has conditions and numbers.

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
        """Prepare the questions of a split, or some of them."""
        return AnswersTrial(self, module, data, once, split, picks)


class AnswersTrial(Trial):
    """Answers of one module.

    Args:
        evaluation: its options.
        module: has ``generate(prompts, **decoding)`` and ``generation_type``, the class of what that returns, whose
            attributes are plain values and tensors.
        data: its collator has ``prompts(samples)``; its data sets grade and draw.
        once: see :data:`mirage_pl.engine.seams.Once`.
        split: which of the data sets.
        picks: indices of the questions; ``None``: all.

    Attributes:
        batches: the answered ones, once ``own`` was scored.
        samples: the scored ones by ``where``.
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

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Answer and grade, batch by batch; a question that can't be asked doesn't keep the others back."""
        if condition == OWN:
            self.failures, self.batches = [], []
            for batch in self.ask():
                self.batches.append(batch)
                yield self.grade(batch)
        else:
            yield from self.score_again(condition)

    def score_again(self, condition: str) -> Iterator[list[Row]]:
        """Score the questions of ``own`` under another condition."""
        raise ValueError(f"there is no condition {condition}")

    def ask(self) -> Iterator[Batch]:
        """Answer all questions in order, as many at a time as the loader says."""
        for number, first in enumerate(range(0, len(self.picks), self.width)):
            samples = [self.dataset[index] for index in self.picks[first : first + self.width]]
            kept = self.once(f"answers-{number}", partial(ask_batch, self.module, self.collate, samples, self.decoding))
            self.failures += kept["failures"]
            if kept["rows"]:
                generation = self.module.generation_type(**kept["generation"])
                yield Batch([samples[row] for row in kept["rows"]], generation)

    def grade(self, batch: Batch) -> list[Row]:
        """Say of each answer what was asked, what was answered, and what that is worth."""
        return [
            self.grade_answer(sample, text) | batch.generation.describe(number)
            for number, (sample, text) in enumerate(zip(batch.samples, batch.generation.texts, strict=True))
        ]

    def grade_answer(self, sample: Any, text: str) -> Row:
        """Grade one answer; without anything to grade it against, its measures are ``None``."""
        scores: Scores = self.dataset.grade(sample, text)
        self.samples[sample.where] = sample
        values: dict[str, Any] = dict.fromkeys(self.measures)
        graded = "success" in scores.values
        if graded:  # where length doesn't matter, what is right is optimal
            plain = {"optimal": scores.values["success"], "invalid": scores.outcome == "invalid"}
            values |= {name: value for name, value in (plain | dict(scores.values)).items() if name in values}
        facts = {"where": sample.where, "id": self.dataset.identity(sample), "group": scores.group}
        truth = sample.answer_text if sample.answer else None
        asked = {"question": write_question(sample), "truth": truth, "text": text}
        return facts | values | {"outcome": scores.outcome if graded else UNGRADED} | asked

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """``outcomes``: how many answers ended how; ``cut``: how many never ended."""
        outcomes = Counter(row["outcome"] for row in rows)
        return {"outcomes": dict(outcomes), "cut": sum(not row["finished"] for row in rows)}

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Say how many answers never ended."""
        cut, limit = sum(not row["finished"] for row in rows), self.decoding["max_new_tokens"]
        return [f"{cut} answer(s) were cut at decoding.max_new_tokens={limit}; raise it?"] if cut else []

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw an answer and, where it is known, the true one, over the question."""
        sample = self.samples[row["where"]]
        yield "", self.dataset.draw(sample, row["text"])
        if row["truth"] is not None:
            yield "truth", self.dataset.draw(sample, row["truth"])


def ask_batch(module: Any, collate: Any, samples: Sequence[Any], decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one batch.

    Returns:
        Plain values and tensors: ``rows``, the numbers of the samples that could be asked; ``generation``, the
        attributes of their answers; ``failures``, ``where`` and ``error`` of the other samples.
    """
    failures: dict[int, dict[str, str]] = {}
    try:
        prompts = collate.prompts(samples)
    except Exception:  # of one of them: find out of which
        errors = {row: explain_failure(collate, sample) for row, sample in enumerate(samples)}
        failures = {row: error for row, error in errors.items() if error}
        if not failures:  # each can be asked, but not all together
            raise
        rest = [sample for row, sample in enumerate(samples) if row not in failures]
        prompts = collate.prompts(rest) if rest else None
    rows = [row for row in range(len(samples)) if row not in failures]
    generation = vars(module.generate(prompts.to(module.device), **decoding)) if rows else None
    return {"rows": rows, "generation": generation, "failures": list(failures.values())}


def explain_failure(collate: Any, sample: Any) -> dict[str, str] | None:
    """Say why a question can't be asked; ``None`` if it can.

    Whatever a collator raises of one row is that row's failure: see
    ``docs/develop/decisions/2026-11-29-one-bad-question.md``.
    """
    try:
        collate.prompts([sample])
    except MemoryError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        known = isinstance(error, ValueError) and text.startswith(sample.where)
        return {
            "where": sample.where,
            "error": text if known else f"{sample.where}: {type(error).__name__} {text}".strip(),
        }
    return None


def write_question(sample: Any) -> str:
    """A question's text; ``<image>`` stands for a picture."""
    return "".join(getattr(part, "text", "<image>") for part in sample.question)
