"""VSP spatial planning: from a picture of a FrozenLake maze to the moves that reach the goal.

Rows are the official JSONL (``data_modules.jsonl``). A row with ``map_desc`` is graded by walking its maze; one
without (the official spatial-reasoning rows) by comparing the boxed choice with its own answer.
"""

import re
from collections.abc import Hashable, Iterator
from pathlib import Path

from PIL import Image
from torch.utils.data import Dataset

from data_modules.jsonl import load_samples, problems
from data_modules.maze import outcome, parse_grid, parse_plan, shortest_plan, walk
from data_modules.maze_pictures import draw_path
from data_modules.samples import Grade, Picture, Sample, open_image

PARSERS = ("lenient", "strict")
_CHOICE = re.compile(r"\\boxed\{\s*([A-Za-z])\s*\}")


def check_row(sample: Sample) -> None:
    """Demand what grading needs: a solvable map, or an answer with a boxed choice.

    Raises:
        ValueError: the row can't be graded.
    """
    if "map_desc" in sample.meta:
        if shortest_plan(parse_grid(sample.meta["map_desc"])) is None:
            raise ValueError("map_desc has no way from start to goal")
    elif not _CHOICE.search(sample.answer_text):
        raise ValueError(r"nothing to grade against; give map_desc, or a text_output with a \boxed{choice}")


class VSP(Dataset[Sample]):
    """Rows of one JSONL file, in order.

    Args:
        file: the JSONL file.
        image_root: folder for relative image paths; the file's own when ``None``.
        parser: how moves are read out of an answer, see :func:`data_modules.maze.parse_plan`.

    Raises:
        ValueError: a bad row (with file and line), an empty file, an unknown parser.
    """

    def __init__(self, file: str | Path, image_root: str | Path | None = None, parser: str = "lenient") -> None:
        if parser not in PARSERS:
            raise ValueError(f"task.parser={parser} is unknown; choose one of {', '.join(PARSERS)}")
        self.parser = parser
        self.samples = load_samples(Path(file), Path(image_root) if image_root else None, check_row)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    @staticmethod
    def problems(file: str | Path, image_root: str | Path | None = None, **_: object) -> Iterator[str]:
        """Yield what is wrong with every bad row of a file."""
        return problems(Path(file), Path(image_root) if image_root else None, check_row)

    def identities(self) -> dict[Hashable, str]:
        """Map every maze of this file to the row that holds it, so that splits can be proved disjoint."""
        mazes = (sample for sample in self.samples if "map_desc" in sample.meta)
        return {parse_grid(sample.meta["map_desc"]): sample.where for sample in mazes}

    def grade(self, sample: Sample, text: str) -> Grade:
        """Grade an answer: the official simulation for planning, the boxed choice for reasoning."""
        if "map_desc" not in sample.meta:
            expected, given = _CHOICE.findall(sample.answer_text)[-1], _CHOICE.findall(text)
            right = bool(given) and given[-1].upper() == expected.upper()
            return Grade(right, "success" if right else "wrong" if given else "invalid", right, "choice")
        grid = parse_grid(sample.meta["map_desc"])
        group = f"level_{len(grid)}"
        plan = parse_plan(text, self.parser)
        if plan is None:
            return Grade(False, "invalid", False, group)
        result = outcome(grid, plan)
        best = shortest_plan(grid)
        return Grade(result == "success", result, result == "success" and len(plan) == len(best or ()), group)

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Draw the plan in ``text`` over the sample's first picture."""
        path = next(part.path for part in sample.question if isinstance(part, Picture))
        image = open_image(path, sample.where)
        plan = parse_plan(text, self.parser)
        if plan is None or "map_desc" not in sample.meta:
            return image
        grid = parse_grid(sample.meta["map_desc"])
        return draw_path(image, walk(grid, plan), image.width // len(grid))
