"""What names episodes, as rows: an index, a LeRobot data set, an HDF5 file, or a folder of episodes or of pictures."""

import json
import os
from collections.abc import Collection, Sequence
from glob import glob
from pathlib import Path
from typing import Any

from data_modules.episodes.decoding import ENDINGS as VIDEOS
from data_modules.episodes.entry import Entry, naming, open_checked, parse_entry
from data_modules.episodes.form import Form
from data_modules.episodes.hdf5 import ENDINGS as HDF5
from data_modules.episodes.hdf5 import as_numbers, list_groups
from data_modules.episodes.lerobot.meta import INFO, is_numbered, lacks_info, read_folder
from data_modules.episodes.pictures import is_pictured
from data_modules.episodes.recording import digest_episode, open_recording
from data_modules.files.folders import RowlessError
from data_modules.files.lines import within
from data_modules.files.sources import Concatenated, Source, find_files, open_source
from data_modules.files.subset import locate_row

ENDINGS = (".npz", *HDF5, *VIDEOS)


class Listed:
    """Episodes that no index names, as its rows: where they lie is kept, how long they are is read late.

    Args:
        path: the folder or file, for errors.
        places: file and place of each episode.
        form: of the files.
    """

    def __init__(self, path: Path, places: Sequence[tuple[Path, str | None]], form: Form) -> None:
        self.path, self.places, self.form = path, places, form

    def __str__(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        file, at = self.places[within(index, self)]
        try:
            with open_recording(file, self.form, at) as recording:
                total = recording.total
        except ValueError as error:
            raise ValueError(f"{self.where(index)}: {error}") from None
        if not total:
            raise ValueError(f"{self.where(index)} has no frames; make the episode again, or leave it out")
        return {"episode": str(file.relative_to(self.path.parent)), "length": total} | (
            {} if at is None else {"at": at}
        )

    def where(self, index: int) -> str:
        """Return ``folder:file``, ``file:group``, or both."""
        file, at = self.places[within(index, self)]
        inside = file.relative_to(self.path)  # of a folder that is one episode its own name, of a file nothing
        parts = [self.path.name if file == self.path and at is None else str(inside), at]
        return f"{self.path}:{'/'.join(filter(None, parts)).removeprefix('./')}"

    def folder(self, index: int) -> Path:
        """Return the folder around it."""
        return self.path.parent


class Numbered:
    """The episodes of a LeRobot data set as rows, counted under what is to be done in them.

    Raises:
        ValueError: it isn't whole, or has no episode; names it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spans = list(read_folder(path).spans.values())
        if not self.spans:
            raise ValueError(f"{path} has no episode; give a LeRobot data set that has one")

    def __str__(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        return len(self.spans)

    def __getitem__(self, index: int) -> dict[str, Any]:
        span = self.spans[within(index, self)]
        row = {"episode": self.path.name, "at": span.number, "length": span.length}
        return row | ({"group": span.text} if span.text else {})

    def where(self, index: int) -> str:
        """Return ``folder:episode 12``."""
        return f"{self.path}:episode {self.spans[within(index, self)].number}"

    def folder(self, index: int) -> Path:
        """Return the folder around it."""
        return self.path.parent


def open_episodes(path: str | Path, form: Form) -> Source:
    """Open what names episodes: an index of any kind of file, a LeRobot data set, an HDF5 file, a folder of files or
    of pictures.

    A pattern names several of one kind.

    Raises:
        ValueError: there is no such file, or no episode; names it.
    """
    place = Path(path)
    if place.is_dir() and (source := open_folder(place, form)):
        return source
    if place.suffix.lower() in HDF5 and place.is_file():
        return Listed(place, list_places(place, form), form)
    matches = [Path(name) for name in sorted(glob(str(path), recursive=True), key=as_numbers)]
    if matches and all(file.suffix.lower() in ENDINGS for file in matches):
        return list_files(Path(os.path.commonpath([file.parent for file in matches])), matches, form)
    if matches and all(map(is_numbered, matches)):
        return Concatenated([Numbered(folder) for folder in matches])
    try:
        return Concatenated([open_source(file) for file in find_files([path])])
    except RowlessError as error:
        raise ValueError(
            f"{error}, or put episodes there ({', '.join(ENDINGS)}, folders of pictures), or a LeRobot data set"
        ) from None


def open_folder(folder: Path, form: Form) -> Source | None:
    """Open a LeRobot data set, or a folder of pictures or of files; ``None`` if it is none of these.

    Raises:
        ValueError: it is a LeRobot data set that isn't whole, or has no episode.
    """
    if is_numbered(folder):
        return Numbered(folder)
    if lacks_info(folder):
        raise ValueError(f"{folder} is a LeRobot data set without {INFO}; copy the data set anew")
    if pictured := find_pictured(folder, form):
        return Listed(folder, [(place, None) for place in pictured], form)
    files = find_episodes(folder)
    return list_files(folder, files, form) if files else None


def list_files(folder: Path, files: Sequence[Path], form: Form) -> Listed:
    """The episodes of files in a folder."""
    return Listed(folder, [place for file in files for place in list_places(file, form)], form)


def find_episodes(folder: Path) -> list[Path]:
    """Files of episodes anywhere in a folder."""
    files = [file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS and file.is_file()]
    return sorted(files, key=lambda file: as_numbers(str(file)))


def find_pictured(folder: Path, form: Form) -> list[Path]:
    """Folders whose pictures are an episode: this one, or those below."""
    cameras = form.names("frames")
    if not cameras or is_pictured(folder, cameras[0]):
        return [folder] if cameras else []
    below = [place for place in folder.rglob("*") if place.is_dir() and is_pictured(place, cameras[0])]
    return sorted(below, key=lambda place: as_numbers(str(place)))


def list_places(file: Path, form: Form) -> list[tuple[Path, str | None]]:
    """The episodes of a file."""
    names = form.names("frames") or form.names("actions")
    if file.suffix.lower() not in HDF5:
        return [(file, None)]
    if not names:
        raise ValueError(f"{file}: task.form.keys.frames or actions must name an array")
    return [(file, group) for group in list_groups(file, names[0])]


def find_digest(entry: Entry, form: Form) -> str | None:
    """The digest of an episode's frames; ``None``: it has no camera."""
    with open_checked(entry, form) as recording:
        return digest_episode(entry.file, form, entry.at) if recording.cameras else None


def write_index(path: Path, form: Form, names: Collection[str], out: Path) -> None:
    """Write some episodes of what names them as an index, each with the digest of its frames, if it has any.

    Paths start from the new one.

    Args:
        path: see :func:`open_episodes`.
        form: of the files.
        names: of the rows, from :func:`data_modules.files.subset.locate_row`.
        out: the new file; appears under its name when it is whole.

    Raises:
        ValueError: an episode can't be read; names the row.
    """
    source, wanted, lines = open_episodes(path, form), set(names), []
    for row in range(len(source)):
        if locate_row(source.where(row))[1] not in wanted:
            continue
        entry = parse_entry(source, row)
        with naming(entry):
            digest = entry.digest or find_digest(entry, form)
        known = {} if digest is None else {"digest": digest}
        file = os.path.relpath(entry.file.resolve(), out.parent.resolve())
        lines.append(json.dumps(source[row] | {"episode": file} | known, ensure_ascii=False) + "\n")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.draft-{os.getpid()}")
    draft.write_text("".join(lines))
    draft.replace(out)
