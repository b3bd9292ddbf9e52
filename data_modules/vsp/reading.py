"""Reading aloud: the pretraining task that gives the tiny backbone eyes.

Every VSP row becomes two samples: its map, read cell by cell, and its helper image, read cell by cell (a cell that an
arrow leaves is named by the arrow) and then move by move.
"""

from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from data_modules.images import open_image
from data_modules.samples import Latent, Picture, Sample, Text
from data_modules.scores import Scores
from data_modules.vsp.maze import Grid, parse_grid, shortest_plan, walk
from data_modules.vsp.planning import VSP
from data_modules.vsp.thoughts import read_map


def read_path(grid: Grid) -> str:
    """Name every cell with the shortest plan's arrows, then the moves in order."""
    plan = shortest_plan(grid) or []
    arrows = dict(zip(walk(grid, plan), plan, strict=False))
    return f"{read_map(grid, arrows)} ; {' '.join(plan)}"


class Reading(Dataset[Sample]):
    """The maps (even indices) and helper images (odd indices) of a VSP file, to be read aloud.

    Args:
        file: a VSP JSONL file with ``map_desc`` and ``image_output``.
        prompts: what to ask for a ``map`` and for a ``path``.
        image_root: as in :class:`data_modules.vsp.planning.VSP`.

    Raises:
        ValueError: a row has no maze or no helper image.
    """

    def __init__(self, file: str | Path, prompts: dict[str, str], image_root: str | Path | None = None) -> None:
        self.rows = VSP(file, image_root)
        self.prompts = prompts
        for row in self.rows.samples:
            if "map_desc" not in row.meta or not any(isinstance(part, Latent) for part in row.answer):
                raise ValueError(f"{row.where}: reading aloud needs map_desc and image_output in every row")

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

    problems = staticmethod(VSP.problems)

    def identity(self, sample: Sample) -> str:
        """Digest of the sample's maze, the same for its map and its helper image and in ``task=vsp``."""
        return self.rows.identity(sample)

    def identities(self) -> dict[str, str]:
        """The mazes, as in :meth:`data_modules.vsp.planning.VSP.identities`."""
        return self.rows.identities()

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade a reading: ``misread`` has a wrong cell, ``misordered`` right cells and wrong moves."""
        given, expected = text.split(), sample.answer_text.split()
        cells = expected.index(";") if ";" in expected else len(expected)
        right = given == expected
        fault = "misread" if given[:cells] != expected[:cells] else "misordered"
        group = f"{'path' if sample.meta['reads'] else 'map'}_level_{len(sample.meta['map_desc'])}"
        return Scores({"success": right}, "success" if right else fault, group)

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Return the picture that was read."""
        return open_image(next(part.path for part in sample.question if isinstance(part, Picture)), sample.where)
