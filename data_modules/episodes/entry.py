"""A row of an index: an episode by its file, how long it is, and what else is known of it; and what may be wrong."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from data_modules.episodes.agreement import find_disagreement
from data_modules.episodes.episode import Episode
from data_modules.episodes.form import Form
from data_modules.episodes.recording import Recording, open_recording
from data_modules.episodes.window import Window
from data_modules.files.sources import Source

ROW = '{"episode": "episodes/0007.npz", "length": 25, …}'
"""An example."""


@dataclass(frozen=True)
class Entry:
    """An episode as an index names it.

    Attributes:
        where: ``index:line``.
        file: of the episode, or its folder.
        at: where the episode is in a file of several: a group of an HDF5 file, a number of a LeRobot folder.
        total: its frames.
        group: what reports count it under.
        text: what is to be done, in place of what the file says; ``None``: as the file says.
        digest: identity, where the index has it.
        meta: the row's other columns.
    """

    where: str
    file: Path
    at: str | int | None
    total: int
    group: str = "all"
    text: str | None = None
    digest: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def parse_entry(source: Source, row: int) -> Entry:
    """Read a row of an index.

    Raises:
        ValueError: it names no episode, or a value is none that it may have; names the row and the key.
    """
    values, where = dict(source[row]), source.where(row)
    file, total, at = values.pop("episode", None), values.pop("length", None), values.pop("at", None)
    if file is None:
        raise ValueError(f"{where}: no episode; a row is {ROW}")
    whole = isinstance(total, int) and not isinstance(total, bool) and total >= 1
    for key, value, wanted, right in (
        ("episode", file, "a path", isinstance(file, str)),
        ("length", total, "the episode's number of frames, a whole number of 1 or more", whole),
        ("at", at, "a text or a whole number", isinstance(at, str | int | None) and not isinstance(at, bool)),
    ):
        if not right:
            given = "isn't there" if value is None else f"is {json.dumps(value, default=str)}"
            raise ValueError(f"{where}: {key} {given}; it must be {wanted}, as in {ROW}")
    group, text, digest = str(values.pop("group", "all")), values.pop("text", None), values.pop("digest", None)
    known = None if text is None else str(text), None if digest is None else str(digest)
    return Entry(where, source.folder(row) / file, at, total, group, *known, values)


class Named(Protocol):
    """An episode or a clip."""

    @property
    def where(self) -> str:
        """Its place."""
        ...


@contextmanager
def naming(sample: Named) -> Iterator[None]:
    """Put the place of an episode or a clip before what is wrong with it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{sample.where}: {error}") from None


@contextmanager
def open_checked(entry: Entry, form: Form) -> Iterator[Recording]:
    """Open an episode that is as long as its index says.

    Raises:
        ValueError: it isn't, or can't be read; doesn't name the row.
    """
    with open_recording(entry.file, form, entry.at) as recording:
        if recording.total != entry.total:
            raise ValueError(f"{recording.name} has {recording.total} frames, not {entry.total} as the index says")
        yield recording


def check_episode(entry: Entry, window: Window, form: Form, alike: dict[str, Any], action_dim: int) -> None:
    """Read all of an episode.

    Args:
        entry: a row of an index.
        window: what a clip takes.
        form: of the file.
        alike: what all episodes must have alike; the first one's is remembered here.
        action_dim: numbers of an action, of one frame or of a clip's step; 0: any, or none.

    Raises:
        ValueError: what is wrong with it, whatever a clip takes of it; names the row.
    """
    with naming(entry):
        window.check(entry.total, str(entry.file))
        with open_checked(entry, form) as recording:
            episode = recording.whole()
            if entry.digest not in (None, recording.digest()):
                raise ValueError(f"{recording.name} has other frames than its digest in the index says; index it anew")
        if difference := find_difference(episode, alike):
            raise ValueError(difference)
        width = 0 if episode.actions_SA is None else episode.actions_SA.shape[1]
        if action_dim and action_dim not in (width, width * window.step):
            actions = f"actions of width {width}" if width else "no actions"
            raise ValueError(f"{entry.file} has {actions}, but task.action_dim={action_dim}; set it to {width}")
        if disagreement := find_disagreement(episode.geometry, form.space):
            raise ValueError(f"{entry.file}: {disagreement}")


def find_difference(episode: Episode, alike: dict[str, Any]) -> str | None:
    """Say how an episode differs from the first one in what all must have alike; remember the first one's."""
    widths = {"actions": episode.actions_SA, "states": episode.states_TN}
    sizes: dict[str, Any] = {"frames of size": episode.frames_THWC.shape[1:3]}
    sizes |= {f"{kind} of width": 0 if array is None else array.shape[1] for kind, array in widths.items()}
    space = {} if episode.geometry is None else episode.geometry.arrays()
    sizes["known of space:"] = ", ".join(space) or "nothing"
    for kind, size in sizes.items():
        alike.setdefault(kind, size)
    wrong = [
        f"{kind} {size}, but {alike[kind]} in the first episode" for kind, size in sizes.items() if size != alike[kind]
    ]
    return "; ".join(wrong) or None
