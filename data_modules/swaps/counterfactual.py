"""A list of swaps of which one is another, so that the blue cell ends elsewhere."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import NamedTuple

from data_modules.files.inline import encode_image
from data_modules.images import image_size
from data_modules.rotation.pictures import draw_board
from data_modules.rows.jsonl import OUTPUT_IMAGE, interleave
from data_modules.samples import Latent, Picture, Sample, Text
from data_modules.swaps.board import ASKED, Places, Swap, follow, letter, shape, write_swaps
from data_modules.swaps.maker import write_answer


def choose_swaps(places: Places, swaps: Sequence[Swap], random: Random) -> list[Swap]:
    """Exchange one swap for another, so that the blue cell ends elsewhere; one of all such lists."""
    last, others = follow(places, swaps)[-1].index(ASKED), list[list[Swap]]()
    number = random.randrange(len(swaps))
    for pair in combinations(range(len(places)), 2):
        changed = [*swaps[:number], pair, *swaps[number + 1 :]]
        if follow(places, changed)[-1].index(ASKED) != last:
            others.append(changed)
    return random.choice(others)


def change_swaps(sample: Sample, places: Places, swaps: Sequence[Swap], random: Random) -> Sample | None:
    """Ask a question with one of its swaps exchanged.

    Args:
        sample: a question with one picture, as the maker writes it.
        places: its board.
        swaps: its swaps.
        random: chooses the swap and the one in its place.

    Returns:
        The question with the other swaps, its helper images and its answer; ``None`` if it is written otherwise.
    """
    pictures = [part for part in sample.question if isinstance(part, Picture)]
    blocks = [part for part in sample.answer if isinstance(part, Latent)]
    writing = find_writing(sample, places, swaps, blocks)
    if len(pictures) != 1 or writing is None:
        return None
    others, size = choose_swaps(places, swaps, random), round(len(places) ** 0.5)
    cell_px = image_size(pictures[0].path, sample.where)[0] // size
    helpers = [Latent(encode_image(draw_board(shape(board, size), cell_px))) for board in follow(places, others)]
    before, after = (write_swaps(pairs, writing.numbered) for pairs in (swaps, others))
    question = tuple(
        Text(part.text.replace(before, after)) if isinstance(part, Text) else part for part in sample.question
    )
    return replace(
        sample,
        question=question,
        answer=place_blocks(places, others, writing, helpers),
        meta={**sample.meta, "steps": [list(pair) for pair in others]},
    )


class Writing(NamedTuple):
    """How the maker has written a row: its options ``thoughts`` and ``numbered``."""

    thoughts: str
    numbered: bool


def find_writing(sample: Sample, places: Places, swaps: Sequence[Swap], blocks: Sequence[Latent]) -> Writing | None:
    """Find out how a row is written; ``None`` if the maker hasn't written it."""
    thoughts = "rules" if "<think>" in sample.answer_text else "none"
    asked = [part.text for part in sample.question if isinstance(part, Text)]
    for writing in (Writing(thoughts, False), Writing(thoughts, True)):
        named = sum(text.count(write_swaps(swaps, writing.numbered)) for text in asked)
        if named == 1 and sample.answer == place_blocks(places, swaps, writing, blocks):
            return writing
    return None


def place_blocks(
    places: Places, swaps: Sequence[Swap], writing: Writing, blocks: Sequence[Latent]
) -> tuple[Text | Latent, ...]:
    """Write the answer around its latent blocks; empty if they are more or fewer than the swaps."""
    answers = [letter(board.index(ASKED)) for board in follow(places, swaps)]
    text = write_answer(answers, writing.thoughts, writing.numbered)
    return interleave(text, OUTPUT_IMAGE, blocks) if len(blocks) == len(answers) else ()
