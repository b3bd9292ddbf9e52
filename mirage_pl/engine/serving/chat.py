"""What a session has to be for many to ask it at a time: a seam, as those in ``seams.py``."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from data_modules.images import ImageSource
from mirage_pl.engine.seams import Session


@dataclass(frozen=True)
class Message:
    """What one has said: texts and images in order."""

    role: Literal["system", "user", "assistant"]
    parts: tuple[str | ImageSource, ...]


@dataclass(frozen=True)
class Options:
    """How an answer is written; ``None`` is the session's own."""

    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Question:
    """What a client asks.

    Attributes:
        messages: the last one is the user's.
        options: how to answer.
        marks: whether to tell what is in the answer besides text.
    """

    messages: tuple[Message, ...]
    options: Options = Options()
    marks: bool = False


@dataclass(frozen=True)
class Mark:
    """Something that an answer has in place of text; a page shows it as a button there.

    Attributes:
        number: from 0, in order; a later mark of the same number says more about the same.
        label: its name.
        note: what is known of it.
        words: words that it resembles, with shares, the largest first.
        looks: for each image of the question, rows x columns of shares: how much it looks at each place.
    """

    number: int
    label: str
    note: str = ""
    words: tuple[tuple[str, float], ...] = ()
    looks: tuple[tuple[tuple[float, ...], ...], ...] = ()


@dataclass(frozen=True)
class End:
    """An answer's end.

    Attributes:
        reason: ``stop``: the model ended it, or a stop string; ``length``: it was cut.
        columns: tokens written, those without text included.
        unspoken: of these, without text.
    """

    reason: Literal["stop", "length"]
    columns: int
    unspoken: int


Event = str | Mark | End
"""Text that was added to an answer, a mark in it, or its end."""


class Prompt(Protocol):
    """A question as the model reads it."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the question."""

    @property
    def max_tokens(self) -> int:
        """Most tokens of the answer."""


class Answers(Protocol):
    """Answers that are written together, each as if it were written alone."""

    def step(self, gone: Collection[int]) -> Sequence[tuple[int, Event]]:
        """Write on, for a moment only; not called again once every answer has ended or is gone.

        Args:
            gone: answers, by number, that nobody waits for: they are written no further.

        Returns:
            What was added, in order: number of the answer, and event.
        """


@runtime_checkable
class Chat(Session, Protocol):
    """A session that answers the questions of many, all with the model as it is.

    Attributes:
        longest: most tokens that question and answer have together.
        own_prompt: what is asked where a question has no text; empty: it must have one.
    """

    longest: int
    own_prompt: str

    def prepare(self, question: Question) -> Prompt:
        """Get a question ready; called by a thread of its own, one question at a time.

        Raises:
            ValueError: it can't be asked.
        """

    def answer(self, prompts: Sequence[Prompt]) -> Answers:
        """Begin to answer some questions together."""
