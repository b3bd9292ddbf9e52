from itertools import product
from random import Random

import numpy as np
import pytest

from data_modules.rotation.polyomino import canonical, crop, grow, is_asymmetric, is_connected, moved, random_pieces

L = ((1, 0, 0), (1, 0, 0), (1, 1, 0))
S = ((0, 1, 1), (1, 1, 0), (0, 0, 0))


def views(board):
    """The eight views of a whole board, by numpy."""
    sides = (np.array(board), np.fliplr(board))
    return {tuple(map(tuple, np.rot90(side, quarters).tolist())) for side in sides for quarters in range(4)}


def test_asymmetric_pieces_have_eight_views_by_numpy_too():
    random = Random(1)
    for board in (L, S, *(grow(random, 3, random.randint(2, 7), 2) for _ in range(200))):
        assert is_connected(board)
        assert is_asymmetric(board) == (len({crop(view) for view in views(board)}) == 8)
        assert {canonical(view) for view in views(board)} == {min(crop(view) for view in views(board))}
    assert is_asymmetric(L)
    assert not is_asymmetric(S)  # the same after half a turn


def test_a_piece_is_the_same_wherever_it_lies():
    assert canonical(L) == canonical(tuple((0, *row[:2]) for row in L)) != canonical(S)


def test_one_cell_moves_to_every_place_where_the_piece_stays_a_piece_and_becomes_another():
    found = list(moved(L, Random(0)))
    slow = set()
    for cells in product((0, 1), repeat=9):
        board = tuple(cells[row : row + 3] for row in (0, 3, 6))
        one_moved = sum(cells) == 4 and (np.array(board) != L).sum() == 2
        if one_moved and is_connected(board) and is_asymmetric(board) and canonical(board) != canonical(L):
            slow.add(board)
    assert set(found) == slow
    assert len(found) == len(slow)


def test_all_pieces_that_exist_are_found_before_the_space_is_called_used_up():
    """Of four cells in two colours on 3x3 there are 26, counted over all subsets and colourings."""
    every = {
        canonical(board)
        for cells in product((0, 1, 2), repeat=9)
        if sum(map(bool, cells)) == 4
        for board in [tuple(cells[row : row + 3] for row in (0, 3, 6))]
        if is_connected(board) and is_asymmetric(board)
    }
    pieces, found = random_pieces(Random(0), 3, [4], 2, pairs=False), set()
    with pytest.raises(ValueError, match=r"^no more than 26 distinct pieces were found, of 4 cells in 2 colour"):
        found.update(canonical(piece) for (piece,) in pieces)
    assert found == every
    assert len(every) == 26
