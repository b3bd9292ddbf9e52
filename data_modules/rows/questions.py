"""What all data sets of questions share: identity, facts, pictures and words of a row."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Self

from PIL import Image
from torch.utils.data import Dataset

from data_modules.images import image_size
from data_modules.rows.drawing import draw_images
from data_modules.samples import Latent, Picture, Problem, Sample, Text, answer_digest, question_digest
from data_modules.scores import Scores

MOST_CHECKED = 10_000
"""Most rows that are looked at before the first batch, images included."""


class Questions(Dataset[Sample], ABC):
    """Questions with their answers. It is made of a task's options, and :meth:`read` returns one that has rows."""

    @abstractmethod
    def read(self, file: Any) -> Self:
        """Return the rows of a file.

        Raises:
            ValueError: a bad row (with file and line), or a file without any.
        """

    @abstractmethod
    def problems(self, file: Any, problem: Problem = lambda sample: None) -> Iterator[str]:
        """Yield what is wrong with every bad row of a file; every image is decoded.

        Args:
            file: as in :meth:`read`.
            problem: what a model can't be shown is bad, too.
        """

    @property
    def skips(self) -> bool:
        """Whether bad rows are left out, not refused."""
        return False

    @property
    def checks_all(self) -> bool:
        """Whether :meth:`usable` looks at every row."""
        return len(self) <= MOST_CHECKED

    def usable(self, problem: Problem) -> Self:
        """Return the rows without those that a model can't be shown, or refuse them.

        More than :data:`MOST_CHECKED` rows are returned as they are: each is refused when it is met.

        Raises:
            ValueError: the first problem.
        """
        for index in range(len(self) if self.checks_all else 0):
            if said := problem(self[index]):
                raise ValueError(said)
        return self

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def group(self, sample: Sample) -> str:
        """Return what reports count a sample under."""

    @abstractmethod
    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade the model's ``text`` as an answer to ``sample``; without values where the row holds no truth.

        The same grade serves evaluation and a reward.
        """

    @abstractmethod
    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Draw ``text`` as an answer to ``sample``, for a report."""

    def counterfactual(self, sample: Sample) -> Sample | None:
        """Return the question with one thing changed, so that its right answer is wrong; ``None`` where there is none.

        It has the same latent blocks with other helper images, drawn at once, and is the same at every call.
        """
        return None

    def states(self, sample: Sample) -> Sequence[Sequence[int]]:
        """Return what each part of a picture shows, as a small number: of the one that is asked about, then of each
        helper image; all have as many parts. Empty where it isn't known.
        """
        return ()

    def identity(self, sample: Sample) -> str:
        """Digest of what is asked: of the question's texts and image files.

        Returns:
            12 hex digits.

        Raises:
            ValueError: an image file can't be read.
        """
        return question_digest(sample)

    def answer_identity(self, sample: Sample) -> str:
        """Digest of the answer and its helper images, by which a score of these is known to be of this row."""
        return answer_digest(sample)

    def identities(self) -> Mapping[str, str]:
        """Map the identity of every row to a row that has it, so that splits can be proved disjoint."""
        samples = (self[index] for index in range(len(self)))
        return {self.identity(sample): sample.where for sample in samples}

    def facts(self, sample: Sample) -> Mapping[str, str | float | Sequence[str]]:
        """Return group, characters of the answer, and the sizes of all images.

        Raises:
            ValueError: an image can't be read; names the row.
        """
        parts = (*sample.question, *sample.answer)
        return {
            "group": self.group(sample),
            "answer, characters": len(sample.answer_text),
            "input images": sizes([part for part in parts if isinstance(part, Picture)], sample.where),
            "helper images": sizes([part for part in parts if isinstance(part, Latent)], sample.where),
        }

    def picture(self, sample: Sample) -> Image.Image:
        """Lay out the images of a sample, those that help framed."""
        return draw_images(sample)

    def caption(self, sample: Sample) -> str:
        """Return what is asked and answered, with helper images by number where a block stands."""
        question = "".join(part.text for part in sample.question if isinstance(part, Text))
        numbers = count(1)
        answer = (part.text if isinstance(part, Text) else f"[helper image {next(numbers)}]" for part in sample.answer)
        return f"{question}\nanswer: {''.join(answer)}"


def sizes(parts: Sequence[Picture | Latent], where: str) -> list[str]:
    """Width and height of images, ``56×28``."""
    return ["{}×{}".format(*image_size(part.path, where)) for part in parts]
