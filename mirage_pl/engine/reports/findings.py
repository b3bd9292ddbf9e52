"""The findings of a study: the numbers of ``results.json``, and the conclusions drawn from them.

Shapes: S seeds (the runs of a method), Q items, such as questions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from typing import Any

import numpy as np

from mirage_pl.engine.evaluation.measures import (
    Number,
    has_interval,
    is_gain,
    is_loss,
    read_measures,
    write_difference,
    write_value,
)
from mirage_pl.engine.evaluation.statistics import Array, over_seeds, seeds_difference, wilson
from mirage_pl.engine.evaluation.summary import NOTHING
from mirage_pl.engine.reports.corrected import correct, say_corrected
from mirage_pl.engine.reports.estimates import estimate, estimate_change, estimate_difference
from mirage_pl.engine.reports.study import Method, Study
from mirage_pl.engine.seams import Measure, Words
from mirage_pl.engine.words import load_words

MethodNumbers = Mapping[str, Any]
"""The entry of a method in ``results.json``."""


def compute_findings(study: Study, baseline: str | None = None, words: str | None = None) -> dict[str, Any]:
    """Compute all numbers of a report.

    Args:
        study: the runs.
        baseline: the method that the others are compared with; ``None``: ``sft``, ``direct_sft``, or the first by name.
        words: dotted path of the family's words, if the user's command names one.

    Returns:
        ``task``, ``label``, ``evaluation``; ``measures``, ``conditions_in``, ``numbers_in`` and ``words`` as in
        ``metrics.json``; ``baseline``, ``methods`` by name (see :func:`describe_method`), ``verdict``, ``notes``,
        ``test``.

    Raises:
        ValueError: no method has the name of the baseline.
    """
    names = [method.name for method in study.methods]
    if baseline is not None and baseline not in names:
        raise ValueError(f"--baseline {baseline} is no method here; choose from {', '.join(sorted(names))}")
    baseline = baseline or next((name for name in ("sft", "direct_sft") if name in names), min(names))
    base = study.methods[names.index(baseline)]
    first = study.methods[0].results[0]
    family = load_words(first.metrics.get("words"), words)
    results = {
        "task": study.task,
        "label": study.label,
        "evaluation": first.metrics.get("evaluation"),
        "measures": {name: asdict(measure) for name, measure in first.shown.items()},
        "conditions_in": first.conditions_in,
        "numbers_in": first.numbers_in,
        "words": first.metrics.get("words"),
        "baseline": baseline,
        "methods": correct({method.name: describe_method(method, base, family) for method in study.methods}),
        "notes": list(study.notes),
        "test": describe_test(study),
    }
    return {"verdict": draw_verdict(results, family), **results}


def describe_method(method: Method, base: Method, words: Words) -> dict[str, Any]:
    """Compute the numbers of one method; what is unknown is ``None``.

    Returns:
        By group of items: each measure's interval over items and seeds, under its name; of the first measure
        ``by_seed``, ``difference`` from the baseline (``None`` for the baseline itself), and for a share ``pooled``,
        Wilson's interval of all seeds' answers; ``differences`` of the other measures. Over all items: conditions and
        numbers about the model, under the same keys as in ``metrics.json``, and ``useful``: whether the first measure
        is better than the baseline's. Of training, mean over seeds: ``hours`` of ``device``, and ``steps``. ``paper``:
        what the paper reports. Then the family's marks, and ``marks``: their names and ``useful``, if it has any.
    """
    first, *others = method.measures
    leads = compare_methods(method, base, first)
    devices = dict.fromkeys(str(run.metrics["device"]) for run in method.runs if run.metrics.get("device"))
    numbers: dict[str, Any] = {
        "seeds": [run.seed for run in method.runs],
        **{name: average_measure(method, name) for name in method.measures},
        "pooled": pool_answers(method) if method.measures[first].kind == "share" else {},
        "by_seed": split_by_seed(method),
        "difference": None if method is base else leads,
        "differences": {} if method is base else {name: compare_methods(method, base, name) for name in others},
        method.results[0].conditions_in: describe_conditions(method),
        method.results[0].numbers_in: average_numbers([result.numbers for result in method.results]),
        "useful": None if method is base or "all" not in leads else is_gain(method.measures[first], leads["all"]),
        "hours": average_known(run.hours for run in method.runs),
        "device": ", ".join(devices) or None,
        "steps": average_known(run.steps for run in method.runs),
        "paper": next((run.paper for run in method.runs if run.paper is not None), None),
    }
    marks = words.describe_method(numbers)
    return {**numbers, **marks, "marks": [*marks, "useful"] if marks else []}


def list_marks(results: Mapping[str, Any]) -> list[str]:
    """List the marks that are known of some method."""
    names = dict.fromkeys(mark for method in results["methods"].values() for mark in method.get("marks") or ())
    return [name for name in names if any(each.get(name) is not None for each in results["methods"].values())]


def average_measure(method: Method, measure: str) -> dict[str, Number]:
    """Group -> interval over items and seeds; over seeds alone for a measure of the whole set."""
    values_SQ = method.values_SQ(measure)
    if values_SQ is not None:
        graded = find_graded(values_SQ)
        members = {group: places[graded[places]] for group, places in method.groups.items()}
        return {
            group: estimate(method.measures[measure], values_SQ[:, places], method.units_Q[places])
            for group, places in members.items()
            if len(places)
        }
    groups = dict.fromkeys(group for result in method.results for group in result.by_group(measure))
    numbers = {group: method.values_S(measure, group) for group in groups}
    return {group: over_seeds(values_S) for group, values_S in numbers.items() if values_S is not None}


def find_graded(*scores_SQ: Array) -> Array:
    """Find the items graded in all seeds: bools ``[Q]``."""
    return np.asarray(np.isfinite(np.concatenate(scores_SQ)).all(axis=0))


def compare_methods(method: Method, base: Method, measure: str) -> dict[str, Number]:
    """Group -> difference of a method from the baseline, paired by item where rows have values."""
    ours_SQ, theirs_SQ = method.values_SQ(measure), base.values_SQ(measure)
    if ours_SQ is not None and theirs_SQ is not None:
        graded = find_graded(ours_SQ, theirs_SQ)
        members = {group: places[graded[places]] for group, places in method.groups.items()}
        return {
            group: estimate_difference(
                method.measures[measure], theirs_SQ[:, places], ours_SQ[:, places], method.units_Q[places]
            )
            for group, places in members.items()
            if len(places)
        }
    leads: dict[str, Number] = {}
    for group in dict.fromkeys(group for result in method.results for group in result.by_group(measure)):
        ours_S, theirs_S = method.values_S(measure, group), base.values_S(measure, group)
        if ours_S is not None and theirs_S is not None:
            leads[group] = seeds_difference(theirs_S, ours_S)
    return leads


def split_by_seed(method: Method) -> dict[str, dict[str, float]]:
    """Seed -> group -> the first measure of that seed alone."""
    values_SQ = method.values_SQ(method.first)
    seeds: dict[str, dict[str, float]] = {}
    for number, (run, result) in enumerate(zip(method.runs, method.results, strict=True)):
        if values_SQ is None:
            means = {group: float(each["mean"]) for group, each in result.by_group(method.first).items()}
        else:
            scores = {group: values_SQ[number, places] for group, places in method.groups.items()}
            means = {group: float(np.nanmean(each)) for group, each in scores.items() if not np.isnan(each).all()}
        seeds[str(run.seed)] = means
    return seeds


def pool_answers(method: Method) -> dict[str, Number]:
    """Group -> Wilson's interval of all seeds' answers, taken as independent."""
    values_SQ = method.values_SQ(method.first)
    if values_SQ is None:
        return {}
    shares = {group: values_SQ[:, places] for group, places in method.groups.items()}
    graded = {group: share[~np.isnan(share)] for group, share in shares.items()}
    return {group: wilson(int(each.sum()), each.size) for group, each in graded.items() if each.size}


def describe_conditions(method: Method) -> dict[str, dict[str, Any]]:
    """Condition -> the first measure and its ``difference`` from the same runs' own; ``measures``: the others.

    Where the first measure isn't scored under a condition it has no mean and no difference, and ``n`` is 0.
    """
    scored = {measure: method.conditions_SQ(measure) for measure in method.measures}
    conditions: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys(name for pairs in scored.values() for name in pairs):
        pairs = {measure: by_name[name] for measure, by_name in scored.items() if name in by_name}
        numbers = {
            measure: describe_change(method.measures[measure], *pair, method.units_Q) for measure, pair in pairs.items()
        }
        graded = {measure: number for measure, number in numbers.items() if number}
        own = graded.pop(method.first, NOTHING | {"difference": None})
        if graded or own["n"]:
            conditions[name] = own | ({"measures": graded} if graded else {})
    return conditions


def describe_change(measure: Measure, own_SQ: Array, changed_SQ: Array, units_Q: Array) -> dict[str, Any]:
    """Compute the interval under a condition, and the ``difference`` from own; empty if nothing was graded."""
    graded = ~np.isnan(own_SQ).any(axis=0)
    if not graded.any():
        return {}
    own_SQ, changed_SQ, units_Q = own_SQ[:, graded], changed_SQ[:, graded], units_Q[graded]
    changed = estimate(measure, changed_SQ, units_Q)
    return {**changed, "difference": estimate_change(measure, own_SQ, changed_SQ, units_Q)}


def average_numbers(numbers: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Average numbers about the model: ``mean``, ``min`` and ``max`` over the seeds that have them."""
    values: dict[str, list[float]] = {}
    for by_name in numbers:
        for name, content in by_name.items():
            value = content.get("mean") if isinstance(content, dict) else content
            if isinstance(value, int | float) and isfinite(value):
                values.setdefault(name, []).append(float(value))
    return {name: {"mean": sum(each) / len(each), "min": min(each), "max": max(each)} for name, each in values.items()}


def describe_test(study: Study) -> dict[str, Any]:
    """Describe the test set; ``seen`` is the largest number of its rows in any run's training file."""
    tests = [result.metrics.get("test") or {} for method in study.methods for result in method.results]
    counts = [test.get("seen") for test in tests]
    checked = [count for count in counts if count is not None]
    most = max(checked, default=0)
    return {
        **tests[0],
        "rows": len(study.methods[0].results[0].rows),
        "seen": most if most or len(checked) == len(counts) else None,
    }


def average_known(numbers: Iterable[float | None]) -> float | None:
    """Average numbers; ``None`` if any is unknown."""
    values = list(numbers)
    return None if None in values else sum(value for value in values if value is not None) / len(values)


def draw_verdict(results: Mapping[str, Any], words: Words) -> list[str]:
    """Say which method is best, how each compares with the baseline, and what the family concludes."""
    methods, baseline = results["methods"], results["baseline"]
    sentences = [name_best(results), stand_against(results), *words.judge_methods(methods, baseline)]
    if overlap := results["test"]["seen"]:
        sentences.append(f"{overlap} of the test rows are also in a training file: no figure here can be trusted.")
    if single := [name for name, method in methods.items() if len(method["seeds"]) == 1]:
        sentences.append(
            f"Of one seed only: {', '.join(single)}. What is said of them is about one checkpoint, not about the "
            "method: their intervals say nothing about other seeds."
        )
    return [sentence for sentence in sentences if sentence]


def name_best(results: Mapping[str, Any]) -> str:
    """Say which method is best by the first measure."""
    name, measure = next(iter(read_measures(results["measures"]).items()))
    best, method = next(iter(results["methods"].items()))
    if (number := method[name].get("all")) is None:
        return "Nothing could be graded."
    alike = [
        other
        for other, each in results["methods"].items()
        if each[name].get("all") and each[name]["all"]["mean"] == number["mean"]
    ]
    best = best if len(alike) == 1 else f"{', '.join(alike)} alike"
    counts = [len(results["methods"][other]["seeds"]) for other in alike]
    fewest, most = min(counts), max(counts)
    seeds = "1 seed" if most == 1 else f"mean of {most if fewest == most else f'{fewest} to {most}'} seeds"
    value = " ".join(filter(None, write_value(measure, number)))
    over = {"share": f" of {number['n']} rows", "mean": f" over {number['n']} rows", "set": ""}[measure.kind]
    return f"Best of {len(results['methods'])}: {best}, {name} {value}{over} ({seeds})."


def stand_against(results: Mapping[str, Any]) -> str:
    """Say how each method compares with the baseline."""
    measure = next(iter(read_measures(results["measures"]).values()))
    leads = {
        name: method["difference"]["all"]
        for name, method in results["methods"].items()
        if "all" in (method["difference"] or {})
    }
    kinds: dict[str, list[str]] = {"better": [], "worse": [], "not distinguishable": [], "without an interval": []}
    for name, lead in leads.items():
        kind = "better" if is_gain(measure, lead) else "worse" if is_loss(measure, lead) else "not distinguishable"
        kind = kind if has_interval(lead) else "without an interval"
        kinds[kind].append(f"{name} {' '.join(filter(None, write_difference(measure, lead)))}")
    parts = [f"{kind}: {', '.join(entries)}" for kind, entries in kinds.items() if entries]
    return f"Against {results['baseline']} – {'; '.join(parts)}.{say_corrected(leads)}" if parts else ""
