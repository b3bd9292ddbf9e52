"""Thoughts written by rule: what a VSP answer says around its helper image when ``task.thoughts=rules``.

They are made of the words of ``task=vsp_reading``, each of which is one token of the tiny backbone.
"""

from dataclasses import replace

from data_modules.rows.jsonl import OUTPUT_IMAGE, interleave
from data_modules.samples import Latent, Sample, Text
from data_modules.vsp.maze import (
    GOAL,
    HOLE,
    ICE,
    START,
    Cell,
    Grid,
    choose_moves,
    parse_grid,
    parse_plan,
    shortest_plan,
)

WORDS = {ICE: "ice", START: "start", GOAL: "goal", HOLE: "hole"}


def read_map(grid: Grid, arrows: dict[Cell, str] | None = None) -> str:
    """Name every cell, row by row; a cell in ``arrows`` by its arrow."""
    named = arrows or {}
    rows = [
        " ".join(named.get((row, column), WORDS[cell]) for column, cell in enumerate(cells))
        for row, cells in enumerate(grid)
    ]
    return " / ".join(rows)


def with_thoughts(sample: Sample, helper: str = "path") -> Sample:
    r"""Read the map before the latent blocks of an answer and the moves after them.

    Latent blocks followed by ``\boxed{RIGHT, DOWN}`` become ``<think> map: start ice / hole goal ;``, the blocks,
    `` path: RIGHT DOWN</think>``, a line break and the same ``\boxed{RIGHT, DOWN}``. The moves are those of the answer
    itself, since a maze can have several shortest plans; a shortest plan's where the answer has none.

    Where blocks are of a policy, the map with the moves that are found stands after each: ``<think>1``, a block,
    `` RIGHT goal / hole UP 2``, and so on, ``</think>``.

    Args:
        helper: what helper images show, one of :data:`data_modules.vsp.pictures.HELPERS`.
        sample: a row of :class:`data_modules.vsp.planning.VSP`. It comes back as it is unless it has ``map_desc`` and
            its answer is text without ``<think>``, alone or after latent blocks: elsewhere its author has put text and
            blocks in an order of his own.
    """
    if "map_desc" not in sample.meta or not sample.answer:
        return sample
    if helper == "policy":
        return with_policy(sample)
    *blocks, answer = sample.answer
    if not isinstance(answer, Text) or "<think>" in answer.text or any(isinstance(block, Text) for block in blocks):
        return sample
    grid = parse_grid(sample.meta["map_desc"])
    plan = parse_plan(answer.text) or shortest_plan(grid) or []
    before = Text(f"<think> map: {read_map(grid)} ;")
    # the line break keeps "\boxed" a token of its own; after ">" its backslash would be torn off
    after = Text(f" path: {' '.join(plan)}</think>\n{answer.text}")
    return replace(sample, answer=(before, *blocks, after))


def with_policy(sample: Sample) -> Sample:
    """Write the map after each block of a policy, with the moves that are found; other rows come back as they are."""
    grid = parse_grid(sample.meta["map_desc"])
    blocks = [part for part in sample.answer if isinstance(part, Latent)]
    if not blocks or len(blocks) != len(shortest_plan(grid) or ()) or "<think>" in sample.answer_text:
        return sample
    said = [f"{reach}{OUTPUT_IMAGE} {read_map(grid, choose_moves(grid, reach))}" for reach in range(1, len(blocks) + 1)]
    box = sample.answer_text[sample.answer_text.rindex("\\boxed") :]
    text = f"<think>{' '.join(said)}</think>\n{box}"
    return replace(sample, answer=interleave(text, OUTPUT_IMAGE, blocks))
