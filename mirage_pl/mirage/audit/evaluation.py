"""The audit: answers under more conditions, and what their latents hold; beside other runs, whether they are useful."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from mirage_pl.engine.evaluation.results import Result
from mirage_pl.engine.evaluation.statistics import paired_difference
from mirage_pl.engine.seams import Drawn, Once, Row
from mirage_pl.mirage.against import find_results, match_success
from mirage_pl.mirage.audit.attention import share_attention
from mirage_pl.mirage.audit.decodability import probe_states
from mirage_pl.mirage.audit.interventions import AuditInterventions
from mirage_pl.mirage.audit.names import NAMES
from mirage_pl.mirage.audit.table import gather_slots
from mirage_pl.mirage.audit.terms import list_numbers
from mirage_pl.mirage.audit.writing import judge_writing
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.evaluation import LatentAnswers, LatentTrial


class Audit(LatentAnswers):
    """Score answers under the conditions of an audit, and say what latents hold.

    Args:
        decoding: as of :class:`LatentAnswers`.
        interventions: as of :class:`LatentAnswers`.
        against: run folders of baselines, which were scored on the same questions.
        run: run folder or checkpoint that is audited, which is no baseline.

    Raises:
        ValueError: as :class:`LatentAnswers`; or a run of ``against`` is none, hasn't been scored, or is audited.
    """

    words = "mirage_pl.mirage.audit.words"
    known = NAMES

    def __init__(
        self,
        decoding: Annotated[Mapping[str, Any], Decoding],
        interventions: str | Sequence[str] | None = "all",
        against: Sequence[str] = (),
        run: str | None = None,
    ) -> None:
        super().__init__(decoding, interventions)
        for other in against:
            if run is not None and Path(other).resolve() in (Path(run).resolve(), *Path(run).resolve().parents):
                raise ValueError(
                    f"against={other} is the run that is audited; give another one, such as one of stage=sft"
                )
        self.against = {run: find_results(Path(run)) for run in against}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "AuditTrial":
        """Prepare the questions of a split, or those at ``picks``."""
        return AuditTrial(self, module, data, once, split, picks)


class AuditTrial(LatentTrial):
    """Answers of one module under the conditions of an audit."""

    evaluation: Audit

    @cached_property
    def probe(self) -> AuditInterventions:
        """Interventions on the answers of ``own``."""
        probe = AuditInterventions(*self.answered())
        probe.dataset = self.dataset
        return probe

    def answer_again(self, condition: str) -> dict[str, Any]:
        """Answer again; how far distributions move isn't asked, which would cost as much as all else."""
        return {"texts": [text for generation in self.probe.answer(condition) for text in generation.texts]}

    def contrast(self, condition: str, own: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
        """``changed``, and where latents are another question's ``follows`` and ``lift``."""
        return self.count_changes(own, rows) | self.follow(condition, own, rows)

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """Also ``audit``: ``emitted``, the share of answers with latents, ``against``, and of latents ``writing``,
        ``decodability`` and ``attention``.
        """
        emitted = sum(len(latents_nD) > 0 for latents_nD in self.probe.latents) / max(1, len(self.probe.latents))
        return {
            **super().summarize(rows),
            "audit": {"emitted": emitted, **self.findings, "against": self.compare(rows)},
        }

    @cached_property
    def findings(self) -> dict[str, Any]:
        """What the latents hold; empty without any."""
        return self.once("audit", self.look) if self.evaluation.looks and self.probe.names else {}

    def look(self) -> dict[str, Any]:
        """Say what the latents hold; of rows that all have helper images also which of these they stand for."""
        found: dict[str, Any] = {"attention": share_attention(self.probe)}
        if "oracle" in self.probe.names:
            slots = gather_slots(self.probe)
            found |= {"writing": judge_writing(slots), "decodability": probe_states(slots)}
        return found

    def compare(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Run of ``against`` -> its name, steps, and how far success is above its own.

        Raises:
            ValueError: it was scored on other questions.
        """
        return {run: compare_runs(run, results, rows) for run, results in self.evaluation.against.items()}

    def describe(self) -> Mapping[str, Any]:
        """Columns, and :func:`mirage_pl.mirage.audit.terms.list_numbers`: no cosines, which alone say little."""
        return self.count_columns() | list_numbers(self.findings)

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[str, Drawn]]:
        """No pictures of what latents see."""
        return iter(())


def compare_runs(run: str, results: Sequence[Result], rows: Sequence[Row]) -> dict[str, Any]:
    """Compare success with a run's that has answered the same questions.

    Raises:
        ValueError: it hasn't.
    """
    result, before = match_success(run, results, rows)
    difference = paired_difference(before, [bool(row["success"]) for row in rows])
    return {"name": result.name, "steps": result.metrics.get("steps"), "difference": difference}
