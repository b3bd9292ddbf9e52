"""A task of one's own: how many dots? The helper image shows the same dots in a row."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image, ImageDraw

from data_modules.maker import Maker, Plan, in_order
from data_modules.rows.official import OfficialRows
from data_modules.samples import Sample
from data_modules.scores import Scores

MOST = 6


class Dots(OfficialRows):
    """Rows of a file in the official format, whose answers are numbers."""

    def check(self, sample: Sample) -> None:
        """Demand a number."""
        if not sample.answer_text.isdigit():
            raise ValueError(f"the answer must be a number, got {sample.answer_text!r}")

    def group(self, sample: Sample) -> str:
        """Few dots, or many."""
        return "few" if int(sample.answer_text) <= MOST // 2 else "many"

    def grade(self, sample: Sample, text: str) -> Scores:
        """Right is the same number."""
        right = text.strip() == sample.answer_text
        outcome = "success" if right else "wrong" if text.strip().isdigit() else "invalid"
        return Scores({"success": right, "optimal": right}, outcome, self.group(sample))

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """The question's picture, with the answer written on it."""
        image = self.picture(sample)
        ImageDraw.Draw(image).text((2, 2), text, fill="red")
        return image


@dataclass(frozen=True, kw_only=True)
class DotMaker(Maker):
    """Pictures of 1 to 6 dots, each at a place of its own in a grid of 4 by 4.

    Attributes:
        rows: how many of each split.
        cell_px: pixels a cell.
    """

    rows: Mapping[str, int]
    cell_px: int

    def plans(self) -> Iterator[Plan]:
        """Draw for each row which cells have dots."""
        for split in in_order(self.rows):
            draw = Random(f"{self.seed} {split}")
            for number in range(self.rows[split]):
                yield Plan(split, f"{split}_{number}", sorted(draw.sample(range(16), draw.randint(1, MOST))))

    def draw(self, plan: Plan, folder: Path) -> dict[str, Any]:
        """Draw the question and the helper image."""
        pictures = {"image_input": plan.content, "image_output": range(len(plan.content))}
        for name, cells in pictures.items():
            image = Image.new("RGB", (4 * self.cell_px, 4 * self.cell_px), "white")
            for cell in cells:
                top, left = (self.cell_px * place for place in divmod(cell, 4))
                ImageDraw.Draw(image).ellipse(
                    (left + 4, top + 4, left + self.cell_px - 4, top + self.cell_px - 4), "blue"
                )
            image.save(folder / f"images/{plan.name}_{name}.png")
        row = {name: f"images/{plan.name}_{name}.png" for name in pictures}
        return row | {"text_input": "<image>How many dots?", "text_output": str(len(plan.content))}
