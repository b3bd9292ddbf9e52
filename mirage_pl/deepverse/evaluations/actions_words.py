"""Words of ``evaluation=deepverse/actions`` in a report. Imports no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mirage_pl.engine.evaluation.measures import is_gain, is_loss, read_changes, write_difference
from mirage_pl.engine.seams import Measure
from mirage_pl.engine.words import PlainWords

CONDITIONS = {
    "still": "nothing is ever done",
    "codes": "read from the true frames as their codes have them",
    "imagined": "read from frames that were imagined of the given ones and of what is said",
    "rays": "what the imagined camera does, in place of what is read",
}
NUMBERS: Mapping[str, str] = {}
sections, describe_method, judge_methods = PlainWords.sections, PlainWords.describe_method, PlainWords.judge_methods


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say what reading imagined frames costs, and whether anything is read from true ones."""
    changes, sentences = read_changes(metrics, "error"), []
    for condition, words in (("still", "Saying that nothing is done"), ("imagined", "Reading imagined frames")):
        if (change := changes.get(condition)) is None:
            continue
        measure = Measure(**metrics["measures"]["error"])
        how = "worse" if is_loss(measure, change) else "better" if is_gain(measure, change) else "not shown to differ"
        sentences.append(
            f"{words} is {how} against true frames: {' '.join(write_difference(measure, change))} in error."
        )
    return sentences
