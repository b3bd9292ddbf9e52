r"""VSP spatial reasoning: from a picture of a maze and a plan in words to what the plan leads to.

Rows are the official JSONL (``data_modules.rows.jsonl``), answered ``\boxed{A}`` (at the goal), ``\boxed{B}`` (in a
hole) or ``\boxed{C}`` (neither).
"""

from PIL import Image, ImageDraw, ImageFont

from data_modules.rows.choices import choice, grade_choice
from data_modules.rows.drawing import first_picture
from data_modules.rows.official import OfficialRows
from data_modules.samples import Picture, Sample
from data_modules.scores import Scores
from data_modules.vsp.maze import parse_grid

MEANINGS = {"A": "goal", "B": "hole", "C": "neither"}

OFFICIAL_CELL_PX = 64
"""Pixels a cell of the official pictures, whose rows don't say how large the maze is."""


def check_row(sample: Sample) -> None:
    """Demand a picture, an answer to grade against (it may be withheld), and a size that makes sense.

    Raises:
        ValueError: the row can't be asked or graded.
    """
    if not any(isinstance(part, Picture) for part in sample.question):
        raise ValueError("no picture of the maze; give image_input")
    if sample.answer and choice(sample.answer_text) not in MEANINGS:
        raise ValueError(r"nothing to grade against; end text_output with \boxed{A}, \boxed{B} or \boxed{C}")
    if "map_desc" in sample.meta:
        parse_grid(sample.meta["map_desc"])
    if not isinstance(sample.meta.get("level", 0), int):
        raise ValueError(f"level must be the number of the maze's rows, got {sample.meta['level']!r}")


def open_maze(sample: Sample) -> Image.Image:
    """Open the picture of a sample's maze.

    Raises:
        ValueError: it can't be read.
    """
    return first_picture(sample)


def level(sample: Sample) -> int:
    """Say how many rows a sample's maze has: by ``level``, ``map_desc``, or its picture in the official scale.

    Raises:
        ValueError: the picture is needed and can't be read.
    """
    if "level" in sample.meta:
        return int(sample.meta["level"])
    if "map_desc" in sample.meta:
        return len(sample.meta["map_desc"])
    return open_maze(sample).height // OFFICIAL_CELL_PX


class VSPReasoning(OfficialRows):
    """Plans whose end is asked for, in order of the file."""

    def check(self, sample: Sample) -> None:
        """Demand a picture, a choice to grade against, and a size that makes sense."""
        check_row(sample)

    def group(self, sample: Sample) -> str:
        """The maze's size, ``level_3`` for instance."""
        return f"level_{level(sample)}"

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade an answer by its boxed choice."""
        if not sample.answer:
            return Scores({}, "ungraded", self.group(sample))
        return grade_choice(choice(sample.answer_text), choice(text), self.group(sample))

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Draw the sample's maze and write the choice in ``text`` below it."""
        maze = open_maze(sample)
        letter = choice(text)
        caption = f"{letter} {MEANINGS.get(letter, '(no such choice)')}" if letter else "no choice"
        height = max(14, maze.width // 10)
        drawn = Image.new("RGB", (maze.width, maze.height + 2 * height), "white")
        drawn.paste(maze)
        below = (maze.width / 2, maze.height + height)
        ImageDraw.Draw(drawn).text(below, caption, "black", ImageFont.load_default(height), anchor="mm")
        return drawn
