"""What is said of the units of a clip, by number: what is done in each, or what is to be done in all."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.episode import Episode
from data_modules.worlds.walking import name_action
from mirage_pl.deepverse.model.prompts import NUMBERS


class Reader(Protocol):
    """Reads what is said of a clip.

    Attributes:
        walks: whether numbers are those of actions.
    """

    walks: bool

    def __call__(self, episode: Episode, stride: int, where: str) -> list[int]:
        """Return a number for each unit after the first; 0: nothing is said.

        Args:
            episode: the clip.
            stride: frames of a unit.
            where: names it in errors.

        Raises:
            ValueError: it doesn't say, or something that has no number.
        """


class Actions:
    """Of a unit the action of most of its frames is said."""

    walks = True

    def __call__(self, episode: Episode, stride: int, where: str) -> list[int]:
        """Return the number of each unit's sentence among ``PROMPTS``.

        Raises:
            ValueError: there are no actions, or others than those of a walk.
        """
        actions_SA: NDArray[np.float32] | None = episode.actions_SA
        if actions_SA is None:
            raise ValueError(
                f"{where}: no actions; name their array in task.form.keys.actions, or set says=instruction"
            )
        prompts = list[int]()
        for unit in range(len(actions_SA) // stride):
            steps = actions_SA[unit * stride : (unit + 1) * stride]
            try:
                codes = [name_action(action) for action in steps.tolist()]
            except ValueError as error:
                raise ValueError(f"{where}: {error}; says=instruction says what is to be done instead") from None
            prompts.append(NUMBERS[Counter(codes).most_common(1)[0][0]])
        return prompts


class Instructions:
    """Of each unit the clip's text is said.

    Args:
        sentences: all that there are.

    Raises:
        ValueError: there is none.
    """

    walks = False

    def __init__(self, sentences: Sequence[str]) -> None:
        if not sentences:
            raise ValueError("says.sentences is empty; list all instructions that episodes have as their text")
        self.numbers = {sentence.lower(): number for number, sentence in enumerate(sentences, 1)}

    def __call__(self, episode: Episode, stride: int, where: str) -> list[int]:
        """Return the number of the text among the sentences, beginning with 1, for each unit."""
        return [self.find(episode.text, where)] * ((len(episode.frames_THWC) - 1) // stride)

    def find(self, text: str | None, where: str) -> int:
        """The number of a text; 0 of none.

        Raises:
            ValueError: it has none; names what says so.
        """
        if not text:
            return 0
        if (number := self.numbers.get(text.lower())) is None:
            raise ValueError(
                f"{where}: {text!r} is none of the {len(self.numbers)} sentences of says.sentences; add it"
            )
        return number
