"""Anybody's rows: files of any kind (``sources.py``), their columns by name (``columns.py``), graded by name.

A row is parsed when it is asked for, and its images are opened later still; no row is kept. So a bad row is an error
when it is met, unless all are checked at the start.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_modules.files.lines import within
from data_modules.files.sources import Source, open_mixed
from data_modules.images import image_size, open_image
from data_modules.rows.bad_rows import good_rows
from data_modules.rows.chat import count_answers
from data_modules.rows.choices import unordered
from data_modules.rows.columns import NAMES, Columns, Order
from data_modules.rows.drawing import captioned, lay_out
from data_modules.rows.graders import GROUP as UNNAMED
from data_modules.rows.graders import LETTERED, find_grader
from data_modules.rows.jsonl import KEYS, META, parse_row
from data_modules.rows.questions import Questions
from data_modules.rows.right import settle_reading
from data_modules.samples import Picture, Problem, Sample, Text, image_problems, question_digest
from data_modules.scores import Scores

log = logging.getLogger(__name__)

SEEN = 100
"""Rows that tell what the columns of a file are."""

GROUP = "task.columns.group"
"""Key in ``meta`` of a row's group."""

THUMBNAIL = 336
"""Most pixels along a side of a picture in :meth:`Rows.draw`."""


class Rows(Questions):
    """Rows of one or several files, in order.

    Args:
        columns: options of :class:`data_modules.rows.columns.Columns`.
        grader: see :func:`data_modules.rows.graders.find_grader`.
        image_root: folder for relative image paths; the file's own when ``None``.
        outside: image paths, absolute ones too, may lead out of that folder.
        shuffle: ask choices in an order drawn for each row.
        rotations: how often a row is asked, its choices one further each time.
        seed: of shuffling, and of the rows that a weight chooses.
        check_rows: files of at most so many rows together are checked before the first, and compared with the other
            splits.
        on_bad_row: ``error``, or ``skip``, which checks all rows first, however many, and leaves the bad ones out.
        max_bad_share: most of the rows that may be left out, 0 to 1.

    Raises:
        ValueError: a bad option.
    """

    source: Source
    rows_N: NDArray[np.int64]

    def __init__(
        self,
        columns: Annotated[Mapping[str, Any], Columns] | None = None,
        grader: str = "exact",
        image_root: str | Path | None = None,
        outside: bool = False,
        shuffle: bool = False,
        rotations: int = 1,
        seed: int = 0,
        check_rows: int = 10_000,
        on_bad_row: str = "error",
        max_bad_share: float = 0.01,
    ) -> None:
        if unknown := (columns or {}).keys() - set(NAMES):
            raise ValueError(f"task.columns has unknown {sorted(unknown)}; known are {', '.join(NAMES)}")
        if on_bad_row not in ("error", "skip"):
            raise ValueError(f"task.on_bad_row={on_bad_row} is unknown; choose error or skip")
        if rotations < 1:
            raise ValueError(f"task.rotations={rotations} must be 1 or more; 1 asks every row once")
        self.columns, self.grader = Columns(**(columns or {})), find_grader(grader)
        self.image_root, self.outside = Path(image_root) if image_root else None, outside
        self.shuffle, self.rotations, self.seed = shuffle, rotations, seed
        self.check_rows, self.on_bad_row, self.max_bad_share = check_rows, on_bad_row, max_bad_share

    def read(self, file: object) -> Self:
        """Return the rows of files: a path, a glob, or a list of these and of ``{file, weight}``.

        Raises:
            ValueError: a bad file or row; no row that is left.
        """
        rows = self.opened(file)
        return rows.without_bad(rows.check) if rows.checks_all else rows

    def usable(self, problem: Problem) -> Self:
        """Return the rows without those that a model can't be shown, or refuse them.

        Raises:
            ValueError: a bad row, or too many of them.
        """

        def check(sample: Sample) -> None:
            if said := problem(sample):
                raise ValueError(said)

        return self.without_bad(check) if self.checks_all else self

    @property
    def skips(self) -> bool:
        """Whether bad rows are left out, not refused."""
        return self.on_bad_row == "skip"

    @property
    def checks_all(self) -> bool:
        """Whether all rows are checked at the start."""
        return self.small or self.skips

    def opened(self, file: object) -> Self:
        """Return the rows of files, not one of them checked.

        Raises:
            ValueError: a bad file.
        """
        rows = copy(self)
        rows.source = open_mixed(file, self.seed)
        rows.rows_N = np.arange(len(rows.source))
        first = list(rows._first(SEEN))
        rows.columns = rows.columns.of(first, f"{rows.source}: ")
        talks = [rows.columns.talk(row) for row in first]
        if any(count_answers(talk) > 1 for talk in talks):
            log.warning("%s has turns before the last answer: they are part of the question, not learnt", rows.source)
        if rows.columns.withheld:
            log.warning("%s has no column %s: its rows are asked, not graded", rows.source, rows.columns.withheld)
        if rows.columns.choices is not None and rows.columns.right_is is None:
            rows.columns = replace(rows.columns, right_is=settle_reading(rows._rights()))
        return rows

    def _first(self, count: int) -> Iterator[Mapping[str, Any]]:
        """Yield the first rows that can be read."""
        for index in range(min(count, len(self.source))):
            with suppress(ValueError):
                yield self.source[index]

    def _rights(self) -> Iterator[tuple[str, Any, list[Any]]]:
        """Yield where, right answer and choices of the rows that have them."""
        for index in range(min(max(self.check_rows, SEEN), len(self.source))):
            with suppress(ValueError):
                choices, right = self.columns.choices_and_right(self.source[index])
                if right is not None:
                    yield self.source.where(index), right, choices

    @property
    def small(self) -> bool:
        """Whether the files have few enough rows to check and compare all of them."""
        return len(self.source) <= self.check_rows

    def __len__(self) -> int:
        return len(self.rows_N) * self.rotations

    def __getitem__(self, index: int) -> Sample:
        row, turn = divmod(within(index, self), self.rotations)
        return self.sample(int(self.rows_N[row]), turn)

    def sample(self, index: int, turn: int = 0) -> Sample:
        """Read a row of the files.

        Args:
            index: of the row, bad ones counted too.
            turn: by how many places its choices are rotated.

        Raises:
            ValueError: it is bad; names file and row.
        """
        row, where = self.source[index], self.source.where(index)
        root = self.image_root or self.source.folder(index)
        name = where.rpartition(":")[2].removeprefix("row ").partition(" (line ")[0]
        try:
            asked = self.columns.ask(row, self._order(where, turn))
            sample = parse_row(self.columns.official(row, name, asked), where, root, "all" if self.outside else "none")
            group = self.columns.group_of(row)
        except ValueError as error:
            raise ValueError(f"{where}: {' '.join(str(error)[:2000].splitlines())}") from None  # names hold anything
        place = f"{where}, choices rotated by {turn}" if turn else where
        others = {key: value for key, value in row.items() if key in META or key not in KEYS}
        return replace(sample, where=place, meta={**others, GROUP: group, LETTERED: asked.get("lettered")})

    def without_bad(self, check: Callable[[Sample], object]) -> Self:
        """Check all rows by a function that raises; refuse a bad one, or leave it out."""
        rows = copy(self)
        share = self.max_bad_share if self.skips else None
        rows.rows_N = good_rows(self.rows_N, lambda index: check(self.sample(index)), self.source, share)
        return rows

    def check(self, sample: Sample) -> None:
        """Demand images whose headers can be read, and an answer that the grader takes for right.

        Raises:
            ValueError: names file and row.
        """
        for part in (*sample.question, *sample.answer):
            if not isinstance(part, Text):
                image_size(part.path, sample.where)
        grade = self.grade(sample, sample.answer_text)
        if sample.answer and not grade.values.get("success"):
            raise ValueError(
                f"{sample.where}: the row's own answer is graded {grade.outcome}; correct it, or task.grader"
            )

    def problems(self, file: object, problem: Problem = lambda sample: None) -> Iterator[str]:
        """Yield what is wrong with every bad row; every image is decoded."""
        rows = self.opened(file)
        seen = set()
        for index in range(len(rows.source)):
            try:
                sample = rows.sample(index)
                if sample.where in seen:  # a weight serves it more than once
                    continue
                seen.add(sample.where)
                if not (bad := image_problems(sample)):
                    rows.check(sample)
            except ValueError as error:
                yield str(error)
            else:
                yield from bad or filter(None, [problem(sample)])

    def identity(self, sample: Sample) -> str:
        """Digest of the question's texts and images; the order of choices doesn't matter.

        Returns:
            12 hex digits.

        Raises:
            ValueError: an image can't be read.
        """
        lettered = sample.meta[LETTERED]
        if lettered is None:
            return question_digest(sample)
        question = [
            Text(part.text.replace(lettered, unordered(lettered))) if isinstance(part, Text) else part
            for part in sample.question
        ]
        return question_digest(replace(sample, question=tuple(question)))

    def identities(self) -> dict[str, str]:
        """Map the identity of every row to a row that has it; nothing with more than ``check_rows`` rows.

        All images are read for it.
        """
        if not self.small:
            return {}
        samples = (self.sample(int(index)) for index in self.rows_N)
        return {self.identity(sample): sample.where for sample in samples}

    def group(self, sample: Sample) -> str:
        """What ``columns.group`` says, ``rows`` where it says nothing; then a grader may say more."""
        group = sample.meta[GROUP]
        return UNNAMED if group is None else str(group)

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade an answer, under the group that ``columns.group`` names; without values where the row has no answer.

        Raises:
            ValueError: the row gives nothing to grade against; names it.
        """
        try:
            grade = self.grader(sample, text)
        except ValueError as error:
            if not sample.answer:
                return Scores({}, "ungraded", self.group(sample))
            raise ValueError(f"{sample.where}: {error}") from None
        if not isinstance(grade, Scores):
            raise ValueError(f"task.grader returned a {type(grade).__name__}; return data_modules.scores.Scores")
        group = sample.meta[GROUP]
        return grade if group is None else replace(grade, group=group)

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Lay the question's pictures out in a row and write ``text`` below."""
        pictures = [open_image(part.path, sample.where) for part in sample.question if isinstance(part, Picture)]
        for picture in pictures:
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
        return captioned(lay_out(pictures or [Image.new("RGB", (THUMBNAIL, 28), "white")]), text)

    def _order(self, where: str, turn: int) -> Order:
        def order(count: int) -> list[int]:
            asked = list(range(count))
            if self.shuffle:
                Random(f"{self.seed}/{Path(where).name}").shuffle(asked)
            turned = turn % count
            return asked[turned:] + asked[:turned]

        return order
