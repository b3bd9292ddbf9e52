"""Make jigsaw data: photographs with a piece missing, and pieces to choose from.

A question shows a square photograph with a grey square in it and, as pictures of their own, the candidates A, B, ….
One of them is what the grey square hides; the others are distractors of one kind:

- ``other``: pieces of other photographs of the same split;
- ``far``: pieces from elsewhere in the photograph, outside the grey square;
- ``near``: the hidden piece, but cut ``shift`` pixels beside it, so that most of it is the same;
- ``flipped``: the hidden piece itself, mirrored or turned by 180 degrees.

The helper image is the photograph with the right piece in its place.
"""

import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from data_modules.jigsaw.photos import digest, photo_names, read_photo
from data_modules.jigsaw.procedural import draw_scene
from data_modules.maker import Maker, Plan, in_order

log = logging.getLogger(__name__)

CELL = 28
"""Pixels: sides are multiples of it, since Qwen2.5-VL makes one token of 28 by 28 pixels."""
GREY = (128, 128, 128)
LETTERS = "ABCD"
KINDS = ("other", "far", "near", "flipped")
FLIPS = (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.ROTATE_180)
DIRECTIONS = tuple((x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y)
MIN_DIFFERENCE = 10
"""Levels of 255 by which two candidates differ at least, averaged over pixels and colours: so that one can tell."""
TRIES = 50
"""Grey squares tried in a photograph before it counts as too plain."""
NUM_LENDERS = 8
"""Photographs at hand to lend pieces of kind ``other``."""


@dataclass(frozen=True)
class Photo:
    """A photograph or a drawn scene: its name, and its pixels (RGB, square)."""

    name: str
    image: Image.Image


@dataclass(frozen=True)
class Piece:
    """A square of a photograph, by the pixel of its top left corner, flipped or not."""

    photo: str
    left: int
    top: int
    flip: Image.Transpose | None = None


@dataclass(frozen=True)
class Question:
    """The candidates in the order of their letters, and which of them is missing in its photograph."""

    pieces: tuple[Piece, ...]
    answer: int
    kind: str


def cut(image: Image.Image, piece: Piece, side: int) -> Image.Image:
    """Cut a piece of ``side`` by ``side`` pixels out of its photograph."""
    square = image.crop((piece.left, piece.top, piece.left + side, piece.top + side))
    return square if piece.flip is None else square.transpose(piece.flip)


def distinct(images: Sequence[Image.Image]) -> bool:
    """Say whether every two of these equally large pictures differ by ``MIN_DIFFERENCE`` or more."""
    pixels = [np.asarray(image, dtype=np.int16) for image in images]
    return all(np.abs(one - other).mean() >= MIN_DIFFERENCE for one, other in combinations(pixels, 2))


@dataclass(frozen=True, kw_only=True)
class Generator(Maker):
    """Jigsaw questions for train, val and test, disjoint by photograph.

    Attributes:
        photos: folder of photographs, subfolders included; scenes are drawn by rule when ``None``. Of data that is
            made it counts as given: what changes in the folder later isn't noticed.
        rows: rows of each split.
        per_photo: rows made of one photograph at most.
        side: pixels of a photograph's side.
        piece: pixels of a piece's side.
        candidates: pieces to choose from, 2 to 4.
        distractors: kinds of wrong pieces, in equal parts.
        shift: pixels by which those of kind ``near`` are off, along one side or both.
        prompt: ``text_input`` before the candidates; ``<image>`` is the photograph.
    """

    photos: str | Path | None
    rows: Mapping[str, int]
    per_photo: int
    side: int
    piece: int
    candidates: int
    distractors: Sequence[str]
    shift: int
    prompt: str

    def __post_init__(self) -> None:
        if self.side % CELL or self.piece % CELL or not 0 < 2 * self.piece <= self.side:
            raise ValueError(
                f"task.side={self.side} and task.piece={self.piece} must be multiples of {CELL} pixels, "
                "and a piece at most half as wide as the photograph"
            )
        if isinstance(self.distractors, str) or not self.distractors or set(self.distractors) - set(KINDS):
            raise ValueError(f"task.distractors={self.distractors} must be a list of: {', '.join(KINDS)}")
        if not 2 <= self.candidates <= len(LETTERS):
            raise ValueError(f"task.candidates={self.candidates} must be from 2 to {len(LETTERS)}")
        if not 0 < self.shift < self.piece:
            raise ValueError(f"task.shift={self.shift} must be from 1 to {self.piece - 1}, less than task.piece")
        if self.per_photo < 1:
            raise ValueError(f"task.per_photo={self.per_photo} must be 1 or more")

    def settings(self) -> dict[str, Any]:
        """Everything that the content of the files depends on."""
        return super().settings() | {"photos": None if self.photos is None else str(self.photos)}

    def plans(self) -> Iterator[Plan]:
        """Yield every question. Every photograph is read here, one at a time, since a bad one gives none.

        Raises:
            ValueError: the folder has too few photographs.
        """
        left_out: list[str] = []
        photographs = self._photographs(left_out)
        for split in in_order(self.rows):
            yield from self._split(split, photographs, left_out)
        if left_out:
            log.warning("left out %d photograph(s), e.g. %s", len(left_out), "; ".join(left_out[:3]))

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write the photograph with its hole, the candidates, and the photograph as helper image."""
        question: Question = plan.content
        missing = question.pieces[question.answer]
        photos = {name: self._read(name) for name in {piece.photo for piece in question.pieces}}
        whole = photos[missing.photo]  # which is what the right piece in its place gives
        holed = whole.copy()
        holed.paste(GREY, (missing.left, missing.top, missing.left + self.piece, missing.top + self.piece))
        candidates = [cut(photos[piece.photo], piece, self.piece) for piece in question.pieces]
        letters = LETTERS[: len(candidates)]
        names = [f"images/{plan.name}{end}.png" for end in ("", *(f"_{letter}" for letter in letters), "_whole")]
        for name, image in zip(names, (holed, *candidates, whole), strict=True):
            image.save(folder / name, compress_level=1)
        return {
            "text_input": self.prompt + "".join(f" {letter}: <image>" for letter in letters),
            "text_output": f"<output_image>\\boxed{{{letters[question.answer]}}}",
            "image_input": names[:-1],
            "image_output": names[-1],
            "map_id": plan.name,
            "level": question.kind,
        }

    def _names(self) -> list[str]:
        """Name the photographs there are, shuffled; of drawn scenes twice as many as needed, since one may be plain."""
        only_lends = self.distractors[0] == "other"  # the first photograph of a split
        needed = sum(-(-rows // self.per_photo) + only_lends for rows in self.rows.values() if rows)
        if self.photos is None:
            return [f"{self.seed} {number}" for number in range(2 * needed + NUM_LENDERS)]
        names = photo_names(Path(self.photos))
        if len(names) < needed:
            raise ValueError(
                f"task.photos={self.photos} holds {len(names)} photograph(s), but task.rows={dict(self.rows)} needs "
                f"{needed} or more at task.per_photo={self.per_photo}; add some, lower rows, or raise per_photo"
            )
        Random(self.seed).shuffle(names)
        return names

    def _read(self, name: str) -> Image.Image:
        if self.photos is None:
            return draw_scene(name, self.side)
        return read_photo(Path(self.photos) / name, self.side)

    def _photographs(self, left_out: list[str]) -> Iterator[Photo]:
        """Yield every photograph that can be read and shows what none before it does."""
        seen: dict[str, str] = {}
        for name in self._names():
            try:
                photo = Photo(name, self._read(name))
            except ValueError as error:
                left_out.append(str(error))
                continue
            twin = seen.setdefault(digest(photo.image), name)
            if twin == name:
                yield photo
            else:
                left_out.append(f"{name} shows the same as {twin}")

    def _split(self, split: str, photographs: Iterator[Photo], left_out: list[str]) -> Iterator[Plan]:
        """Yield the questions of a split; kinds and letters take turns."""
        lenders: deque[Photo] = deque(maxlen=NUM_LENDERS)
        made, source = 0, "drawn" if self.photos is None else "photo"
        while made < self.rows[split]:
            photo = next(photographs, None)
            if photo is None:
                raise self._too_few(split, made, left_out)
            for number in range(min(self.per_photo, self.rows[split] - made)):
                kind = self.distractors[made % len(self.distractors)]
                if kind == "other" and not lenders:
                    break  # nothing to lend yet
                pieces = self._pieces(Random(f"{self.seed} {photo.name} {number}"), photo, kind, lenders)
                if not pieces:
                    left_out.append(f"{photo.name} is too plain for candidates of kind {kind}")
                    break
                answer = made // len(self.distractors) % self.candidates
                pieces.insert(answer, pieces.pop(0))
                yield Plan(split, f"{source}_{kind}_{split}_{made}", Question(tuple(pieces), answer, kind))
                made += 1
            lenders.append(photo)

    def _too_few(self, split: str, made: int, left_out: Sequence[str]) -> ValueError:
        source = (
            "the drawn scenes give" if self.photos is None else f"the photographs of task.photos={self.photos} give"
        )
        why = f"; {len(left_out)} left out, e.g. {'; '.join(left_out[:3])}" if left_out else ""
        return ValueError(
            f"{source} only {made} of the {self.rows[split]} rows of {split}{why}; "
            "add photographs, lower task.rows, or raise task.per_photo"
        )

    def _pieces(self, rng: Random, photo: Photo, kind: str, lenders: Sequence[Photo]) -> list[Piece]:
        """Choose the right piece and, after it, wrong ones that one can tell apart; nothing if there are none."""
        images = {lent.name: lent.image for lent in (photo, *lenders)}
        corners = range(0, self.side - self.piece + 1, CELL)
        for _ in range(TRIES):
            right = Piece(photo.name, rng.choice(corners), rng.choice(corners))
            pieces = [right, *self._distractors(rng, right, kind, lenders)]
            if self._allowed(pieces, kind) and distinct([cut(images[p.photo], p, self.piece) for p in pieces]):
                return pieces
        return []

    def _distractors(self, rng: Random, right: Piece, kind: str, lenders: Sequence[Photo]) -> list[Piece]:
        count, room = self.candidates - 1, self.side - self.piece
        if kind == "flipped":
            return [replace(right, flip=flip) for flip in rng.sample(FLIPS, count)]
        if kind == "near":
            steps = [(self.shift * x, self.shift * y) for x, y in rng.sample(DIRECTIONS, count)]
            return [replace(right, left=right.left + x, top=right.top + y) for x, y in steps]
        owners = [rng.choice(lenders).name if kind == "other" else right.photo for _ in range(count)]
        return [Piece(owner, rng.randint(0, room), rng.randint(0, room)) for owner in owners]

    def _allowed(self, pieces: Sequence[Piece], kind: str) -> bool:
        """Say whether all pieces lie within their photographs, and those of kind ``far`` outside the grey square."""
        room, right = self.side - self.piece, pieces[0]
        inside = all(0 <= piece.left <= room and 0 <= piece.top <= room for piece in pieces)
        apart = (max(abs(piece.left - right.left), abs(piece.top - right.top)) >= self.piece for piece in pieces[1:])
        return inside and (kind != "far" or all(apart))
