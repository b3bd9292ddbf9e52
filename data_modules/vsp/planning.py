"""VSP spatial planning: from a picture of a FrozenLake maze to the moves that reach the goal.

Rows are the official JSONL (``data_modules.rows.jsonl``). A row with ``map_desc`` is graded by walking its maze; one
without (the official spatial-reasoning rows) by comparing the boxed choice with its own answer.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Self

from PIL import Image

from data_modules.images import open_image
from data_modules.rows.choices import choice, grade_choice
from data_modules.rows.drawing import GAP, captioned
from data_modules.rows.official import OfficialRows
from data_modules.samples import Latent, Picture, Sample, question_digest
from data_modules.scores import Scores
from data_modules.vsp.counterfactual import change_maze, trace_distances, trace_plan, trace_policy
from data_modules.vsp.maze import ENDS, Grid, outcome, parse_grid, parse_plan, shortest_plan, walk
from data_modules.vsp.pictures import HELPERS, draw_maze, draw_path
from data_modules.vsp.thoughts import with_thoughts

CHOICES = {
    "parser": ("lenient", "strict"),
    "rule": tuple(ENDS),
    "thoughts": ("none", "rules"),
    "helper": HELPERS,
    "groups": ("level", "moves"),
}
"""Values of the options that are words."""

CELL_PX, BLANK_PX = 28, 168
"""Pixels of a cell, and of a text's width, where a row has no picture to draw on."""


def check_row(sample: Sample) -> None:
    """Demand what grading needs: a solvable map, or an answer with a boxed choice; it may be withheld.

    Raises:
        ValueError: the row can't be graded.
    """
    if "map_desc" in sample.meta:
        if shortest_plan(parse_grid(sample.meta["map_desc"])) is None:
            raise ValueError("map_desc has no way from start to goal")
    elif sample.answer and choice(sample.answer_text) is None:
        raise ValueError(r"nothing to grade against; give map_desc, or a text_output with a \boxed{choice}")


def grade_plan(sample: Sample, text: str, parser: str = "lenient", rule: str = "official") -> Scores:
    """Grade a plan by walking the sample's maze.

    Args:
        sample: a row with ``map_desc``.
        text: the model's answer.
        parser: how moves are read out of it, see :func:`data_modules.vsp.maze.parse_plan`.
        rule: where a walk ends, see :data:`data_modules.vsp.maze.ENDS`.

    Raises:
        ValueError: ``map_desc`` is missing, or no map.
    """
    grid = parse_grid(sample.meta.get("map_desc"))
    group = f"level_{len(grid)}"
    plan = parse_plan(text, parser)
    if plan is None:
        return Scores({"success": False, "optimal": False}, "invalid", group)
    result, moves = outcome(grid, plan, rule), len(walk(grid, plan, rule)) - 1
    best = shortest_plan(grid)
    success = result == "success"
    return Scores({"success": success, "optimal": success and moves == len(best or ())}, result, group)


def read_plan(sample: Sample, parser: str) -> tuple[Grid, list[str]]:
    """Read the maze of a row with ``map_desc``, and its right plan: the answer's, else a shortest one."""
    grid = parse_grid(sample.meta["map_desc"])
    return grid, parse_plan(sample.answer_text, parser) or shortest_plan(grid) or []


class VSP(OfficialRows):
    """Rows of one JSONL file, in order.

    Args:
        image_root: folder for relative image paths; the file's own when ``None``.
        parser: how moves are read out of an answer, see :func:`data_modules.vsp.maze.parse_plan`.
        rule: where a walk ends, ``official`` or ``benchmark``, see :data:`data_modules.vsp.maze.ENDS`.
        thoughts: ``rules`` writes thoughts into the answers, see :func:`data_modules.vsp.thoughts.with_thoughts`;
            ``none`` leaves them as they are.
        helper: what helper images show, see :data:`data_modules.vsp.pictures.HELPERS`; for counterfactuals and states.
        groups: what success is split by: ``level``, the maze's size, or ``moves``, the length of a shortest plan.

    Raises:
        ValueError: an unknown parser, rule, kind of thoughts, of helper images or of groups.
    """

    def __init__(
        self,
        image_root: str | Path | None = None,
        parser: str = "lenient",
        rule: str = "official",
        thoughts: str = "none",
        helper: str = "path",
        groups: str = "level",
    ) -> None:
        options = {"parser": parser, "rule": rule, "thoughts": thoughts, "helper": helper, "groups": groups}
        for name, given in options.items():
            if given not in CHOICES[name]:
                raise ValueError(f"task.{name}={given} is unknown; choose one of {', '.join(CHOICES[name])}")
        self.parser, self.rule, self.thoughts, self.helper, self.groups = parser, rule, thoughts, helper, groups
        super().__init__(image_root)

    def read(self, file: str | Path) -> Self:
        """Return the rows of a file, with thoughts where they are wanted.

        Raises:
            ValueError: a bad row (with file and line), or an empty file.
        """
        rows = super().read(file)
        if self.thoughts == "rules":
            rows.samples = [with_thoughts(sample, self.helper) for sample in rows.samples]
        return rows

    def check(self, sample: Sample) -> None:
        """Demand a solvable map, or an answer with a boxed choice."""
        check_row(sample)

    def group(self, sample: Sample) -> str:
        """The maze's size or shortest plan, such as ``level_3`` or ``moves_5``; ``choice`` of rows without a map."""
        if "map_desc" not in sample.meta:
            return "choice"
        if self.groups == "level":
            return f"level_{len(sample.meta['map_desc'])}"
        return f"moves_{len(shortest_plan(parse_grid(sample.meta['map_desc'])) or ())}"

    def identity(self, sample: Sample) -> str:
        """Digest of what is asked: of the maze, or without ``map_desc`` of the question's texts and image files.

        Returns:
            12 hex digits.

        Raises:
            ValueError: an image file can't be read.
        """
        if "map_desc" not in sample.meta:
            return question_digest(sample)
        return sha256(json.dumps(parse_grid(sample.meta["map_desc"])).encode()).hexdigest()[:12]

    def grade(self, sample: Sample, text: str) -> Scores:
        """Grade an answer: the official simulation for planning, the boxed choice for reasoning."""
        if "map_desc" in sample.meta:
            return replace(grade_plan(sample, text, self.parser, self.rule), group=self.group(sample))
        if not sample.answer:
            return Scores({}, "ungraded", self.group(sample))
        return grade_choice(choice(sample.answer_text), choice(text), self.group(sample))

    def counterfactual(self, sample: Sample) -> Sample | None:
        """Put a hole in the way of the plan; ``None`` where there is no other way to the goal, or no map."""
        if "map_desc" not in sample.meta:
            return None
        grid, plan = read_plan(sample, self.parser)
        changed = change_maze(sample, grid, plan, Random(self.identity(sample)), self.helper)
        return with_thoughts(changed, self.helper) if changed and self.thoughts == "rules" else changed

    def states(self, sample: Sample) -> Sequence[Sequence[int]]:
        """What each cell shows before the first block and in each; ``()`` of a row without the blocks of its helper.

        Of a path 0, then the plan's move in each cell; of values 0, then moves to the goal and 1; of a policy see
        :func:`data_modules.vsp.counterfactual.trace_policy`.
        """
        if "map_desc" not in sample.meta:
            return ()
        grid, plan = read_plan(sample, self.parser)
        if self.helper == "policy":
            states = trace_policy(grid)
        else:
            shown = trace_plan(grid, plan) if self.helper == "path" else trace_distances(grid)
            states = [[0] * len(shown), shown]
        blocks = sum(isinstance(part, Latent) for part in sample.answer)
        return states if len(states) == blocks + 1 else ()

    def draw(self, sample: Sample, text: str) -> Image.Image:
        """Draw the plan in ``text`` over the sample's first picture, without one over its map or alone."""
        grid = parse_grid(sample.meta["map_desc"]) if "map_desc" in sample.meta else None
        pictures = [part.path for part in sample.question if isinstance(part, Picture)]
        if not pictures and grid is None:
            return captioned(Image.new("RGB", (BLANK_PX, GAP), "white"), text)
        image = open_image(pictures[0], sample.where) if pictures else draw_maze(grid or (), CELL_PX)
        plan = parse_plan(text, self.parser)
        if plan is None or grid is None:
            return image
        return draw_path(image, walk(grid, plan, self.rule), image.width // len(grid))
