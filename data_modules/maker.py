"""Make data: a folder of JSONL files and pictures, drawn by several processes; it appears only when complete."""

import json
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
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
        if changed := [key for key in settings if recorded.get(key) != settings[key]]:
            was, now = (", ".join(f"{key}={each.get(key)}" for key in changed) for each in (recorded, settings))
            raise ValueError(
                f"{self.folder} was made with {was}, and {now} is wanted; give what it was made with, choose another "
                "task.folder, or delete it"
            )
        return True

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
