"""Conditions by name."""

from collections.abc import Collection, Sequence


def check_conditions(conditions: Sequence[str], known: Collection[str]) -> None:
    """Refuse conditions that there aren't.

    Raises:
        ValueError: names them, and those that there are.
    """
    if unknown := sorted(set(conditions) - set(known)):
        raise ValueError(f"conditions={unknown} are unknown; choose from {', '.join(known)}")
