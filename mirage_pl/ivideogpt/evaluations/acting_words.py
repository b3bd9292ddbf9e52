"""Words of ``evaluation=ivideogpt/acting`` in a report. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import is_gain, is_loss, read_changes, write_difference
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {
    "random": "random actions, each held for up to five steps",
    "expert": "the scripted expert, which knows where everything is",
}
NUMBERS: Mapping[str, str] = {}
sections, describe_method, judge_methods = PlainWords.sections, PlainWords.describe_method, PlainWords.judge_methods


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say whether the policy brings more than random actions do."""
    if (change := read_changes(metrics, "return").get("random")) is None:
        return ()
    measure = Measure(**metrics["measures"]["return"])
    less = is_loss(measure, change)
    how = "less" if less else "more" if is_gain(measure, change) else "neither more nor less"
    return (f"Random actions bring {how} than this policy: {' '.join(write_difference(measure, change))}.",)
