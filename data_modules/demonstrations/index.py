"""Rows of an index of demonstrations, and the episodes that they name."""

from dataclasses import dataclass
from typing import Any

from data_modules.demonstrations.demonstration import Demonstration, read_demonstration
from data_modules.files.sources import Source

WITHOUT = "for a policy that reads none set task.numbers.state=0"
"""What to do where there is no state."""


@dataclass(frozen=True)
class Numbering:
    """How many numbers states and actions have.

    Attributes:
        state: S; 0: there is no state, or none is read.
        action: A.
    """

    state: int
    action: int

    def __post_init__(self) -> None:
        if self.state < 0 or self.action < 1:
            raise ValueError(
                f"task.numbers has state={self.state}, which must be 0 or more, and action={self.action}, 1 or more"
            )


def parse_row(source: Source, row: int) -> dict[str, Any]:
    """Read a row of an index.

    Raises:
        ValueError: it names no episode, length or instruction; names it.
    """
    values, where = dict(source[row]), source.where(row)
    kinds = {"episode": str, "length": int, "instruction": str}
    if wrong := [key for key, kind in kinds.items() if not isinstance(values.get(key), kind)]:
        raise ValueError(
            f'{where}: no {wrong[0]}; a row is {{"episode": "episodes/0007.npz", "length": 40, "instruction": "push it '
            'to the red disc"}}'
        )
    plans = values.get("plans", [])
    if not isinstance(plans, list) or not all(isinstance(plan, str) for plan in plans):
        raise ValueError(f"{where}: plans must be a list of texts")
    views = values.get("views", 0)
    if not isinstance(views, int) or views < 0:
        raise ValueError(f"{where}: views={views} must say how many cameras there are, 0 or more")
    if values["length"] < 2:
        raise ValueError(f"{where}: length={values['length']}; an episode has 2 states or more")
    return values


def open_row(source: Source, row: int, numbers: Numbering) -> Demonstration:
    """Read the episode of a row.

    Raises:
        ValueError: a bad row, or a file that can't be read or isn't as the index and ``task.numbers`` say.
    """
    values, where = parse_row(source, row), source.where(row)
    file = source.folder(row) / values["episode"]
    try:
        episode = read_demonstration(file)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if numbers.state and not episode.states_TS.shape[1]:
        raise ValueError(f"{where}: {file} has no states; {WITHOUT}")
    for count, wanted, words in (
        (len(episode.states_TS), values["length"], "{} states, not {} as the index says"),
        (episode.states_TS.shape[1], numbers.state, "states of {} numbers, not of {} as task.numbers.state says"),
        (episode.actions_PA.shape[1], numbers.action, "actions of {} numbers, not of {} as task.numbers.action says"),
    ):
        if count != wanted:
            raise ValueError(f"{where}: {file} has {words.format(count, wanted)}")
    plans = values.get("plans", [])
    if episode.plans_P is not None and not 0 <= episode.plans_P.min() <= episode.plans_P.max() < len(plans):
        raise ValueError(f"{where}: {file} follows plan {episode.plans_P.max()}, but the row's plans are {len(plans)}")
    return episode
