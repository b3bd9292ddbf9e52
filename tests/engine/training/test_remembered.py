"""Rows that a frozen network has met are computed once, each alone."""

import torch

from mirage_pl.engine.training.remembered import Remembered


def test_rows_are_computed_once_each_alone_whatever_else_is_in_the_batch():
    first, second, remembered, asked = torch.rand(3, 2), torch.arange(3), Remembered(2), []

    def work(one, other):
        asked.append(len(one))
        return one * 2, one.sum(1) + other

    for rows in ([0, 1], [2, 1], [2, 0]):
        double, total = remembered(work, first[rows], second[rows])
        assert torch.equal(double, first[rows] * 2)
        assert torch.equal(total, (first.sum(1) + second)[rows])
    assert asked == [1, 1, 1, 1]  # the third row had no room, and is computed again
    changed = second + 1
    assert torch.equal(remembered(work, first[:1], changed[:1])[1], first[:1].sum(1) + 1)


def test_rows_in_half_precision_are_joined_in_mixed_precision_too():
    rows_B = torch.rand(2, 3).half()
    with torch.autocast("cpu", torch.bfloat16):
        (same,) = Remembered(2)(lambda each: (each,), rows_B)
    assert torch.equal(same, rows_B)
