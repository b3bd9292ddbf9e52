"""Rows that are conversations: LLaVA's, ShareGPT's, OpenAI's, Qwen-VL's; told apart turn by turn, not by a name.

The last turn of the model is the answer; all before it is the question. So one row makes one sample: what the model
said in earlier turns is read, not learnt. A conversation that ends with the user has no answer. Images that the answer
shows are helper images.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlparse

from data_modules.files.inline import InlineImage
from data_modules.files.packed import PackedImage
from data_modules.rows.jsonl import IMAGE, OUTPUT_IMAGE

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Columns that hold a conversation where ``task.columns.messages`` names none."""

IMAGES = ("image", "images", "image_path", "image_paths")
"""Columns that hold a conversation's images where ``task.columns.image_input`` names none."""

SPEAKER, CONTENT = ("role", "from", "speaker"), ("content", "value", "text", "message")
SYSTEM, USER = ("system", "developer"), ("user", "human", "prompter")
MODEL = ("assistant", "gpt", "model", "bot", "chatgpt", "bard", "bing", "ai")

_MARKED = re.compile(rf"(?<!\\){IMAGE}")
_QWEN = re.compile(r"(?:Picture \d+:\s*)?<img>([^<>]+)</img>\n?")

Image = str | PackedImage | InlineImage


@dataclass
class Turn:
    """What one says: text and images in order.

    Attributes:
        speaker: ``system``, ``user`` or ``model``.
        text: with :data:`IMAGE` for each image.
        images: one for each marker; ``None`` is one of the row's own.
    """

    speaker: str
    text: str = ""
    images: list[Image | None] = field(default_factory=list)


def find_conversation(row: Mapping[str, Any]) -> str | None:
    """Return the column of a row's conversation, if there is one: its own, or that of its only object."""
    inner = [(f"{name}.", value) for name, value in row.items() if isinstance(value, Mapping)]
    for above, entries in [("", row), *(inner if len(inner) == 1 else [])]:
        for name in CONVERSATIONS:
            if _is_conversation(entries.get(name)):
                return above + name
    return None


def _is_conversation(value: object) -> bool:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return False
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)


def read_conversation(value: object, own: Sequence[Image], system: object = None) -> dict[str, Any]:
    """Read a conversation as question, images, answer and helper images of the official format.

    Args:
        value: a list of turns, or JSON of one.
        own: images of the row, in order, which turns show by a marker or in front.
        system: text of the row that stands before a conversation without a system's turn; else nothing.

    Raises:
        ValueError: what is wrong, with the number of the turn; the first is 1.
    """
    turns = read_turns(value)
    if isinstance(system, str) and system.strip() and turns[0].speaker != "system":
        turns.insert(0, Turn("system", _MARKED.sub(rf"\\{IMAGE}", system)))
    answer = turns.pop() if turns[-1].speaker == "model" else None
    if not any(turn.speaker == "user" for turn in turns):
        raise ValueError("no turn of a user; a conversation needs one before the answer")
    shown = [image for turn in turns for image in turn.images]
    helpers = answer.images if answer else []
    if not shown and None not in helpers:
        shown, own = list(own), []  # in front
    images = place([*shown, *helpers], own)
    made: dict[str, Any] = {"text_input": ask(turns), "image_input": images[: len(shown)]}
    if answer is not None:
        made["text_output"] = _MARKED.sub(OUTPUT_IMAGE, answer.text).replace(f"\\{IMAGE}", IMAGE)
    return made | ({"image_output": images[len(shown) :]} if helpers else {})


def read_turns(value: object) -> list[Turn]:
    """Read the turns of a conversation; what one says in several is one turn.

    Raises:
        ValueError: it is no list, or a turn is bad; says which.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise ValueError(f"the conversation is broken JSON ({error})") from None
    if not isinstance(value, list) or not value:
        raise ValueError(f"a conversation must be a list of turns, got {value!r:.100}")
    turns = list[Turn]()
    for number, entry in enumerate(value, start=1):
        try:
            turn = read_turn(entry)
        except ValueError as error:
            raise ValueError(f"turn {number}: {error}") from None
        if turns and turns[-1].speaker == turn.speaker:
            turns[-1].text += "\n" + turn.text
            turns[-1].images += turn.images
        else:
            turns.append(turn)
    return turns


def count_answers(value: object) -> int:
    """Count the turns of the model; 0 of a conversation that can't be read."""
    try:
        return sum(turn.speaker == "model" for turn in read_turns(value))
    except ValueError:
        return 0


def ask(turns: Sequence[Turn]) -> str:
    """Write the turns before an answer as one question; a single one as it is, several with who says them."""
    system = [turn.text for turn in turns if turn.speaker == "system"]
    spoken = [turn for turn in turns if turn.speaker != "system"]
    names = {"user": "User", "model": "Assistant"}
    lines = [turn.text if len(spoken) == 1 else f"{names[turn.speaker]}: {turn.text}" for turn in spoken]
    return "\n\n".join([*system, "\n".join(lines)])


def place(shown: Sequence[Image | None], own: Sequence[Image]) -> list[Image]:
    """Return all images in the order of their markers.

    Raises:
        ValueError: there are markers for the row's own images, but not one for each.
    """
    gaps = sum(image is None for image in shown)
    if gaps != len(own):
        raise ValueError(f"{gaps} {IMAGE} marker(s) for the row's {len(own)} image(s); give one marker for each")
    remaining = list(own)
    return [remaining.pop(0) if image is None else image for image in shown]


def read_turn(entry: object) -> Turn:
    """Read one turn.

    Raises:
        ValueError: nobody, or somebody unknown, says it, or it says something that is neither text nor an image.
    """
    if not isinstance(entry, Mapping):
        raise ValueError(f"must be an object, got {type(entry).__name__}")
    said_by = next((entry[key] for key in SPEAKER if entry.get(key) is not None), None)
    names = {name: kind for kind, known in (("system", SYSTEM), ("user", USER), ("model", MODEL)) for name in known}
    speaker = names.get(str(said_by).lower())
    if speaker is None:
        raise ValueError(f"it is said by {said_by!r}; known are {', '.join(names)}")
    content = next((entry[key] for key in CONTENT if entry.get(key) is not None), "")
    turn = Turn(speaker)
    for piece in pieces(content):
        if isinstance(piece, str):
            turn.text += piece
        else:
            turn.text += IMAGE
            turn.images.append(piece[0])
    return turn


def pieces(content: object) -> Iterator[str | tuple[Image | None]]:
    """Yield texts, and images in a tuple, in order.

    Raises:
        ValueError: a part is neither.
    """
    if isinstance(content, str):
        yield from _marked(content)
        return
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield from _marked(part)
        elif isinstance(part, Mapping):
            yield from _part({key: value for key, value in part.items() if value is not None})
        else:
            raise ValueError(f"a part of it must be text or an object, got {type(part).__name__}")


def _marked(text: str) -> Iterator[str | tuple[Image | None]]:
    """Split a text at its markers, and at the paths of images that Qwen-VL writes into it."""
    for number, outer in enumerate(_MARKED.split(text)):
        if number:
            yield (None,)
        for index, inner in enumerate(_QWEN.split(outer)):
            yield (find_image(inner),) if index % 2 else inner


def _part(part: Mapping[str, Any]) -> Iterator[str | tuple[Image | None]]:
    pictured = "image" in part or "image_url" in part
    kind = str(part.get("type", "image" if pictured else "text" if "text" in part else next(iter(part), "nothing")))
    if kind in ("text", "input_text", "output_text") and isinstance(part.get("text"), str):
        yield part["text"]
    elif kind in ("image", "image_url", "input_image"):
        keys = ("image_url", "image", "url", "path", "source", "bytes", "image_file_name")
        source = next((part[key] for key in keys if key in part), None)
        yield (None if source is None else find_image(source),)
    else:
        raise ValueError(f"a part of type {kind!r} is neither text nor an image; leave such rows out")


def find_image(source: object) -> Image:
    """Return an image however a part names it.

    Raises:
        ValueError: it is on the web, or isn't named at all.
    """
    if isinstance(source, Mapping):
        if isinstance(source.get("data"), str):
            return f"data:{source.get('media_type', 'image/png')};base64,{source['data']}"
        source = next((source[key] for key in ("bytes", "url", "path") if source.get(key) is not None), None)
    if isinstance(source, bytes):
        return InlineImage(source)
    if isinstance(source, PackedImage | InlineImage):
        return source
    if not isinstance(source, str) or not source.strip():
        raise ValueError(f"an image must be a path or a data: URL, got {type(source).__name__}")
    return unquote(urlparse(source).path) if source.startswith("file://") else source.strip()
