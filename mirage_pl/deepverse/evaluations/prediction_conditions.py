"""What is changed of a model, or of what it is shown, where its predictions are scored."""

from collections.abc import Sequence

from mirage_pl.engine.seams import OWN

COPY, CODES, TURN, INSTRUCTION, NO_MEMORY, PLACEBO, NO_RAYS, NO_DEPTH = (
    "copy_last",
    "codes",
    "wrong_turn",
    "wrong_instruction",
    "no_memory",
    "placebo_memory",
    "no_rays",
    "no_depth",
)
CONDITIONS = (COPY, CODES, TURN, INSTRUCTION, NO_MEMORY, PLACEBO, NO_RAYS, NO_DEPTH)
ONE_AHEAD = (TURN, NO_RAYS, NO_DEPTH)
"""Conditions of which one unit is imagined."""
SPATIAL = (OWN, COPY, CODES)
"""Conditions of which points are measured, too."""
REST = "at rest"
"""The group of units in which nothing moves."""
REMEMBERING = (NO_MEMORY, PLACEBO)
"""Conditions of clips that have a memory."""


def choose_conditions(conditions: Sequence[str] | None, coded: Sequence[str], walks: bool) -> tuple[str, ...]:
    """The conditions that are asked for; ``None``: all that there are for a model.

    Raises:
        ValueError: one that there isn't for it.
    """
    senseless = {INSTRUCTION} if walks else {TURN}
    senseless |= set() if "disparity" in coded else {NO_DEPTH}
    if wrong := sorted(senseless & set(conditions or ())):
        raise ValueError(f"conditions={wrong} can't be made of this model, which is told and shown other things")
    if conditions is not None:
        return tuple(conditions)
    left_out = senseless if walks else senseless | {*REMEMBERING, NO_RAYS}  # its camera may stay where it is
    return tuple(name for name in CONDITIONS if name not in left_out)
