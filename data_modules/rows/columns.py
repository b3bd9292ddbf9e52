"""Columns of anybody's file as the columns of ours: what ``task.columns`` says.

A row as it was read becomes a row in the official format (``jsonl.py``), images and all. Names of columns may be
nested, ``json.question`` (an entry of the object in column ``json``) or ``turns.0.text`` (of a list, -1 for its last);
``row`` is the row's number or key in its file.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from typing import Any

from data_modules.rows.boxes import UNITS, cut_out
from data_modules.rows.chat import IMAGES, find_conversation, find_image, read_conversation
from data_modules.rows.choices import lettered, split_choices
from data_modules.rows.jsonl import IMAGE, OUTPUT, OUTPUT_IMAGE
from data_modules.rows.media import check_columns
from data_modules.rows.right import READINGS, find_right, list_choices
from data_modules.rows.templates import (
    GIVEN,
    Row,
    as_list,
    as_text,
    bare,
    check_pattern,
    check_template,
    fill,
    find_images,
    find_shown,
    has_column,
    holes,
    look_up,
    mark_blocks,
    missing_column,
)

Order = Callable[[int], Sequence[int]]
"""From the number of choices to the order in which they are asked."""

MARKERS = {"text_input": ("image_input", IMAGE), "text_output": ("image_output", OUTPUT_IMAGE)}
"""For each text, the images that it shows, and what stands for one in it."""


@dataclass(frozen=True)
class Columns:
    r"""How a row in the official format is made of the columns of a file.

    A text is a column, or a template, ``{question} Answer in \boxed{{}}.``; it may use ``{lettered}``, the choices line
    by line, ``{letter}``, that of the right one, and ``{stem}``, what stands before the choices in the text that lists
    them. One that uses a column which is null is left out. An image is a
    column, or a template for a path, or a list of these; a column may hold a list, and null is no image. What is
    ``None`` is taken from the row's column of the same name, if it has one.

    Attributes:
        text_input: the question.
        image_input: its images.
        text_output: the answer, for rows without a plan.
        image_output: its helper images, likewise.
        sequence_plan: the column of a plan (``plan.py``).
        choices: the column of a list of choices or of a text that lists them, or the columns of one choice each.
        right: the column of the right one: itself, its letter or its index.
        right_is: which of these, one of :data:`data_modules.rows.right.READINGS`; ``None``: as the file's rows tell.
        group: the column of what the row is counted under in reports.
        messages: the column of a conversation (``chat.py``), for rows without ``text_input``; ``None``: found.
        image_pattern: a regular expression for what stands for an image in the texts; its one group is the image's
            column.
        boxes: the column of boxes on the first image, each a helper image (``boxes.py``), for rows without a plan.
        box_unit: of the boxes, one of :data:`data_modules.rows.boxes.UNITS`.
        latent_marker: what stands for a latent block in the answer.
        erase: a regular expression of what is left out of the texts.

    Raises:
        ValueError: a bad template, pattern or unit, or ``choices`` without ``right``.
    """

    text_input: str | None = None
    image_input: str | Sequence[str] | None = None
    text_output: str | None = None
    image_output: str | Sequence[str] | None = None
    sequence_plan: str | None = None
    choices: str | Sequence[str] | None = None
    right: str | None = None
    right_is: str | None = None
    group: str | None = None
    messages: str | None = None
    image_pattern: str | None = None
    boxes: str | None = None
    box_unit: str = "pixel"
    latent_marker: str | None = None
    erase: str | None = None
    whole: frozenset[str] = frozenset()
    """Texts that are a column, from :meth:`of`."""
    withheld: str = ""
    """The column of answers that the file doesn't have, from :meth:`of`."""

    def __post_init__(self) -> None:
        for name in (*MARKERS, *(images for images, _ in MARKERS.values())):
            for template in as_list(getattr(self, name)):
                check_template(template, f"task.columns.{name}")
        for name, known in {"right_is": (None, *READINGS), "box_unit": (*UNITS,)}.items():
            if (given := getattr(self, name)) not in known:
                choose = ", ".join(filter(None, known))
                raise ValueError(f"task.columns.{name}={given} is unknown; choose one of {choose}")
        if (self.choices is None) != (self.right is None):
            raise ValueError("task.columns.choices and task.columns.right go together; give both or neither")
        check_pattern(self.image_pattern, "task.columns.image_pattern", grouped=True)
        check_pattern(self.erase, "task.columns.erase")

    def of(self, rows: Sequence[Row], file: str = "") -> "Columns":
        """Return these columns as a file means them, by some of its rows; ``file`` begins errors.

        A text without braces that names a column is that column. Answers in columns that no row has are withheld.

        Raises:
            ValueError: a text would be the same for every row.
        """
        if not rows:
            return self
        whole = {name for name in MARKERS if self._is_column(name, rows, file)}
        missing = missing_column(self.text_output, rows) if "text_output" not in whole else None
        missing = missing or (missing_column(f"{{{bare(self.right)}}}", rows) if self.right else None)
        if missing and not get_close_matches(missing, {str(key) for row in rows for key in row}, cutoff=0.75):
            return replace(self, whole=frozenset(whole), withheld=missing)
        return replace(self, whole=frozenset(whole))

    def _is_column(self, name: str, rows: Sequence[Row], file: str) -> bool:
        """Whether a text is a column's name; one that is neither that nor a template is refused."""
        text = getattr(self, name)
        if text is None or holes(text):
            return False
        if text.strip() in GIVEN or any(has_column(text.strip(), row) for row in rows):
            return True
        if name == "text_input" and " " in text.strip() and (self.image_input or "image_input" in rows[0]):
            return False  # one question about all images
        known = sorted({str(key) for row in rows for key in row})
        near = get_close_matches(text.strip(), known, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(
            f"{file}task.columns.{name}={text} would be the same text for every row: no column has that name{meant} "
            f"among {', '.join(known)[:500]}; give the name of a column, or a template with names in braces"
        )

    def official(self, row: Row, name: str, asked: Mapping[str, str | None]) -> dict[str, Any]:
        """Make a row in the official format, without columns that are null.

        Args:
            row: as it was read.
            name: its number or key in its file.
            asked: its choices, from :meth:`ask`.

        Raises:
            ValueError: a column isn't there, or holds something else; names it.
        """
        asked_of, row = row, self.spoken(row)
        values = {"row": name, **row, **asked}
        made: dict[str, Any] = {}
        for key, take in TAKE.items():
            if self.withheld and key in ANSWER:
                made[key] = None
                continue
            planned = key in OUTPUT and made["sequence_plan"] is not None
            talked = key == "image_input" and row.get("image_input") is not None and row is not asked_of
            given = None if planned or talked else getattr(self, key)
            if key in self.whole and given is not None:
                made[key] = as_text(given.strip(), values)
            else:
                made[key] = row.get(key) if given is None else take(given, values)
        for text, (images, marker) in MARKERS.items():
            written = made[text]
            if self.image_pattern and isinstance(written, str) and (shown := re.findall(self.image_pattern, written)):
                made[text] = re.sub(self.image_pattern, marker, written)
                made[images] = [find_shown(column, row) for column in shown]
            if self.erase and isinstance(made[text], str):
                made[text] = re.sub(self.erase, "", made[text])
        if made["text_input"] is None:
            raise ValueError(self._no_question(asked_of))
        self._place_blocks(made, row)
        return {"image_input": []} | {key: value for key, value in made.items() if value is not None}

    def _place_blocks(self, made: dict[str, Any], row: Row) -> None:
        """Cut boxes out as helper images, and mark where they go in an answer."""
        if made["text_output"] is None:
            return
        if self.boxes is not None:
            made["image_output"] = cut_out(look_up(bare(self.boxes), row), _list(made["image_input"]), self.box_unit)
        if self.latent_marker:
            count = len(_list(made["image_output"]))
            made["text_output"] = mark_blocks(made["text_output"], self.latent_marker, OUTPUT_IMAGE, count)

    def _no_question(self, row: Row) -> str:
        if self.text_input is not None:
            asked = f"task.columns.text_input={self.text_input}"
            return f"the question is null, as {asked} is; fill it, or leave the row out"
        return (
            f"no text_input; the row has {', '.join(map(str, row))}; say which column is the question, "
            "task.columns.text_input, or the conversation, task.columns.messages"
        )

    def spoken(self, row: Row) -> Row:
        """Return a row with the question, images and answer of its conversation, if it has one.

        Raises:
            ValueError: what is wrong with the conversation; or the row shows a video.
        """
        if self.text_input is None:
            check_columns(row)
        column = self.conversation(row)
        if column is None:
            return row
        if self.image_input is not None:
            images = find_images(self.image_input, row)
        else:
            beside = look_up(column.rpartition(".")[0], row) if column not in row and "." in column else row
            own: Any = next((beside[name] for name in IMAGES if beside.get(name)), [])
            images = [find_image(image) for image in (own if isinstance(own, list) else [own])]
        return {**row, **read_conversation(look_up(column, row), images, row.get("system"))}

    def talk(self, row: Row) -> Any:
        """Return a row's conversation, ``None`` without one."""
        with suppress(ValueError):
            return None if (column := self.conversation(row)) is None else look_up(column, row)
        return None

    def conversation(self, row: Row) -> str | None:
        """Return the column of a row's conversation, if that is what makes its question."""
        if self.messages is not None:
            return bare(self.messages)
        return None if self.text_input is not None or "text_input" in row else find_conversation(row)

    def group_of(self, row: Row) -> str | None:
        """Return what a row is counted under, ``None`` where nothing says so."""
        return None if self.group is None else str(look_up(bare(self.group), row))

    def ask(self, row: Row, order: Order) -> dict[str, str | None]:
        """Return ``lettered`` and ``letter`` of a row, nothing without ``choices``; no letter where none is right.

        Args:
            row: as it was read.
            order: in which choices are asked.

        Raises:
            ValueError: the right one is not among the choices, or the question doesn't show their order.
        """
        if self.choices is None or self.right is None:
            return {}
        choices, right = self.choices_and_right(row)
        asked = list(order(len(choices)))
        if asked != sorted(asked) and "lettered" not in (self.text_input or ""):
            raise ValueError(
                "the choices come in another order than in the row, which task.columns.text_input doesn't show; write "
                "{lettered} in it, or set task.shuffle=false and task.rotations=1"
            )
        letter = None if right is None else chr(ord("A") + asked.index(find_right(right, choices, self.right_is)))
        text = look_up(bare(self.choices), row) if isinstance(self.choices, str) else None
        stem = {"stem": split_choices(text)[0]} if isinstance(text, str) else {}
        return {"lettered": lettered([choices[index] for index in asked]), "letter": letter, **stem}

    def choices_and_right(self, row: Row) -> tuple[list[Any], Any]:
        """Return a row's choices, and what its column of right answers holds.

        Raises:
            ValueError: a column isn't there, or holds no choices.
        """
        if isinstance(self.choices, str) or self.choices is None:
            choices = list_choices(look_up(bare(self.choices or ""), row))
        else:  # a column each, of which tables leave the last ones empty
            choices = list_choices([_filled(look_up(bare(column), row)) for column in self.choices])
        right = None if self.withheld else look_up(bare(self.right or ""), row)
        return choices, None if isinstance(right, str) and not right.strip() else right


def _list(images: Any) -> list[Any]:
    return images if isinstance(images, list) else [] if images is None else [images]


def _filled(choice: Any) -> Any:
    return None if isinstance(choice, str) and not choice.strip() else choice


ANSWER = ("sequence_plan", "text_output", "image_output")
"""Our columns of an answer."""

NAMES = tuple(entry.name for entry in fields(Columns) if entry.name not in ("whole", "withheld"))
"""What ``task.columns`` may say."""


TAKE: dict[str, Callable[[Any, Row], Any]] = {
    "sequence_plan": look_up,
    "text_input": fill,
    "image_input": find_images,
    "text_output": fill,
    "image_output": find_images,
}
"""How a column of ours is made of what ``task.columns`` says of it."""
