"""What evaluations of this family share: clips that are scored some at a time, and kept to be drawn."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from data_modules.episodes.clips import Clip
from mirage_pl.engine.seams import OWN, Once, Row, Trial


class ClipTrial(Trial):
    """One model on some clips; those whose file can't be read are ``failures``.

    Args:
        evaluation: its ``conditions`` are scored besides ``own``.
        module: of a stage.
        data: its collator is used.
        once: keeps scores, so that an interrupted evaluation goes on.
        rows: the data set.
        clips: the items.
        width: how many are scored at a time.

    Attributes:
        shown: what was made of items of ``own``, by their place.
    """

    def __init__(
        self, evaluation: Any, module: Any, data: Any, once: Once, rows: Any, clips: Sequence[Clip], width: int
    ) -> None:
        self.evaluation, self.module, self.once, self.rows, self.clips = evaluation, module, once, rows, clips
        self.collate, self.width = data.collate, width
        self.failures: list[dict[str, str]] = []
        self.shown: dict[str, Any] = {}

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        conditions: Sequence[str] = self.evaluation.conditions
        return conditions

    @abstractmethod
    def score_clips(self, clips: Sequence[Clip], condition: str) -> dict[str, Any]:
        """Score some clips: their ``rows``, ``failures``, and of ``own`` what is kept."""

    def keep(self, part: dict[str, Any]) -> None:
        """Keep ``frames`` and ``maps`` of some clips of ``own``."""
        for place, (row, frames) in enumerate(zip(part["rows"], part["frames"], strict=True)):
            self.shown[row["where"]] = frames, {name: maps[place] for name, maps in part["maps"].items()}

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Score the clips."""
        if condition == OWN:
            self.failures, self.shown = [], {}
        for first in range(0, len(self.clips), self.width):
            clips = self.clips[first : first + self.width]
            part = self.once(f"{condition}-{first}", partial(self.score_clips, clips, condition))
            if condition == OWN:
                self.failures += part["failures"]
                self.keep(part)
            yield part["rows"]

    def check(self, clip: Clip) -> None:
        """Read a clip.

        Raises:
            ValueError: it can't be scored; names it.
        """
        self.collate.open(clip)

    def open_clips(self, clips: Sequence[Clip]) -> tuple[Any, list[dict[str, str]]]:
        """Read clips: a batch of those that can be scored, ``None`` if there is none, and why the others can't."""
        readable, failures = list[Clip](), list[dict[str, str]]()
        for clip in clips:
            try:
                self.check(clip)
                readable.append(clip)
            except ValueError as error:
                failures.append({"where": clip.where, "error": str(error)})
        return self.collate(readable).to(self.module.device) if readable else None, failures
