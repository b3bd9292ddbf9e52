"""What the tasks of official rows (``jsonl.py``) share: all rows are checked at the start, images are opened later."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from torch.utils.data import Dataset

from data_modules.rows.jsonl import load_samples, problems
from data_modules.samples import Sample, question_digest


class OfficialRows(Dataset[Sample], ABC):
    """Rows of one file in the official format, in order. A task says what a row must have, grades it and draws it.

    Args:
        file: JSONL, or any other kind that :func:`data_modules.files.sources.open_source` opens.
        image_root: folder for relative image paths; the file's own when ``None``.

    Raises:
        ValueError: a bad row (with file and line), or an empty file.
    """

    def __init__(self, file: str | Path, image_root: str | Path | None = None) -> None:
        self.samples = load_samples(Path(file), Path(image_root) if image_root else None, self.check)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    @staticmethod
    @abstractmethod
    def check(sample: Sample) -> None:
        """Demand what grading needs.

        Raises:
            ValueError: the row can't be graded.
        """

    @classmethod
    def problems(cls, file: str | Path, image_root: str | Path | None = None, **_: object) -> Iterator[str]:
        """Yield what is wrong with every bad row of a file."""
        return problems(Path(file), Path(image_root) if image_root else None, cls.check)

    def identity(self, sample: Sample) -> str:
        """Digest of what is asked: of the question's texts and image files.

        Returns:
            12 hex digits.

        Raises:
            ValueError: an image file can't be read.
        """
        return question_digest(sample)

    def identities(self) -> dict[str, str]:
        """Map the identity of every row to a row that has it, so that splits can be proved disjoint."""
        return {self.identity(sample): sample.where for sample in self.samples}
