"""Mirage's answers, also scored with other latents in place of its own, with numbers and pictures of the latents."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Annotated, Any

from mirage_pl.engine.evaluation.answers import Answers, AnswersTrial
from mirage_pl.engine.evaluation.statistics import paired_difference, wilson
from mirage_pl.engine.seams import Drawn, Once, Row
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.probing.interventions import Interventions
from mirage_pl.mirage.probing.replacements import NAMES


class LatentAnswers(Answers):
    """Score answers, and the answers with other latents.

    Args:
        decoding: options of :class:`mirage_pl.mirage.decoding.sampling.Decoding`.
        interventions: ``all``, names, or ``None``: no interventions, numbers and pictures.

    Raises:
        ValueError: an option out of its range, or an unknown intervention.
    """

    conditions_in, numbers_in = "interventions", "latents"
    words = "mirage_pl.mirage.report"
    known: Sequence[str] = NAMES

    def __init__(
        self, decoding: Annotated[Mapping[str, Any], Decoding], interventions: str | Sequence[str] | None = None
    ) -> None:
        super().__init__(decoding)
        self.options = Decoding(**decoding)
        self.looks, self.every = interventions is not None, interventions == "all"
        named = [interventions] if isinstance(interventions, str) else list(interventions or ())
        self.names: Sequence[str] = self.known if self.every else named
        for name in self.names:
            if name not in self.known:
                raise ValueError(f"interventions={name} is unknown; choose from {', '.join(self.known)}, or all")

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "LatentTrial":
        """Prepare the questions of a split, or those at ``picks``."""
        return LatentTrial(self, module, data, once, split, picks)


class LatentTrial(AnswersTrial):
    """Answers of one module with its own latents and with others."""

    def __init__(
        self, evaluation: LatentAnswers, module: Any, data: Any, once: Once, split: str, picks: Sequence[int] | None
    ) -> None:
        super().__init__(evaluation, module, data, once, split, picks)
        self.evaluation = evaluation
        self.divergences: dict[str, list[float]] = {}

    @cached_property
    def probe(self) -> Interventions:
        """Interventions on the answers of ``own``."""
        return Interventions(*self.answered())

    def answered(self) -> tuple[Any, ...]:
        """What interventions are made of: the model, its options, and questions, answers and groups of ``own``."""
        samples = [sample for batch in self.batches for sample in batch.samples]
        generations = [batch.generation for batch in self.batches]
        groups = [self.dataset.grade(sample, "").group for sample in samples]
        collate, options = self.collate, self.evaluation.options
        return self.module.net, collate.processor, collate, options, samples, generations, groups

    @property
    def conditions(self) -> Sequence[str]:
        """The requested interventions; none if no answer has latents, or before there are any.

        Raises:
            ValueError: one isn't possible with these questions.
        """
        possible = self.probe.names if self.evaluation.names and self.batches else ()
        if self.evaluation.every or not possible:
            return possible
        for name in self.evaluation.names:
            if name not in possible:
                raise ValueError(f"interventions={name} can't be made here; choose from {', '.join(possible)}, or all")
        return self.evaluation.names

    def score_again(self, condition: str) -> Iterator[list[Row]]:
        """Score the answers with other latents."""
        answers = self.once(f"intervention-{condition}", partial(self.answer_again, condition))
        self.divergences[condition] = answers.get("moved", [])
        for part, batch in zip(self.probe.parts, self.batches, strict=True):
            yield [
                self.grade_answer(sample, text)
                for sample, text in zip(batch.samples, answers["texts"][part], strict=True)
            ]

    def answer_again(self, condition: str) -> dict[str, Any]:
        """Answer again under one intervention; plain values ``texts`` and ``moved``, the divergences."""
        texts = [text for generation in self.probe.answer(condition) for text in generation.texts]
        return {"texts": texts, "moved": self.probe.divergence(condition)}

    def contrast(self, condition: str, own: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
        """``changed``: share of answers that differ; ``kl``: how far the next token's distribution moves, in nats.

        Where latents are another question's also ``follows`` and ``lift``, see :meth:`follow`.
        """
        divergences = self.divergences[condition]
        kl = {"mean": sum(divergences) / max(1, len(divergences)), "n": len(divergences)}
        return self.count_changes(own, rows) | {"kl": kl} | self.follow(condition, own, rows)

    def count_changes(self, own: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
        """``changed``: share of answers that differ."""
        changed = sum(before["text"] != after["text"] for before, after in zip(own, rows, strict=True))
        return {"changed": wilson(changed, len(rows))}

    def follow(self, condition: str, own: Sequence[Row], rows: Sequence[Row]) -> dict[str, Any]:
        """Of answers with another question's latents: how many change (``flips``), how many are right for that question
        (``follows``), and what its latents add to that (``lift``).
        """
        givers = self.probe.list_givers(condition)
        if not givers:
            return {}
        before, after = (
            [
                bool(self.dataset.grade(giver, answers[row]["text"]).values.get("success"))
                for row, giver in givers.items()
            ]
            for answers in (own, rows)
        )
        flips = sum(own[row]["text"] != rows[row]["text"] for row in givers)
        lift = paired_difference(before, after)
        return {
            "flips": wilson(flips, len(givers)),
            "follows": wilson(sum(after), len(after)),
            "lift": lift | {"mean": lift["difference"]},
        }

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Also say if there are no latents to intervene in."""
        without = self.evaluation.looks and not self.probe.names
        nothing = ["no answer has latents, so there is nothing to intervene in"] if without else []
        return [*super().remark(rows), *nothing]

    def describe(self) -> Mapping[str, Any]:
        """Columns of an answer, and numbers about its latents as vectors; empty if latents aren't looked at."""
        if not self.evaluation.looks:
            return {}
        return self.count_columns() | (self.probe.describe() if self.probe.names else {})

    def count_columns(self) -> dict[str, Any]:
        """``columns``: mean length of an answer in tokens and latents; empty without answers."""
        columns = [len(tokens) for batch in self.batches for tokens in batch.generation.tokens]
        return {"columns": sum(columns) / len(columns)} if columns else {}

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[str, Drawn]]:
        """Draw the latents: ``geometry``, ``plane``, and ``row-<number>`` of some rows."""
        if self.evaluation.looks:
            yield from self.probe.pictures(rows)
