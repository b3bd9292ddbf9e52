"""What a report says of waves. No torch is loaded for it."""

from collections.abc import Mapping, Sequence
from typing import Any

CONDITIONS = {
    "copy_last": "the number before it is given as the guess",
    "shuffled": "the guess is made from another wave",
}
NUMBERS = {"bias": "by how much guesses are too high, on average"}


def sections(results: Sequence[Any]) -> Mapping[str, str]:
    """A further section of an evaluation's page."""
    return {"What a wave is": "<p>Numbers that swing and fade, slowly or fast.</p>"}


def verdict(metrics: Mapping[str, Any]) -> Sequence[str]:
    """What follows from the conditions, about this checkpoint."""
    copied = metrics.get("conditions", {}).get("copy_last")
    if not copied:
        return []
    better = metrics["error"]["all"]["mean"] < copied["measures"]["error"]["mean"]
    return [f"This checkpoint is {'better' if better else 'no better'} than the number before it."]
