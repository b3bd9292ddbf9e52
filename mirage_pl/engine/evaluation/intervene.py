"""Score answers whose thinking was tampered with, against the untouched ones."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from PIL.Image import Image

from mirage_pl.engine.evaluation.journal import Journal
from mirage_pl.engine.evaluation.statistics import judge, paired_difference, percent, points, wilson


class Probe(Protocol):
    """A family's interventions on one test set.

    Attributes:
        names: the interventions that can be made; none where the model had nothing to tamper with.
    """

    names: tuple[str, ...]

    def answer(self, name: str) -> Iterator[Any]:
        """Answer the test set again, batch by batch; each has ``texts``."""
        ...

    def divergence(self, name: str) -> list[float]:
        """How far the next token's distribution moves, in nats: a number a row."""
        ...

    def describe(self) -> dict[str, Any]:
        """Numbers about what is tampered with."""
        ...

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[str, Image]]:
        """Pictures of what is tampered with, by file name: of the whole test set, and of some of its rows."""
        ...


def chosen(wanted: Any, probe: Probe) -> list[str]:
    """The interventions to make: ``all``, some by name, or none.

    Raises:
        ValueError: one can't be made.
    """
    if wanted is None or not probe.names:
        return []
    names = list(probe.names) if wanted == "all" else [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in probe.names:
            raise ValueError(f"interventions={name} can't be made here; choose from {', '.join(probe.names)}, or all")
    return names


def check_names(wanted: Any, module: Any) -> None:
    """Refuse interventions that a module doesn't know, before anything is answered.

    Raises:
        ValueError: names the one, and those that there are.
    """
    known = getattr(module, "intervention_names", ())
    for name in () if wanted in (None, "all") else [wanted] if isinstance(wanted, str) else wanted:
        if name not in known:
            there = (
                f"choose from {', '.join(known)}, or all" if known else "this model has none; set interventions=null"
            )
            raise ValueError(f"interventions={name} is unknown; {there}")


def intervene(
    probe: Probe,
    names: Sequence[str],
    dataset: Any,
    samples: Sequence[Any],
    rows: Sequence[dict[str, Any]],
    journal: Journal,
) -> dict[str, Any]:
    """Make each intervention and compare it with the baseline, question by question.

    Args:
        probe: makes them.
        names: which.
        dataset: grades.
        samples: what was asked.
        rows: the baseline's graded predictions, in order; each learns under ``interventions`` whether it stays right.
        journal: keeps each intervention as it comes.

    Returns:
        By name: ``mean``, ``low``, ``high``, ``n`` of success; ``groups``, the same by group; ``difference`` to the
        baseline (paired, with its interval and p); ``changed``, the share of other answers; ``kl``, mean and count.
    """
    from rich.progress import track

    found = {}
    for name in track(names, "Answering again with other latents") if names else ():
        made = journal.once(f"intervention-{name}", partial(answer_again, probe, name))
        texts, moved = made["texts"], made["moved"]
        right = [dataset.grade(sample, text).values["success"] for sample, text in zip(samples, texts, strict=True)]
        for row, still in zip(rows, right, strict=True):
            row.setdefault("interventions", {})[name] = {"success": still}
        groups = sorted({row["group"] for row in rows})
        members = {
            group: [ok for ok, row in zip(right, rows, strict=True) if row["group"] == group] for group in groups
        }
        found[name] = wilson(sum(right), len(right)) | {
            "groups": {group: wilson(sum(some), len(some)) for group, some in members.items()},
            "difference": paired_difference([row["success"] for row in rows], right),
            "changed": wilson(sum(t != row["text"] for t, row in zip(texts, rows, strict=True)), len(texts)),
            "kl": {"mean": sum(moved) / max(1, len(moved)), "n": len(moved)},
        }
    return found


def answer_again(probe: Probe, name: str) -> dict[str, Any]:
    """Make one intervention; as plain values."""
    texts = [text for generation in probe.answer(name) for text in generation.texts]
    return {"texts": texts, "moved": probe.divergence(name)}


def verdict(interventions: Mapping[str, Any]) -> str:
    """Say in two sentences whether latents matter: must there be any, and must they be the sample's own?"""
    costs = {name: interventions[name]["difference"] for name in ("zero", "shuffled") if name in interventions}
    if len(costs) < 2:
        return ""
    needed, own = (costs[name]["high"] < 0 for name in ("zero", "shuffled"))
    findings = {
        (True, True): "The answers depend on the sample's own latents",
        (True, False): "The answers need latents, but that they need the sample's own can't be seen",
        (False, True): "The answers suffer from another sample's latents, though not from having none",
        (False, False): "That the answers depend on the latents can't be seen",
    }
    words = {"zero": "zeroed latents", "shuffled": "another sample's"}
    parts = [f"with {words[name]} {' '.join(points(cost))} ({judge(cost)})" for name, cost in costs.items()]
    return f"{findings[needed, own]}. Against the model's own: {', '.join(parts)}."


def print_interventions(interventions: Mapping[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("latents", "success", "95 % interval", "against its own", "", "other answers", "KL, nats")
    for name, row in interventions.items():
        lead = [*points(row["difference"]), judge(row["difference"])]
        changed = percent(row["changed"])[0]
        table.add_row(name, *percent(row), " ".join(lead[:2]), lead[2], changed, f"{row['kl']['mean']:.3f}")
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)
    if sentence := verdict(interventions):
        print(sentence)
