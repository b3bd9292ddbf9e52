"""What the tasks of official rows (``jsonl.py``) share: all rows are checked at the start, images are opened later."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import Self

from data_modules.files.sources import path_of
from data_modules.rows.jsonl import load_samples, problems
from data_modules.rows.questions import Questions
from data_modules.samples import Problem, Sample


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
        """Yield what is wrong with every bad row of a file; every image is decoded."""
        return problems(path_of(file), self.image_root, self.check, problem)

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
