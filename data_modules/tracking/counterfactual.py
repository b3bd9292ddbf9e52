"""A list of steps of which one is another, so that the answer is another."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product, starmap
from random import Random
from typing import NamedTuple

from data_modules.files.inline import encode_image
from data_modules.images import image_size
from data_modules.rows.jsonl import OUTPUT_IMAGE, interleave
from data_modules.samples import Latent, Picture, Sample, Text
from data_modules.tracking.maker import THOUGHTS, write_answer, write_steps
from data_modules.tracking.puzzle import Places, Puzzle, Step, follow, side


def choose_steps(puzzle: Puzzle, places: Places, steps: Sequence[Step], random: Random) -> list[Step] | None:
    """Exchange one step for another, so that the answer is another and all later steps can still be done.

    Returns:
        One of all such lists that exchange the same step; ``None``: there are none, whichever is exchanged.
    """
    answer = puzzle.answer(follow(puzzle, places, steps)[-1])
    for number in random.sample(range(len(steps)), len(steps)):
        before = [places, *follow(puzzle, places, steps[:number])][-1]
        lists = [[*steps[:number], step, *steps[number + 1 :]] for step in puzzle.steps(before)]
        if others := [other for other in lists if ends_otherwise(puzzle, places, other, answer)]:
            return random.choice(others)
    return None


def ends_otherwise(puzzle: Puzzle, places: Places, steps: Sequence[Step], answer: str) -> bool:
    """Whether steps can be done, and lead to another answer."""
    try:
        return puzzle.answer(follow(puzzle, places, steps)[-1]) != answer
    except ValueError:
        return False


def change_steps(
    puzzle: Puzzle, sample: Sample, places: Places, steps: Sequence[Step], random: Random
) -> Sample | None:
    """Ask a question with one of its steps exchanged.

    Args:
        puzzle: what it is about.
        sample: a question with one picture, as the maker writes it.
        places: its board.
        steps: its steps.
        random: chooses the step and the one in its place.

    Returns:
        The question with the other steps, its helper images and its answer; ``None`` if it is written otherwise, or
        no other step leads to another answer.
    """
    pictures = [part for part in sample.question if isinstance(part, Picture)]
    blocks = [part for part in sample.answer if isinstance(part, Latent)]
    writing = find_writing(puzzle, sample, places, steps, blocks)
    if len(pictures) != 1 or writing is None or (others := choose_steps(puzzle, places, steps, random)) is None:
        return None
    cell_px = image_size(pictures[0].path, sample.where)[0] // side(places)
    helpers = [Latent(encode_image(puzzle.draw(board, cell_px))) for board in follow(puzzle, places, others)]
    before, after = (write_steps(puzzle, each, writing.numbered) for each in (steps, others))
    question = tuple(
        Text(part.text.replace(before, after)) if isinstance(part, Text) else part for part in sample.question
    )
    return replace(
        sample,
        question=question,
        answer=place_blocks(puzzle, places, others, writing, helpers),
        meta={**sample.meta, "steps": [list(step) for step in others]},
    )


class Writing(NamedTuple):
    """How the maker has written a row: its options ``thoughts`` and ``numbered``."""

    thoughts: str
    numbered: bool


def find_writing(
    puzzle: Puzzle, sample: Sample, places: Places, steps: Sequence[Step], blocks: Sequence[Latent]
) -> Writing | None:
    """Find out how a row is written; ``None`` if the maker hasn't written it."""
    kinds = [kind for kind in THOUGHTS if (kind != "none") == ("<think>" in sample.answer_text)]
    asked = [part.text for part in sample.question if isinstance(part, Text)]
    for writing in starmap(Writing, product(kinds, (False, True))):
        named = sum(text.count(write_steps(puzzle, steps, writing.numbered)) for text in asked)
        if named == 1 and sample.answer == place_blocks(puzzle, places, steps, writing, blocks):
            return writing
    return None


def place_blocks(
    puzzle: Puzzle, places: Places, steps: Sequence[Step], writing: Writing, blocks: Sequence[Latent]
) -> tuple[Text | Latent, ...]:
    """Write the answer around its latent blocks; empty if they are more or fewer than the steps."""
    boards = follow(puzzle, places, steps)
    text = write_answer(puzzle, boards, writing.thoughts, writing.numbered)
    return interleave(text, OUTPUT_IMAGE, blocks) if len(blocks) == len(boards) else ()
