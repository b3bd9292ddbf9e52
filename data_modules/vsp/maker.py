"""Make VSP spatial-planning data in the official format: any number of mazes, their plans and their helper images."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from data_modules.maker import Maker, Plan, check_repeats, in_order
from data_modules.rows.jsonl import load_samples
from data_modules.samples import Sample
from data_modules.vsp.counterfactual import write_answer
from data_modules.vsp.maze import Grid, parse_grid, random_mazes, shortest_plan
from data_modules.vsp.pictures import HELPERS, draw_helpers, draw_maze


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
class Generator(Maker):
    """Mazes for train, val and test, disjoint by map.

    Attributes:
        levels: grid sizes, 3 to 16, each once.
        per_level: rows of each split at each level.
        cell_px: pixels a cell; the benchmark draws 64.
        hole_rate: chance of a hole in each cell.
        prompt: ``text_input`` of every row; ``<image>`` is the map.
        exclude: JSONL files whose mazes are never drawn.
        helper: what helper images show, one of :data:`data_modules.vsp.pictures.HELPERS`.
    """

    levels: Sequence[int]
    per_level: Mapping[str, int]
    cell_px: int
    hole_rate: float
    prompt: str
    exclude: Sequence[str | Path] = ()
    helper: str = "path"

    def __post_init__(self) -> None:
        if not self.levels or not set(self.levels) <= set(range(3, 17)):
            raise ValueError(f"task.levels={list(self.levels)} must name sizes from 3 to 16, e.g. task.levels=[3,4]")
        check_repeats("task.levels", self.levels)
        if self.cell_px < 8 or not 0 <= self.hole_rate < 1:
            raise ValueError(
                f"task.cell_px={self.cell_px} must be 8 or more and task.hole_rate={self.hole_rate} in [0, 1)"
            )
        if self.helper not in HELPERS:
            raise ValueError(f"task.helper={self.helper} is unknown; choose one of {', '.join(HELPERS)}")
        if isinstance(self.exclude, str | Path):
            raise ValueError(f"task.exclude={self.exclude} must be a list of files: task.exclude=[{self.exclude}]")

    def excluded(self) -> set[Grid]:
        """Read the mazes that are never drawn.

        Raises:
            ValueError: a file of ``exclude`` is missing, or a row of it is bad.
        """
        return {grid for file in self.exclude for grid in mazes_of(file)}

    def settings(self) -> dict[str, Any]:
        """Everything that the content of the files depends on; of ``exclude`` the mazes, wherever their files lie."""
        excluded = sorted(self.excluded())
        digest = sha256(json.dumps(excluded).encode()).hexdigest()[:12] if excluded else None
        return super().settings() | {"exclude": digest}

    def plans(self) -> Iterator[Plan]:
        """Yield every maze."""
        excluded, number = self.excluded(), 0
        for level in self.levels:
            mazes = (grid for grid in random_mazes(level, self.hole_rate, self.seed) if grid not in excluded)
            for split in in_order(self.per_level):
                for grid in islice(mazes, self.per_level[split]):
                    yield Plan(split, f"level_{level}_{split}_{number}", grid)
                    number += 1

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Write map and helper images of one maze."""
        grid: Grid = plan.content
        moves = shortest_plan(grid) or []
        helpers = draw_helpers(self.helper, grid, moves, self.cell_px)
        numbers = [f"_{number}" for number in range(1, len(helpers) + 1)] if len(helpers) > 1 else [""]
        names = [f"images/{plan.name}.png", *(f"images/{plan.name}_{self.helper}{number}.png" for number in numbers)]
        for name, picture in zip(names, (draw_maze(grid, self.cell_px), *helpers), strict=True):
            picture.save(folder / name, compress_level=1)
        return {
            "text_input": self.prompt,
            "text_output": write_answer(self.helper, moves),
            "image_input": names[0],
            "image_output": names[1:] if len(helpers) > 1 else names[1],
            "map_id": plan.name,
            "map_desc": grid,
        }
