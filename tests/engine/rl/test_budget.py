"""Rollouts that are made together have similar sizes, and room in the cache."""

import pytest

from mirage_pl.engine.rl.budget import GIB, divide


def test_a_time_is_as_large_as_its_largest_rollout_times_their_number():
    sizes = [3 * GIB, GIB, 2 * GIB, GIB, GIB]
    assert divide(sizes, 4) == [[1, 3, 4], [2], [0]]
    assert divide(sizes, 4.5) == [[1, 3, 4], [2], [0]]
    assert divide(sizes, 6, most=2) == [[1, 3], [4, 2], [0]]
    assert divide(sizes, 100) == [[1, 3, 4, 2, 0]]
    assert divide([], 1) == []


def test_one_that_has_no_room_is_refused_with_its_size():
    with pytest.raises(ValueError, match=r"3 GiB of keys and values, but cache_gib=2.5"):
        divide([GIB, 3 * GIB], 2.5)
