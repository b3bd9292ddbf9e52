"""What the tasks of official rows (``jsonl.py``) share: all rows are checked at the start, images are opened later."""

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Self

from data_modules.files.sources import path_of
from data_modules.maker import SETTINGS
from data_modules.rows.jsonl import load_samples, problems
from data_modules.rows.questions import Questions
from data_modules.samples import Picture, Problem, Sample


class OfficialRows(Questions):
    """Rows of one file in the official format, in order. A task says what a row must have, grades it and draws it.

    Args:
        image_root: folder for relative image paths; the file's own when ``None``.
    """

    samples: Sequence[Sample] = ()

    def __init__(self, image_root: str | Path | None = None) -> None:
        self.image_root = Path(image_root) if image_root else None

    def read(self, file: str | Path) -> Self:
        """Return the rows of a file: JSONL, or of any other kind that ``open_source`` opens.

        Raises:
            ValueError: a bad row (with file and line), or an empty file.
        """
        rows = copy(self)
        rows.samples = load_samples(path_of(file), self.image_root, self.check)
        return rows

    def learnable(self) -> None:
        """Demand an answer of every row, as training does.

        Raises:
            ValueError: the first row without one.
        """
        where = next((sample.where for sample in self.samples if not sample.answer), None)
        if where is not None:
            raise ValueError(
                f"{where}: no text_output or sequence_plan, and a row to train or validate on needs an answer; add it"
            )

    def problems(self, file: str | Path, problem: Problem = lambda sample: None) -> Iterator[str]:
        """Yield what is wrong with every bad row of a file; every image is decoded.

        A picture that stands for another board in a row before is bad, too, as is a ``map_id`` of made data that is
        there again, since its pictures are named by it.
        """
        twins = Twins((path_of(file).parent / SETTINGS).is_file())
        return problems(
            path_of(file), self.image_root, self.check, lambda sample: problem(sample) or twins.find(sample)
        )

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    @abstractmethod
    def check(self, sample: Sample) -> None:
        """Demand what grading needs.

        Raises:
            ValueError: the row can't be graded.
        """


class Twins:
    """Rows that claim the same picture files for something else, found one after the other.

    Args:
        made: whether rows are made by a task, so that no two have the same ``map_id``.
    """

    def __init__(self, made: bool) -> None:
        self.made = made
        self.boards = dict[Hashable, tuple[object, str]]()
        self.names = dict[str, str]()

    def find(self, sample: Sample) -> str | None:
        """Say which row before it a row contradicts; ``None``: none."""
        where, name, board = sample.where, sample.meta.get("map_id"), sample.meta.get("map_desc")
        if self.made and name is not None and (before := self.names.setdefault(str(name), where)) != where:
            return (
                f"{where}: map_id {name} is that of {before}, too, so one has the other's pictures; make the data anew"
            )
        picture = next((part for part in sample.question if isinstance(part, Picture)), None)
        if picture is None or board is None:
            return None
        shown, before = self.boards.setdefault(picture.path, (board, where))
        if shown == board:
            return None
        return f"{where}: {picture.path} shows another map_desc in {before}; give each board a picture of its own"
