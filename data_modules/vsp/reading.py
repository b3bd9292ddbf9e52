"""Reading aloud: the pretraining task that gives the tiny backbone eyes.

Every VSP row becomes two samples: its map, read cell by cell, and its helper image, read cell by cell (a cell that an
arrow leaves is named by the arrow) and then move by move.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Self

from PIL import Image

from data_modules.rows.drawing import first_picture
from data_modules.rows.questions import Questions
from data_modules.samples import Latent, Picture, Problem, Sample, Text
from data_modules.scores import Scores
from data_modules.vsp.maze import Grid, parse_grid, shortest_plan, walk
from data_modules.vsp.planning import VSP
from data_modules.vsp.thoughts import read_map


def read_path(grid: Grid) -> str:
    """Name every cell with the shortest plan's arrows, then the moves in order."""
    plan = shortest_plan(grid) or []
    arrows = dict(zip(walk(grid, plan), plan, strict=False))
    return f"{read_map(grid, arrows)} ; {' '.join(plan)}"


class Reading(Questions):
    """The maps (even indices) and helper images (odd indices) of a VSP file, to be read aloud.

    Args:
        prompts: what to ask for a ``map`` and for a ``path``.
        image_root: as in :class:`data_modules.vsp.planning.VSP`.
    """

    def __init__(self, prompts: dict[str, str], image_root: str | Path | None = None) -> None:
        self.rows, self.prompts = VSP(image_root), prompts

    def read(self, file: str | Path) -> Self:
        """Return the maps and helper images of a VSP file with ``map_desc`` and ``image_output``.

        Raises:
            ValueError: a bad row, one without maze or helper image, or an empty file.
        """
        readings = copy(self)
        readings.rows = self.rows.read(file)
        for row in readings.rows.samples:
            pictured = any(isinstance(part, Picture) for part in row.question)
            if not pictured or "map_desc" not in row.meta or not any(isinstance(part, Latent) for part in row.answer):
                raise ValueError(f"{row.where}: reading aloud needs image_input, map_desc, image_output in every row")
        return readings

    def problems(self, file: str | Path, problem: Problem = lambda sample: None) -> Iterator[str]:
        """Yield what is wrong with every bad row of a file, as in :meth:`data_modules.vsp.planning.VSP.problems`."""
        return self.rows.problems(file, problem)

    def __len__(self) -> int:
        return 2 * len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        row = self.rows[index // 2]
        grid = parse_grid(row.meta["map_desc"])
        if index % 2:
            picture = Picture(next(part.path for part in row.answer if isinstance(part, Latent)))
            question, answer = self.prompts["path"], read_path(grid)
        else:
            picture = next(part for part in row.question if isinstance(part, Picture))
            question, answer = self.prompts["map"], read_map(grid)
        return Sample(row.where, (picture, Text(question)), (Text(" " + answer),), {**row.meta, "reads": index % 2})

    def identity(self, sample: Sample) -> str:
        """Digest of the sample's maze, the same for its map and its helper image and in ``task=vsp``."""
        return self.rows.identity(sample)

    def identities(self) -> Mapping[str, str]:
        """The mazes, as in :meth:`data_modules.vsp.planning.VSP.identities`."""
        return self.rows.identities()

    def group(self, sample: Sample) -> str:
        """What is read, and the maze's size: ``path_level_3`` for instance."""
        return f"{'path' if sample.meta['reads'] else 'map'}_level_{len(sample.meta['map_desc'])}"

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade a reading: ``misread`` has a wrong cell, ``misordered`` right cells and wrong moves."""
        given, expected = text.split(), sample.answer_text.split()
        cells = expected.index(";") if ";" in expected else len(expected)
        right = given == expected
        fault = "misread" if given[:cells] != expected[:cells] else "misordered"
        return Scores({"success": right}, "success" if right else fault, self.group(sample))

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Return the picture that was read."""
        return first_picture(sample)
