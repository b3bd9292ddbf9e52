"""Make VSP spatial-planning data in the official format: any number of mazes, their plans and their helper images."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from rich.progress import track

from data_modules.jsonl import load_samples
from data_modules.maze import Grid, parse_grid, random_mazes, shortest_plan, walk
from data_modules.maze_pictures import draw_maze, draw_path
from data_modules.samples import Sample

SETTINGS = "made.json"


@dataclass(frozen=True)
class Picture:
    """One maze to draw: the folder of its split, its name, its cells, pixels a cell."""

    folder: Path
    name: str
    grid: Grid
    cell_px: int


def draw_row(picture: Picture) -> str:
    """Write map and helper image of one maze and return its JSON row."""
    plan = shortest_plan(picture.grid) or []
    image = draw_maze(picture.grid, picture.cell_px)
    helper = draw_path(image, walk(picture.grid, plan), picture.cell_px)
    names = [f"images/{picture.name}.png", f"images/{picture.name}_path.png"]
    for name, content in zip(names, (image, helper), strict=True):
        content.save(picture.folder / name, compress_level=1)
    return json.dumps(
        {
            "text_output": f"\\boxed{{{', '.join(plan)}}}",
            "image_input": names[0],
            "image_output": names[1],
            "map_id": picture.name,
            "map_desc": picture.grid,
        }
    )


def mazes_of(file: str | Path) -> set[Grid]:
    """Read the mazes of a JSONL file; its images are not opened.

    Raises:
        ValueError: the file is missing or empty, or a row is bad or has no map.
    """

    def check(sample: Sample) -> None:
        if "map_desc" not in sample.meta:
            raise ValueError("no map_desc, so no maze to exclude; add it, or name another file")
        parse_grid(sample.meta["map_desc"])

    try:
        return {parse_grid(sample.meta["map_desc"]) for sample in load_samples(Path(file), check=check)}
    except ValueError as error:
        raise ValueError(f"task.exclude: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Generator:
    """Mazes for train, val and test, disjoint by map, the same for the same settings.

    Attributes:
        folder: where ``train.jsonl``, ``val.jsonl``, ``test.jsonl`` and ``images/`` go.
        levels: grid sizes, 3 to 8.
        per_level: rows of each split at each level.
        cell_px: pixels a cell; the benchmark draws 64.
        hole_rate: chance of a hole in each cell.
        prompt: ``text_input`` of every row; ``<image>`` is the map.
        seed: draws other mazes.
        exclude: JSONL files whose mazes are never drawn.
        num_workers: processes that draw; all cores when ``None``.
    """

    folder: Path
    levels: Sequence[int]
    per_level: Mapping[str, int]
    cell_px: int
    hole_rate: float
    prompt: str
    seed: int
    exclude: Sequence[str | Path] = ()
    num_workers: int | None = None

    def __post_init__(self) -> None:
        if not self.levels or not set(self.levels) <= set(range(3, 9)):
            raise ValueError(f"task.levels={list(self.levels)} must name sizes from 3 to 8, e.g. task.levels=[3,4]")
        if self.cell_px < 8 or not 0 <= self.hole_rate < 1:
            raise ValueError(
                f"task.cell_px={self.cell_px} must be 8 or more and task.hole_rate={self.hole_rate} in [0, 1)"
            )
        if isinstance(self.exclude, str | Path):
            raise ValueError(f"task.exclude={self.exclude} must be a list of files: task.exclude=[{self.exclude}]")

    def excluded(self) -> set[Grid]:
        """Read the mazes that are never drawn.

        Raises:
            ValueError: a file of ``exclude`` is missing, or a row of it is bad.
        """
        return {grid for file in self.exclude for grid in mazes_of(file)}

    def settings(self) -> dict[str, object]:
        """Everything that decides what the files hold; of ``exclude`` the mazes, wherever their files lie."""
        excluded = sorted(self.excluded())
        digest = sha256(json.dumps(excluded).encode()).hexdigest()[:12] if excluded else None
        fields = asdict(self) | {"levels": list(self.levels), "per_level": dict(self.per_level), "exclude": digest}
        return {key: value for key, value in fields.items() if key not in ("folder", "num_workers")}

    def wanted(self, files: Iterable[str]) -> bool:
        """Say whether any of these files lies in ``folder``: a user's own files are never made."""
        return any(Path(self.folder) in Path(file).parents for file in files)

    def made(self) -> bool:
        """Say whether ``folder`` holds this very data.

        Raises:
            ValueError: it holds data made with other settings.
        """
        record = Path(self.folder) / SETTINGS
        if not record.is_file():
            return False
        found = json.loads(record.read_text())
        wanted = json.loads(json.dumps(self.settings()))
        if changed := [key for key in wanted if found.get(key) != wanted[key]]:
            was = ", ".join(f"{key}={found.get(key)}" for key in changed)
            raise ValueError(f"{self.folder} was made with {was}; delete it, or choose another task.folder")
        return True

    def splits(self) -> Iterator[tuple[str, Grid]]:
        """Yield every maze with its split; test and val come first, so they don't change with the size of train."""
        excluded = self.excluded()
        for level in self.levels:
            mazes = (grid for grid in random_mazes(level, self.hole_rate, self.seed) if grid not in excluded)
            for split in sorted(self.per_level, key=["test", "val", "train"].index):
                for grid in islice(mazes, self.per_level[split]):
                    yield split, grid

    def make(self) -> None:
        """Draw everything beside ``folder`` and move it there at the end, so that a kill leaves nothing half-made."""
        folder = Path(self.folder)
        if folder.exists():
            raise ValueError(f"{folder} exists, but holds no {SETTINGS}; move it away, or choose another task.folder")
        partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
        (partial / "images").mkdir(parents=True)
        try:
            self._write(partial)
            (partial / SETTINGS).write_text(json.dumps(self.settings(), indent=2))
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _write(self, folder: Path) -> None:
        mazes = list(self.splits())
        pictures = [
            Picture(folder, f"level_{len(grid)}_{split}_{number}", grid, self.cell_px)
            for number, (split, grid) in enumerate(mazes)
        ]
        files = {split: (folder / f"{split}.jsonl").open("w") for split in self.per_level}
        with ProcessPoolExecutor(self.num_workers or os.cpu_count(), mp_context=get_context("forkserver")) as pool:
            rows = track(pool.map(draw_row, pictures, chunksize=64), f"Drawing mazes for {self.folder}", len(pictures))
            for (split, _), row in zip(mazes, rows, strict=True):
                files[split].write(json.dumps({"text_input": self.prompt} | json.loads(row)) + "\n")
        for file in files.values():
            file.close()
