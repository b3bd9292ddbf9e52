"""Plans in a file of their own, beside a data set: lines of JSON, one for each frame of an episode."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class Annotations:
    """``task.annotations``.

    Args:
        file: its path.
        episode: the key of an episode's number, which is the last digits in the value.
        frame: the same of a frame's.
        plan: what is said; keys in braces are replaced by their values, of a list with commas between them.

    Raises:
        ValueError: no such file, or a line that lacks a key; names it.
    """

    def __init__(self, file: str, episode: str, frame: str, plan: str) -> None:
        self.file = file
        self.plans: dict[tuple[int, int], str] = {}
        path = Path(file)
        if not path.is_file():
            raise ValueError(f"task.annotations.file={file} does not exist")
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            try:
                row = json.loads(line)
                place = find_number(row[episode]), find_number(row[frame])
                self.plans[place] = plan.format(**{key: as_words(value) for key, value in row.items()})
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                why = f"{type(error).__name__} {error}"
                raise ValueError(f"{file}:{number}: no episode, frame or plan ({why}); see task.annotations") from None

    def list_plans(self, episode: int, steps: int) -> Sequence[str]:
        """What is said at each step of an episode.

        Raises:
            ValueError: at some step nothing is; names it.
        """
        if missing := [step for step in range(steps) if (episode, step) not in self.plans]:
            raise ValueError(f"{self.file} says nothing of frame {missing[0]} of episode {episode}; add it")
        return [self.plans[episode, step] for step in range(steps)]


def find_number(value: Any) -> int:
    """The last digits of a value.

    Raises:
        IndexError: there is none.
    """
    return int(re.findall(r"\d+", str(value))[-1])


def as_words(value: Any) -> str:
    """A value in words."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
