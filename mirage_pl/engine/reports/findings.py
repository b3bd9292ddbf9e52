"""What a study found: the numbers of ``results.json``, and the sentences that follow from them.

A method's latents are *used* if zeroing them and taking another sample's both cost success, and *useful* if the method
beats the baseline: each by an interval that excludes 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from typing import Any

from mirage_pl.engine.evaluation.statistics import (
    bootstrap,
    bootstrap_change,
    bootstrap_difference,
    judge,
    percent,
    points,
    wilson,
)
from mirage_pl.engine.reports.study import Method, Study

Found = Mapping[str, Any]
"""A method's entry in ``results.json``."""
TAMPERED = {"zero": "zeroed", "shuffled": "another sample's"}
"""The interventions that say whether latents are used."""


def find(study: Study, baseline: str | None = None) -> dict[str, Any]:
    """Compute all numbers of a report.

    Args:
        study: the runs.
        baseline: the method that the others are compared with; ``None``: ``sft``, ``direct_sft``, or the first by name.

    Returns:
        ``task``, ``label``, ``baseline``, ``methods`` by name (see :func:`describe`), ``verdict``, ``notes``, ``test``.

    Raises:
        ValueError: no method is called like the baseline.
    """
    names = [method.name for method in study.methods]
    if baseline is not None and baseline not in names:
        raise ValueError(f"--baseline {baseline} is no method here; choose from {', '.join(sorted(names))}")
    baseline = baseline or next((name for name in ("sft", "direct_sft") if name in names), min(names))
    base = study.methods[names.index(baseline)]
    found = {
        "task": study.task,
        "label": study.label,
        "baseline": baseline,
        "methods": {method.name: describe(method, base) for method in study.methods},
        "notes": list(study.notes),
        "test": describe_test(study),
    }
    return {"verdict": verdict(found), **found}


def describe(method: Method, base: Method) -> dict[str, Any]:
    """The numbers of one method; shares are 0 to 1, and an interval is ``mean``, ``low``, ``high``, ``n``.

    Returns:
        By group of questions: ``success`` (mean over seeds), ``by_seed``, ``pooled`` (Wilson's interval of all seeds'
        answers), and ``difference`` to the baseline, ``None`` of itself. Of all questions: ``interventions``,
        ``optimal``, ``invalid``. Of the latents: ``latents``, ``used``, ``useful``. Of training, mean over seeds:
        ``hours`` of ``device``, ``steps``. And ``paper``, what the paper reports. What isn't known is ``None``.
    """
    shares = {name: method.right_SQ[:, members] for name, members in method.groups.items()}
    theirs = {name: base.right_SQ[:, members] for name, members in method.groups.items()}
    leads = {name: bootstrap_difference(theirs[name], right_SQ) for name, right_SQ in shares.items()}
    interventions = describe_interventions(method)
    costs = [interventions[name]["difference"]["high"] for name in TAMPERED if name in interventions]
    devices = dict.fromkeys(str(run.metrics["device"]) for run in method.runs if run.metrics.get("device"))
    return {
        "seeds": [run.seed for run in method.runs],
        "success": {name: bootstrap(right_SQ) for name, right_SQ in shares.items()},
        "pooled": {name: wilson(int(right_SQ.sum()), right_SQ.size) for name, right_SQ in shares.items()},
        "by_seed": {
            str(run.seed): {name: float(right_SQ[seed].mean()) for name, right_SQ in shares.items()}
            for seed, run in enumerate(method.runs)
        },
        "difference": None if method is base else leads,
        "optimal": mean(each.metrics["optimal"]["all"]["mean"] for each in method.evaluations),
        "invalid": mean(each.metrics["invalid"]["all"]["mean"] for each in method.evaluations),
        "interventions": interventions,
        "latents": describe_latents([each.metrics.get("latents") or {} for each in method.evaluations]),
        "used": all(cost < 0 for cost in costs) if len(costs) == len(TAMPERED) else None,
        "useful": None if method is base else leads["all"]["low"] > 0,
        "hours": mean(run.hours for run in method.runs),
        "device": ", ".join(devices) or None,
        "steps": mean(run.steps for run in method.runs),
        "paper": next((run.paper for run in method.runs if run.paper is not None), None),
    }


def describe_interventions(method: Method) -> dict[str, dict[str, Any]]:
    """Success under each intervention, and its ``difference`` to the same runs with their own latents."""
    return {
        name: bootstrap(changed_SQ) | {"difference": bootstrap_change(own_SQ, changed_SQ)}
        for name, (own_SQ, changed_SQ) in method.interventions_SQ.items()
    }


def describe_latents(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Numbers about latents as vectors: ``mean``, ``min`` and ``max`` over the seeds that have them."""
    values: dict[str, list[float]] = {}
    for latents in found:
        for name, value in latents.items():
            number = value.get("mean") if isinstance(value, dict) else value
            if isinstance(number, int | float) and isfinite(number):
                values.setdefault(name, []).append(float(number))
    return {name: {"mean": sum(some) / len(some), "min": min(some), "max": max(some)} for name, some in values.items()}


def describe_test(study: Study) -> dict[str, Any]:
    """What the evaluations say of the test file; ``seen``: the most of its questions in any run's training file."""
    said = [each.metrics.get("test") or {} for method in study.methods for each in method.evaluations]
    seen = [test.get("seen") for test in said]
    known = [count for count in seen if count is not None]
    most = max(known, default=0)
    return {
        **said[0],
        "rows": study.methods[0].right_SQ.shape[1],
        "seen": most if most or len(known) == len(seen) else None,
    }


def mean(numbers: Iterable[float | None]) -> float | None:
    """Their mean, if all are known."""
    known = list(numbers)
    return None if None in known else sum(value for value in known if value is not None) / len(known)


def verdict(found: Mapping[str, Any]) -> list[str]:
    """Say which method is best, how each stands against the baseline, and whether latents are used and useful."""
    methods = found["methods"]
    best = next(iter(methods))
    seeds = len(methods[best]["seeds"])
    success = methods[best]["success"]["all"]
    sentences = [
        f"Best of {len(methods)}: {best} answers {' '.join(percent(success))} of {success['n']} questions "
        f"({f'mean of {seeds} seeds' if seeds > 1 else '1 seed'}).",
        compare(found),
        *judge_latents(found),
    ]
    if seen := found["test"]["seen"]:
        sentences.append(f"{seen} of the test questions are also in a training file: no figure here can be trusted.")
    if single := [name for name, method in methods.items() if len(method["seeds"]) == 1]:
        sentences.append(f"Of one seed, so that intervals say nothing about other seeds: {', '.join(single)}.")
    return [sentence for sentence in sentences if sentence]


def compare(found: Mapping[str, Any]) -> str:
    """Say how each method stands against the baseline."""
    leads = {name: method["difference"]["all"] for name, method in found["methods"].items() if method["difference"]}
    parts = []
    for words in ("better", "worse", "not distinguishable"):
        if some := [f"{name} {' '.join(points(lead))}" for name, lead in leads.items() if judge(lead) == words]:
            parts.append(f"{words}: {', '.join(some)}")
    return f"Against {found['baseline']} – {'; '.join(parts)}." if parts else ""


def judge_latents(found: Mapping[str, Any]) -> list[str]:
    """Say whose latents are used, and whose are useful too."""
    tried = {name: method for name, method in found["methods"].items() if method["used"] is not None}
    kinds = {
        (True, True): "Latents used, and the method better than the baseline",
        (True, False): "Latents used, but the method not shown to be better than the baseline",
        (False, True): "Latents not shown to be used, though the method is better than the baseline",
        (False, False): "Latents not shown to be used, nor the method to be better than the baseline",
        (True, None): "The baseline's own latents are used",
        (False, None): "The baseline's own latents are not shown to be used",
    }
    sentences = []
    for kind, words in kinds.items():
        if some := [name for name, method in tried.items() if (method["used"], method["useful"]) == kind]:
            sentences.append(f"{words}: {', '.join(f'{name} ({costs(tried[name])})' for name in some)}.")
    if tried and not any(method["used"] and method["useful"] for method in tried.values()):
        sentences.append(
            "No method's latents are shown to be both used, so that zeroing them and taking another sample's both cost "
            f"success, and useful, so that the method is better than {found['baseline']}."
        )
    return sentences


def costs(method: Found) -> str:
    """What it costs to zero a method's latents, and to take another sample's."""
    changes = {words: method["interventions"][name]["difference"] for name, words in TAMPERED.items()}
    return ", ".join(f"{words} {' '.join(points(change))}" for words, change in changes.items())
