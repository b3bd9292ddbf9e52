"""What is kept of interrupted work, and when it is made anew."""

import torch

from mirage_pl.engine.evaluation.journal import Journal


def never():
    raise AssertionError("kept pieces are not made again")


def test_a_piece_is_made_once_and_comes_back_as_it_was(tmp_path):
    made = {"texts": ["a", "b"], "latents": [torch.randn(2, 3), torch.empty(0, 3)], "n": 1, "none": None}
    assert Journal(tmp_path / "work", {"seed": 1}).once("one", lambda: made) is made
    again = Journal(tmp_path / "work", {"seed": 1}).once("one", never)
    assert {key: again[key] for key in ("texts", "n", "none")} == {"texts": ["a", "b"], "n": 1, "none": None}
    assert all(map(torch.equal, again["latents"], made["latents"]))


def test_pieces_of_other_work_are_dropped(tmp_path):
    Journal(tmp_path / "work", {"seed": 1}).once("one", lambda: {"n": 1})
    assert Journal(tmp_path / "work", {"seed": 2}).once("one", lambda: {"n": 2}) == {"n": 2}


def test_a_damaged_piece_is_made_again(tmp_path):
    journal = Journal(tmp_path / "work", {})
    journal.once("one", lambda: {"n": 1})
    file = tmp_path / "work" / "one.pt"
    file.write_bytes(file.read_bytes()[:40])
    assert journal.once("one", lambda: {"n": 2}) == {"n": 2}
    assert journal.once("one", never) == {"n": 2}


def test_nothing_is_kept_of_a_piece_that_failed(tmp_path):
    journal = Journal(tmp_path / "work", {})
    try:
        journal.once("one", never)
    except AssertionError:
        assert journal.once("one", lambda: {"n": 3}) == {"n": 3}


def test_finished_work_leaves_no_folder(tmp_path):
    Journal(tmp_path / "work", {}).close()
    assert not (tmp_path / "work").exists()


def test_work_that_is_refused_before_it_begins_leaves_no_folder(tmp_path):
    Journal(tmp_path / "work", {})
    assert not (tmp_path / "work").exists()
