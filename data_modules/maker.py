"""Make data: a folder of JSONL files and pictures, drawn by several processes; it appears only when complete."""

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

from rich.progress import track

from data_modules.loading.workers import end_with_parent

SETTINGS = "made.json"
SPLITS = ("test", "val", "train")
"""In the order in which they are made, so that test and val don't change with the size of train."""


@dataclass(frozen=True)
class Plan:
    """A row to be made.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        name: unique; its picture files start with it.
        content: what :meth:`Maker.draw` needs; sent to another process.
    """

    split: str
    name: str
    content: Any


@dataclass(frozen=True, kw_only=True)
class Maker(ABC):
    """Makes ``train.jsonl``, ``val.jsonl``, ``test.jsonl`` and ``images/``, the same for the same settings.

    Attributes:
        subfolder: in ``folder``, for what rows name.
        folder: where they go.
        seed: another one makes other data.
        num_workers: processes that draw; all cores when ``None``.
    """

    subfolder: ClassVar[str] = "images"
    keys: ClassVar[Mapping[str, str]] = {"seed": "data_seed"}
    """Setting -> key below ``task`` by which a user sets it, where they differ."""

    folder: Path
    seed: int
    num_workers: int | None = None

    @abstractmethod
    def plans(self) -> Iterator[Plan]:
        """Yield every row to be made, all splits, in order."""

    @abstractmethod
    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write the pictures of one row below ``folder`` and return the row; paths in it start at ``folder``."""

    def settings(self) -> dict[str, Any]:
        """Everything that the content of the files depends on."""
        fields = {key: dict(value) if isinstance(value, Mapping) else value for key, value in asdict(self).items()}
        return {key: value for key, value in fields.items() if key not in ("folder", "num_workers")}

    def makes(self, files: Iterable[Any]) -> bool:
        """Return whether any of these files is in ``folder``: a user's own files are never made."""
        return any(Path(self.folder) in Path(file).parents for file in files if isinstance(file, str | Path))

    def is_made(self) -> bool:
        """Return whether ``folder`` holds the data of these settings.

        Raises:
            ValueError: it holds data made with other settings.
        """
        record = Path(self.folder) / SETTINGS
        if not record.is_file():
            return False
        recorded = json.loads(record.read_text())
        settings = json.loads(as_json(self.settings()))
        if changed := list(compare(recorded, settings)):
            keys = [self.name_key(path) for path, *_ in changed]
            was, now = (
                ", ".join(f"{key}={write_value(values[side])}" for key, (_, *values) in zip(keys, changed, strict=True))
                for side in (0, 1)
            )
            raise ValueError(
                f"{self.folder} was made with {was}, and {now} is wanted; give what it was made with, choose another "
                "task.folder, or delete it"
            )
        return True

    def name_key(self, path: Sequence[str]) -> str:
        """What a user types to set something, by its place in :meth:`settings`: ``task.rows.train``."""
        return ".".join(("task", self.keys.get(path[0], path[0]), *path[1:]))

    def make(self) -> None:
        """Draw everything beside ``folder`` and rename at the end, so that a kill leaves nothing incomplete.

        If another process has made the same data meanwhile, those stay.

        Raises:
            ValueError: ``folder`` holds something else.
        """
        folder = Path(self.folder)
        if folder.exists():
            raise ValueError(f"{folder} exists, but holds no {SETTINGS}; move it away, or choose another task.folder")
        partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
        (partial / self.subfolder).mkdir(parents=True)
        try:
            self._write(partial)
            (partial / SETTINGS).write_text(as_json(self.settings()))
            try:
                partial.rename(folder)
            except OSError:
                if not self.is_made():
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        plans = list(self.plans())
        if twice := find_repeat([plan.name for plan in plans]):
            raise ValueError(
                f"two rows would be named {twice}, and have the same files; the task's maker must tell them apart"
            )
        rows: dict[str, list[str]] = {plan.split: [] for plan in plans}
        processes, context = self.num_workers or os.cpu_count(), get_context("forkserver")
        with ProcessPoolExecutor(processes, context, initializer=end_with_parent) as pool:
            drawn = pool.map(self._line, plans, [folder] * len(plans), chunksize=64)
            for plan, line in zip(plans, track(drawn, f"Drawing {self.folder}", len(plans)), strict=True):
                rows[plan.split].append(line)
        for split, lines in rows.items():
            (folder / f"{split}.jsonl").write_text("".join(lines))

    def _line(self, plan: Plan, folder: Path) -> str:
        return json.dumps(self.draw(plan, folder), allow_nan=False) + "\n"


def compare(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield what differs: its keys from the outermost on, what is recorded, what is wanted; ``None``: it isn't there.

    Only what is wanted at the top counts: data may be older than a setting.
    """
    for key in wanted:
        was, now = recorded.get(key), wanted[key]
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            both = {**dict.fromkeys(was), **now}
            yield from (((key, *path), old, new) for path, old, new in compare(was, both))
        elif was != now:
            yield (key,), was, now


def write_value(value: Any) -> str:
    """A setting as it is typed on a command line."""
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {write_value(each)}' for key, each in value.items())}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(map(write_value, value))}]"
    return json.dumps(value)


def find_repeat(values: Sequence[Hashable]) -> Any:
    """The first of some values that is there again; ``None``: each is there once."""
    return next((value for value, times in Counter(values).items() if times > 1), None)


def check_repeats(key: str, values: Sequence[Hashable]) -> None:
    """Refuse a list in which something is named again, where that can't mean anything.

    Args:
        key: what a user types.
        values: its value.

    Raises:
        ValueError: something is named more than once; names it.
    """
    if (twice := find_repeat(values)) is not None:
        once = write_value(list(dict.fromkeys(values)))
        raise ValueError(f"{key}={write_value(values)} names {twice} more than once; name each once: {key}={once}")


def plain(node: Any) -> Any:
    """A path, a config's mapping or a config's list, for JSON."""
    return str(node) if isinstance(node, Path) else dict(node) if isinstance(node, Mapping) else list(node)


def as_json(settings: Mapping[str, Any]) -> str:
    """Write settings; a config's lists and mappings as plain ones."""
    return json.dumps(settings, indent=2, default=plain, allow_nan=False)


def in_order(rows: Mapping[str, int]) -> list[str]:
    """The splits of which rows are wanted, in the order in which they are made.

    Raises:
        ValueError: a split that there isn't, or one without rows.
    """
    if unknown := rows.keys() - set(SPLITS):
        raise ValueError(f"rows are wanted of {sorted(unknown)}; the splits are {', '.join(reversed(SPLITS))}")
    if empty := [f"{split}: {count}" for split, count in rows.items() if count < 1]:
        raise ValueError(f"{empty[0]} rows are wanted; give 1 or more, or leave the split out and set its file to null")
    return sorted(rows, key=SPLITS.index)
