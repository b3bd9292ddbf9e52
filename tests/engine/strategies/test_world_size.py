"""A run goes on with another number of processes, as long as they have the same rows a step together.

Two processes and then one are in every run that is called tied, see ``test_tied``.
"""

from math import ceil

import pytest
import torch

from mirage_pl.engine.checkpoints.recut import WEIGHTS, join_pieces, list_flat_pieces, list_split_pieces
from tests.engine.strategies.conftest import FSDP2, HALVED, SINGLE, WHOLE, ZERO2, ZERO3, job, run_alone, run_to_the_end
from tests.engine.strategies.test_equality import assert_same

MANY = "strategy.use.sub_group_size=200000"
"""So that ZeRO-3 has several sub-groups, more of them where ranks are fewer."""


@pytest.mark.slow
def test_any_number_of_processes_goes_on_after_any_other(data, tmp_path):
    ways = {"zero2": ZERO2, "zero3": [*ZERO3, MANY], "fsdp2": FSDP2}
    run_alone(job(tmp_path / "alone", data, "stage=stage1", WHOLE, "trainer.max_steps=12"))
    legs = ((3, 1, WHOLE), (6, 2, HALVED), (9, 4, SINGLE), (12, 1, WHOLE))
    run_to_the_end(
        tmp_path,
        *(
            (count, job(tmp_path / name, data, *way, rows, f"trainer.max_steps={steps}", "stage=stage1"))
            for steps, count, rows in legs
            for name, way in ways.items()
        ),
    )
    for name in ways:
        assert_same(tmp_path / name, tmp_path / "alone", 3)


SHAPES = {"a": (3, 5), "b": (7,), "c": (1,), "d": (4, 2)}


def weights(start):
    """Numbers that all differ, as weights by name."""
    return {name: start + torch.rand(shape) for name, shape in SHAPES.items()}


def whole_groups(*tensors):
    """One group: what fills it up to a multiple of twice the ranks comes last, and isn't written of the weights."""

    def of(ranks):
        flats = [torch.cat([tensor.flatten() for tensor in of.values()]) for of in tensors]
        length = 2 * ceil(len(flats[0]) / (2 * ranks))
        filled = [torch.cat([flat, torch.zeros(length * ranks - len(flat))]).split(length) for flat in flats]
        bare = [flats[0][rank * length : (rank + 1) * length] for rank in range(ranks)]
        return [[{WEIGHTS: bare[r], "average": filled[1][r], "step": torch.tensor(7.0)}] for r in range(ranks)], length

    return of


@pytest.mark.parametrize(("was", "now"), [(1, 2), (2, 1), (2, 3), (3, 2), (4, 1), (2, 4)])
def test_parts_of_groups_are_cut_as_the_ranks_that_go_on_would_have(was, now):
    cut = whole_groups(weights(1), weights(2))
    (old, _), (wanted, length) = cut(was), cut(now)
    for rank in range(now):
        (pieces,) = list_flat_pieces(old, [length])
        mine = join_pieces(pieces, rank)
        kept = len(wanted[rank][0][WEIGHTS])
        assert torch.equal(mine[WEIGHTS][:kept], wanted[rank][0][WEIGHTS])
        assert not mine[WEIGHTS][kept:].any()
        assert torch.equal(mine["average"], wanted[rank][0]["average"])
        assert mine["step"] == 7


def split_weights(of, sub_groups, ranks):
    """Every weight in as many parts as there are ranks, filled up."""
    parts = {name: ceil(value.numel() / ranks) for name, value in of.items()}
    filled = {
        n: torch.cat([of[n].flatten(), torch.zeros(p * ranks - of[n].numel())]).split(p) for n, p in parts.items()
    }
    return [[torch.cat([filled[name][rank] for name in group]) for group in sub_groups] for rank in range(ranks)]


@pytest.mark.parametrize(("was", "now"), [(1, 2), (2, 1), (2, 3), (3, 2), (4, 1), (2, 4)])
def test_parts_of_weights_are_cut_as_the_ranks_that_go_on_would_have_in_their_sub_groups(was, now):
    values, averages = weights(1), weights(2)
    before, after = [["a"], ["b", "c", "d"]], [["a", "b"], ["c"], ["d"]]
    old = [
        [{WEIGHTS: flat, "average": average, "step": torch.tensor(7.0)} for flat, average in zip(*of, strict=True)]
        for of in zip(split_weights(values, before, was), split_weights(averages, before, was), strict=True)
    ]
    shapes = [[{name: torch.Size(SHAPES[name]) for name in group} for group in groups] for groups in (before, after)]
    groups = list(list_split_pieces(old, *shapes, now))
    for rank in range(now):
        mine = [join_pieces(pieces, rank) for pieces in groups]
        for name, of in {WEIGHTS: values, "average": averages}.items():
            wanted = split_weights(of, after, now)[rank]
            assert all(torch.equal(mine[g][name], wanted[g]) for g in range(len(after)))
        for sub_group in mine:
            sub_group["step"] += 1
        assert [sub_group["step"] for sub_group in mine] == [8] * len(after)
