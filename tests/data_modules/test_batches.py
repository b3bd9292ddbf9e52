import math
import random
from collections import Counter
from itertools import pairwise

import pytest

from data_modules.loading.batches import (
    EpochBatches,
    TokenBatches,
    find_box,
    split_in_two,
    split_into_cells,
    transpose_widths,
)
from mirage_pl.mirage.batch import IGNORE
from mirage_pl.mirage.placing import Row, cut, place

PAD, LATENT, WORD = 0, 9, 1


def lognormal(draw):
    return (min(1500, max(50, round(draw.lognormvariate(5.5, 0.6)))),)


def bimodal(draw):
    return (round(draw.gauss(*draw.choice([(60, 6), (400, 40)]))),)


def uniform(draw):
    return (draw.randint(30, 600),)


def vsp(draw):
    """Pictures of two sizes and a short answer after the block."""
    return draw.choice([60, 150]) + 2, 4, draw.randint(4, 16)


def thought(draw):
    """Questions of similar length and, after them, some reasoning before the block."""
    return round(draw.uniform(90, 110)) + draw.randint(20, 120), 4, draw.randint(5, 30)


def two_thoughts(draw):
    before, *rest = thought(draw)
    return before, 4, draw.randint(20, 120), *rest


def independent(blocks, prompt, size):
    """Prompt, text before each block, blocks and tail that know nothing of one another."""

    def mix(draw):
        before = [piece for _ in range(blocks) for piece in (draw.randint(5, 120), size(draw))]
        return prompt(draw) + before[0], *before[1:], draw.randint(5, 120)

    return mix


def four(draw):
    return 4


def two_to_eight(draw):
    return draw.choice([2, 4, 8])


def any_prompt(draw):
    return draw.randint(30, 250)


def small_or_large(draw):
    return round(draw.gauss(*draw.choice([(60, 5), (200, 15)])))


def none_to_three_blocks(draw):
    blocks = draw.randint(0, 3)
    return independent(blocks, any_prompt, two_to_eight)(draw) if blocks else (any_prompt(draw),)


ONE_SEGMENT = [lognormal, bimodal, uniform]
INDEPENDENT = {
    blocks: [
        independent(blocks, prompt, size) for prompt in (any_prompt, small_or_large) for size in (four, two_to_eight)
    ]
    for blocks in (1, 2, 3)
}
MIXES = [*ONE_SEGMENT, vsp, two_thoughts, INDEPENDENT[2][1], INDEPENDENT[3][2], none_to_three_blocks]
SIZES = [(37, 2000), (500, 2000), (2000, 4000), (2000, 16000)]


def rows_of(mix, size=2000, seed=0):
    draw = random.Random(seed)
    return [mix(draw) for _ in range(size)]


def padded(widths, rows):
    """Rows times the sum of the widest segments, counted one by one; a segment that a row lacks is empty."""
    return len(rows) * sum(
        max(widths[row][at] if at < len(widths[row]) else 0 for row in rows)
        for at in range(max(len(row) for row in widths))
    )


def padding(widths, batches):
    """Share of all columns that is padding."""
    return 1 - sum(sum(widths[row]) for batch in batches for row in batch) / sum(padded(widths, b) for b in batches)


def ranks_of(widths, max_tokens, num_ranks, seed=0, epoch=0):
    ranks = [TokenBatches(widths, max_tokens, seed, rank, num_ranks) for rank in range(num_ranks)]
    for rank in ranks:
        rank.epoch = epoch
    return ranks


def global_batches(*args, **options):
    """What all ranks together train on at each step, as sets."""
    return [sorted(sum(parts, [])) for parts in zip(*ranks_of(*args, **options), strict=True)]


@pytest.mark.parametrize("num_ranks", [2, 4])
def test_ranks_share_each_global_batch_without_repetition(num_ranks):
    one = EpochBatches(12, 4, seed=0)
    ranks = [EpochBatches(12, 4 // num_ranks, seed=0, rank=rank, num_ranks=num_ranks) for rank in range(num_ranks)]
    for whole, *parts in zip(one, *ranks, strict=True):
        assert sorted(whole) == sorted(sum(parts, []))


def test_a_data_set_smaller_than_a_batch_fills_one_up():
    assert [len(batch) for batch in EpochBatches(2, 5, seed=0)] == [5]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("size", "max_tokens"), SIZES)
@pytest.mark.parametrize("mix", MIXES)
def test_an_epoch_by_tokens_holds_each_sample_once_within_budget_in_the_same_number_of_steps(
    mix, size, max_tokens, num_ranks
):
    widths = rows_of(mix, size)
    for seed, epoch in [(0, 0), (0, 1), (5, 2)]:
        ranks = ranks_of(widths, max_tokens, num_ranks, seed, epoch)
        epochs = [list(rank) for rank in ranks]
        assert {len(batches) for batches in epochs} == {len(rank) for rank in ranks} == {len(ranks[0])}
        assert sorted(row for batches in epochs for batch in batches for row in batch) == list(range(size))
        for batches in epochs:
            for batch in batches:
                assert 0 < padded(widths, batch) <= max_tokens


@pytest.mark.parametrize("mix", [lognormal, two_thoughts])
def test_no_epoch_and_no_seed_changes_the_number_of_steps(mix):
    widths = rows_of(mix, 300)
    steps = {
        len(list(rank)) for seed in range(3) for epoch in range(5) for rank in ranks_of(widths, 4000, 2, seed, epoch)
    }
    assert steps == {len(TokenBatches(widths, 4000, seed=9, rank=1, num_ranks=2))}


@pytest.mark.parametrize(
    ("mixes", "at_8000", "at_16000"),
    [
        (ONE_SEGMENT, 0.03, 0.06),
        ([vsp, thought], 0.06, 0.08),
        ([two_thoughts], 0.1, 0.13),
        (INDEPENDENT[1], 0.12, 0.17),
        (INDEPENDENT[2], 0.17, 0.21),
        ([*INDEPENDENT[3], none_to_three_blocks], 0.21, 0.26),
    ],
    ids=[
        "one segment",
        "real, one block",
        "real, two blocks",
        "one block",
        "two blocks",
        "three blocks, or any number",
    ],
)
def test_little_is_padding_and_the_budget_is_used(mixes, at_8000, at_16000):
    """How little depends on how many texts vary on their own.

    2,000 rows with two blocks fill about 110 batches of 8,000. Their three texts spread over 330, 115 and 115 columns;
    a 110th part of that space is 34 columns wide in each text, and half of that is padding: 51 of 320 columns, 16 %.
    """
    for mix in mixes:
        widths = rows_of(mix)
        for max_tokens, num_ranks, bound in [(8000, 1, at_8000), (16000, 1, at_16000), (4000, 4, at_16000)]:
            batches = [batch for rank in ranks_of(widths, max_tokens, num_ranks) for batch in rank]
            assert padding(widths, batches) < bound
            assert sum(padded(widths, batch) for batch in batches) > 0.75 * max_tokens * len(batches)


@pytest.mark.parametrize("mix", [two_thoughts, *INDEPENDENT[2]])
def test_ten_times_the_rows_leave_half_the_padding(mix):
    few, many = rows_of(mix, 1000), rows_of(mix, 10000)
    assert padding(many, list(TokenBatches(many, 8000, seed=0))) < 0.6 * padding(
        few, list(TokenBatches(few, 8000, seed=0))
    )


@pytest.mark.parametrize("mix", MIXES)
def test_shape_beats_length_and_chance(mix):
    """Batches of as many rows, from a random order and from one sorted by length."""
    widths = rows_of(mix)
    batches = list(TokenBatches(widths, 8000, seed=0))
    by_chance = list(range(len(widths)))
    by_length = sorted(by_chance, key=lambda row: sum(widths[row]))
    edges = [round(len(widths) / len(batches) * at) for at in range(len(batches) + 1)]
    chance, length = ([order[a:b] for a, b in pairwise(edges)] for order in (by_chance, by_length))
    assert padding(widths, batches) < 0.6 * padding(widths, chance)
    if mix in (two_thoughts, INDEPENDENT[2][1], INDEPENDENT[3][2], none_to_three_blocks):
        assert padding(widths, batches) < 0.6 * padding(widths, length)


@pytest.mark.parametrize("mix", MIXES)
def test_the_cut_is_the_one_that_fills_batches_row_by_row(mix):
    """One rank of 4,000 tokens: go through the cells and take rows while a multiple of four (or two, or one) fits.

    The last rows go together if there would be room for a whole multiple of them.
    """
    widths = rows_of(mix, 400)
    segments = transpose_widths(widths)
    cells = split_into_cells(range(400), segments, 4000, (False,) * len(segments))
    left, sizes = [find_box(cell, segments) for cell in cells for _ in cell], []

    def width(boxes):
        return padded(boxes, range(len(boxes))) // len(boxes)

    while left:
        fitting = max(rows for rows in range(1, len(left) + 1) if rows * width(left[:rows]) <= 4000)
        unit = next(unit for unit in (4, 2, 1) if unit <= fitting)
        all_fit = math.ceil(len(left) / unit) * unit * width(left) <= 4000
        sizes.append(len(left) if all_fit else fitting // unit * unit)
        left = left[sizes[-1] :]
    found = TokenBatches(widths, 4000, seed=3)
    assert [last - first for first, last in pairwise(found.edges)][:-2] == sizes[:-2]
    assert len(found) == len(sizes)
    assert sorted(len(batch) for batch in found) == sorted(last - first for first, last in pairwise(found.edges))


def test_the_last_batch_gets_an_even_share_or_as_much_of_it_as_fits():
    alike = TokenBatches([(100,)] * 13, 1200, seed=0)
    assert [last - first for first, last in pairwise(alike.edges)] == [6, 7]
    unlike = TokenBatches([(100, 10)] * 8 + [(10, 40)] * 3, 880, seed=0)  # mixed rows have 140 columns: 4 make a unit
    assert [last - first for first, last in pairwise(unlike.edges)] == [7, 4]


def test_rows_are_parted_where_that_saves_the_most_padding():
    """Against every way to part them by a threshold, with padding counted one by one."""
    widths = rows_of(INDEPENDENT[2][1], 60)
    segments = transpose_widths(widths)
    rows = list(range(5, 60))

    def saved(at, threshold):
        narrow = [row for row in rows if segments[at][row] < threshold]
        return len(narrow) * (max(segments[at][row] for row in rows) - max(segments[at][row] for row in narrow))

    for saving, at, wide, narrow in split_in_two(rows, segments):
        assert sorted(wide + narrow) == rows
        assert min(segments[at][row] for row in wide) > max(segments[at][row] for row in narrow)
        thresholds = {segments[at][row] for row in rows} - {min(segments[at][row] for row in rows)}
        assert saving == saved(at, segments[at][wide[-1]]) == max(saved(at, threshold) for threshold in thresholds)


@pytest.mark.parametrize("mix", MIXES)
def test_cells_hold_each_row_once_and_fit_into_a_batch_or_are_of_one_shape(mix):
    widths = rows_of(mix, 500) + [(300, 4, 20)] * 40
    segments = transpose_widths(widths)
    cells = split_into_cells(range(540), segments, 6000, (False,) * len(segments))
    assert sorted(row for cell in cells for row in cell) == list(range(540))
    shapes = [{tuple(segment[row] for segment in segments) for row in cell} for cell in cells]
    assert all(len(cell) * sum(find_box(cell, segments)) <= 6000 or len(shapes[n]) == 1 for n, cell in enumerate(cells))
    assert max(map(len, cells)) >= 40


def test_cells_of_one_segment_go_from_the_longest_to_the_shortest_and_others_like_a_snake():
    lengths = [row[0] for row in rows_of(lognormal, 300)]
    in_turn = [[lengths[row] for row in cell] for cell in split_into_cells(range(300), [lengths], 3000, (False,))]
    assert all(min(cell) > max(after) for cell, after in pairwise(in_turn))
    grid = [(100 * first, 10 * second) for first in (1, 2) for second in (1, 2, 3)]
    cells = split_into_cells(range(6), transpose_widths(grid), 0, (False, False))
    assert [grid[row] for (row,) in cells] == [(200, 30), (200, 20), (200, 10), (100, 10), (100, 20), (100, 30)]


def test_epochs_and_seeds_differ_in_who_meets_whom_and_in_the_order_of_batches():
    widths = [(300 + row, 4, 10 + row % 7) for row in range(500)]  # no two alike, so that only cells leave a choice
    epochs = [global_batches(widths, 8000, 1, seed, epoch) for seed, epoch in [(0, 0), (0, 1), (1, 0), (0, 0)]]
    assert epochs[0] == epochs[3]
    for one, other in [(0, 1), (0, 2), (1, 2)]:
        sizes, other_sizes = ([len(batch) for batch in epochs[index]] for index in (one, other))
        assert sorted(sizes) == sorted(other_sizes)
        assert sizes != other_sizes


@pytest.mark.parametrize("mix", MIXES)
def test_a_quarter_of_the_pairs_that_met_do_not_meet_in_the_next_epoch(mix):
    epochs = [global_batches(rows_of(mix), 8000, 1, epoch=epoch) for epoch in (0, 1)]
    first, second = ({(a, b) for batch in epoch for a in batch for b in batch if a < b} for epoch in epochs)
    assert len(first & second) < 0.75 * len(first)


@pytest.mark.parametrize("budget", [8000, 10001, 32000])
@pytest.mark.parametrize("size", [4, 11, 250, 1001])
@pytest.mark.parametrize("mix", MIXES)
def test_one_two_and_four_ranks_see_the_same_global_batches(mix, size, budget):
    widths = rows_of(mix, size)
    budgets = [budget // 4 * num_ranks for num_ranks in (4, 2, 1)]
    one, two, four = (
        global_batches(widths, share, num_ranks, seed=1, epoch=2)
        for share, num_ranks in zip(budgets, (1, 2, 4), strict=True)
    )
    assert one == two == four


@pytest.mark.parametrize("num_ranks", [2, 4, 8])
@pytest.mark.parametrize("mix", MIXES)
def test_ranks_get_similar_work(mix, num_ranks):
    """Never more than one row apart, and for as many rows never further apart than the batch's longest and shortest."""
    widths = rows_of(mix, 1003)
    for parts in zip(*ranks_of(widths, 4000, num_ranks), strict=True):
        rows = [len(part) for part in parts]
        assert max(rows) - min(rows) <= 1
        work = [sum(sum(widths[row]) for row in part) for part in parts]
        whole = [sum(widths[row]) for part in parts for row in part]
        spread = max(whole) - min(whole)
        assert max(work) - min(work) <= (spread if len(set(rows)) == 1 else max(whole))


@pytest.mark.parametrize("num_ranks", [1, 3])
@pytest.mark.parametrize("mix", [lognormal, none_to_three_blocks])
def test_batches_by_tokens_can_start_anywhere(mix, num_ranks):
    for batches in ranks_of(rows_of(mix, 60), 3000, num_ranks, epoch=4):
        straight = list(batches)
        assert len(straight) > 2
        for start in range(len(straight) + 1):
            batches.start = start
            assert list(batches) == straight[start:]


@pytest.mark.parametrize(("size", "num_ranks"), [(1, 2), (2, 3), (3, 8), (7, 8)])
def test_fewer_rows_than_ranks_are_repeated_so_that_every_rank_has_one(size, num_ranks):
    for rank in (ranks := ranks_of(rows_of(uniform, size), 700, num_ranks)):
        assert [len(batch) for batch in rank] == [1]
    assert set(sum((batch for rank in ranks for batch in rank), [])) == set(range(size))


@pytest.mark.parametrize("num_ranks", [2, 3, 4, 8])
@pytest.mark.parametrize("left", [0, 1, 2, 5])
def test_rows_that_come_one_a_rank_and_do_not_divide_never_exceed_the_budget(num_ranks, left):
    size = 3 * num_ranks + left
    ranks = ranks_of([(80, 20)] * size, 150, num_ranks)
    steps = math.ceil(size / num_ranks)
    epochs = [list(rank) for rank in ranks]
    assert all([len(batch) for batch in batches] == [1] * steps for batches in epochs)
    seen = Counter(row for batches in epochs for batch in batches for row in batch)
    assert set(seen) == set(range(size))
    assert max(seen.values()) <= 2
    assert sum(seen.values()) == steps * num_ranks


def test_the_budget_counts_the_columns_that_a_placed_batch_has():
    def row(shape):
        tokens = [token for at, width in enumerate(shape) for token in [LATENT if at % 2 else WORD] * width]
        return Row(tokens, [IGNORE] * len(tokens))

    rows = [row(shape) for shape in rows_of(none_to_three_blocks, 40)]
    widths = [tuple(len(segment.tokens) for segment in cut(row, LATENT)) for row in rows]
    assert {len(shape) for shape in widths} == {1, 3, 5, 7}
    for batch in TokenBatches(widths, 3000, seed=0):
        columns = place([rows[index] for index in batch], LATENT, PAD).num_columns
        assert columns == padded(widths, batch) <= 3000


def test_an_accumulated_step_has_the_rows_of_one_large_batch_and_an_epoch_is_made_of_whole_steps():
    one, many = EpochBatches(20, 8, seed=0), EpochBatches(20, 1, seed=0, accumulate=8)
    assert len(many) == 8 * len(one) == 16
    rows = [row for batch in many for row in batch]
    assert [rows[:8], rows[8:]] == list(one)
    many.start = 8
    assert [row for batch in many for row in batch] == rows[8:]


def test_an_epoch_with_too_few_batches_for_a_step_begins_anew():
    batches = list(EpochBatches(5, 2, seed=0, accumulate=5))
    assert batches == [*batches[:2], *batches[:2], batches[0]]
    assert len(TokenBatches([(60,)] * 3, 60, seed=0, accumulate=4)) == 4
