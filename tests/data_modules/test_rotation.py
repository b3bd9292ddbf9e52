import json
import re
from collections import Counter
from itertools import product

import numpy as np
import pytest

from data_modules.images import open_image
from data_modules.loading.datamodule import check_disjoint
from data_modules.rotation.dataset import Rotation
from data_modules.rotation.maker import Rotations
from data_modules.rotation.pictures import draw_board
from data_modules.rotation.polyomino import canonical
from data_modules.samples import Latent, Picture, Text
from tests.conftest import compose
from tests.data_modules.test_polyomino import L, views


def maker(folder, **changes):
    settings = {
        "rows": {"train": 24, "val": 12, "test": 12},
        "size": 3,
        "cells": [5, 6],
        "colors": 4,
        "candidates": 4,
        "turns": [90, 180, 270],
        "num_turns": 1,
        "mirrors": False,
        "distractors": ["turn", "mirror", "cell"],
        "cell_px": 28,
        "prompt": "<image>Turn by {turn}. {candidates}?",
    }
    return Rotations(folder=folder, seed=0, num_workers=1, **(settings | changes))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rotation") / "made"
    maker(folder).make()
    return folder


def rows(file):
    return [json.loads(line) for line in file.open()]


def questions(**changes):
    return [plan.content for plan in maker("unused", **changes).plans()]


def test_exactly_the_right_candidates_picture_is_the_turned_picture_and_so_is_the_helper_image(made):
    for split in ("train", "val", "test"):
        data = Rotation().read(made / f"{split}.jsonl")
        for row, sample in zip(rows(made / f"{split}.jsonl"), data.samples, strict=True):
            piece, *candidates = (
                np.asarray(open_image(part.path, "")) for part in sample.question if isinstance(part, Picture)
            )
            degrees = int(re.search(r"Turn by (\d+) degrees\.", row["text_input"])[1])
            turned = np.rot90(piece, -degrees // 90)  # numpy turns counterclockwise
            right = [letter for letter, shown in zip("ABCD", candidates, strict=True) if (shown == turned).all()]
            assert sample.answer_text == f"\\boxed{{{right[0]}}}"
            assert len(right) == 1
            assert (np.asarray(open_image(sample.answer[0].path, "")) == turned).all()
            assert row["level"] == f"turn_{degrees}"


def test_a_row_shows_the_piece_first_and_each_candidate_after_its_letter(made):
    sample = Rotation().read(made / "test.jsonl")[0]
    folder = made / "images"
    said = [Text("Turn by 90 degrees. A"), Text(" B"), Text(" C"), Text(" D"), Text("?")]
    shown = [Picture(folder / f"test_0_{name}.png") for name in ("piece", "A", "B", "C", "D")]
    assert sample.question == tuple(part for pair in zip(shown, said, strict=True) for part in pair)
    assert sample.answer == (Latent(folder / "test_0_turned.png"), Text(r"\boxed{A}"))


def test_turns_and_right_letters_are_balanced_together():
    asked = Counter((question.instruction.group, question.right) for question in questions(rows={"test": 24}))
    assert asked == {(f"turn_{turn}", right): 2 for turn in (90, 180, 270) for right in range(4)}


def test_no_piece_is_met_twice_in_any_view_asked_or_as_a_distractor():
    met = []
    for question in questions(distractors=["turn", "mirror", "cell"], candidates=16):
        found = {canonical(board) for board in question.candidates}
        assert len(found) == 2
        assert canonical(question.piece) in found
        met += found
    assert len(met) == len(set(met)) == 2 * 48


def test_splits_share_no_piece_and_a_turned_or_mirrored_one_is_found(made, tmp_path):
    splits = {name: Rotation().read(made / f"{name}.jsonl") for name in ("train", "val", "test")}
    check_disjoint(splits)
    row = rows(made / "train.jsonl")[3]
    row["map_desc"] = np.fliplr(np.rot90(row["map_desc"])).tolist()
    (tmp_path / "x.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match=r"1 sample\(s\) of other are in train too .*train.jsonl:4"):
        check_disjoint({"train": splits["train"], "other": Rotation().read(tmp_path / "x.jsonl")})


def test_the_same_settings_make_the_same_bytes_and_test_does_not_depend_on_the_size_of_train(made, tmp_path):
    maker(tmp_path / "again").make()
    files = sorted(file.relative_to(made) for file in made.rglob("*") if file.is_file())
    assert len(files) == 4 + 6 * 48
    assert all((tmp_path / "again" / file).read_bytes() == (made / file).read_bytes() for file in files)
    assert questions()[:24] == questions(rows={"train": 30, "val": 12, "test": 12})[:24]


def all_turns(board):
    return {tuple(map(tuple, np.rot90(board, quarters).tolist())) for quarters in range(4)}


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["turn"], all_turns),
        (["mirror"], lambda right: {right, tuple(row[::-1] for row in right)}),
        (["turn", "mirror"], views),
    ],
)
def test_without_moved_cells_all_candidates_are_views_of_the_piece(kinds, expected):
    for question in questions(distractors=kinds, candidates=len(expected(L))):
        assert set(question.candidates) == expected(question.candidates[question.right])


@pytest.mark.parametrize(
    ("kinds", "seen"),
    [(["cell"], lambda board: {board}), (["cell", "turn"], all_turns), (["turn", "mirror", "cell"], views)],
)
def test_a_moved_cell_adds_the_same_views_of_a_piece_that_differs_by_the_place_of_one_cell(kinds, seen):
    for question in questions(distractors=kinds, candidates=2 * len(seen(L))):
        right = question.candidates[question.right]
        others = set(question.candidates) - seen(right)
        assert len(question.candidates) == len(seen(right)) + len(others) == 2 * len(others)
        partners = [board for board in others if (np.array(board) != right).sum() == 2]
        assert partners
        assert all(seen(board) == others and sorted(np.ravel(board)) == sorted(np.ravel(right)) for board in partners)


def test_difficulty_is_what_the_settings_say():
    asked = questions(size=4, cells=[7], colors=2, candidates=6)
    assert {len(question.piece) for question in asked} == {4}
    assert {sum(map(bool, np.ravel(question.piece))) for question in asked} == {7}
    assert set(np.ravel([question.piece for question in asked])) == {0, 1, 2}
    assert {len(set(question.candidates)) for question in asked} == {6}
    assert {question.right for question in asked} == set(range(6))


def test_turns_follow_one_another_and_the_mirror_comes_last():
    asked = questions(turns=[0, 90], num_turns=2, mirrors=True)
    expected = {f"turn_{a}_{b}{end}" for a, b in product((0, 90), repeat=2) for end in ("", "_mirror")}
    assert {question.instruction.group for question in asked} == expected
    for question in asked:
        board = np.rot90(question.piece, -sum(question.instruction.turns) // 90)
        board = np.fliplr(board) if question.instruction.mirrored else board
        assert (np.array(question.candidates[question.right]) == board).all()
    words = {str(question.instruction) for question in asked}
    assert "90 degrees, then by 0 degrees, then mirror left to right" in words


def test_the_candidates_alone_do_not_tell_the_answer():
    """The right one isn't the one most like the others, which it would be if each were made from it."""
    asked = questions(rows={"test": 600})
    found = 0
    for question in asked:
        boards = np.array(question.candidates)
        apart = (boards[:, None] != boards[None]).sum((1, 2, 3))
        closest = np.flatnonzero(apart == apart.min())
        found += (question.right in closest) / len(closest)
    assert found / len(asked) == pytest.approx(0.25, abs=0.07)  # four standard errors of 600 guesses


def test_more_rows_than_there_are_pieces_is_one_error_and_leaves_nothing_behind(tmp_path):
    small = maker(tmp_path / "x", cells=[4], colors=2, distractors=["turn"], rows={"train": 20, "val": 5, "test": 5})
    with pytest.raises(ValueError, match=r"no more than 26 .*\(task.rows\)"):
        small.make()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"size": 1}, "task.size=1 must be 2 to 8"),
        ({"colors": 6}, "task.colors=6 1 to 5"),
        ({"cells": [9]}, r"task.cells=\[9\] must be numbers from 2 to 8 at task.size=3"),
        ({"cells": []}, r"task.cells=\[\] must be"),
        ({"cells": [5, 6, 5]}, r"task.cells=\[5,6,5\] names 5 more than once; name each once: task.cells=\[5,6\]"),
        ({"turns": [90, 90]}, r"task.turns=\[90,90\] names 90 more than once"),
        ({"distractors": ["turn", "turn"]}, r"task.distractors=\[turn,turn\] names turn more than once"),
        ({"turns": [45]}, r"task.turns=\[45\] must be of 0, 90, 180 and 270"),
        ({"num_turns": 0}, "task.num_turns=0 from 1 to 4"),
        ({"distractors": ["colour"]}, r"task.distractors has unknown \['colour'\]; choose from turn, mirror, cell"),
        ({"distractors": ["cell"]}, "task.candidates=4 must be 2 or more, and at most 2 with"),
        ({"candidates": 1}, "task.candidates=1 must be 2 or more"),
        ({"prompt": "<image>Turn. {candidates}"}, r"task.question=.* must hold {turn} once"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        maker(tmp_path, **changes)


def test_an_answer_is_graded_by_its_letter(made):
    data = Rotation().read(made / "test.jsonl")
    for sample in data.samples:
        right = sample.answer_text[-2]
        grades = {letter: data.grade(sample, f"so \\boxed{{{letter}}}") for letter in "ABCD"}
        assert [letter for letter, grade in grades.items() if grade.values["success"]] == [right]
        assert Counter(grade.outcome for grade in grades.values()) == {"success": 1, "wrong": 3}
        assert grades[right].group == sample.meta["level"]
        assert data.grade(sample, right).outcome == "invalid"


def test_a_drawing_frames_the_chosen_candidate_alone(made):
    data = Rotation().read(made / "test.jsonl")
    plain, *framed = (np.asarray(data.draw(data[0], f"\\boxed{{{x}}}")) for x in "?ABCD")
    for index, picture in enumerate(framed):
        columns = np.flatnonzero((picture != plain).any((0, 2)))
        x = 2 * 21 + (index + 1) * (84 + 21)  # gaps of 21 px, pictures of 84
        assert x - 21 < columns.min() < x
        assert x + 84 <= columns.max() < x + 84 + 21


def test_the_picture_of_a_turned_board_is_the_turned_picture_and_empty_cells_are_white():
    picture = np.asarray(draw_board(L, 28))
    assert (np.asarray(draw_board(((1, 1, 1), (1, 0, 0), (0, 0, 0)), 28)) == np.rot90(picture, -1)).all()
    assert (picture[14::28, 14::28].min(-1) == 255).tolist() == [[not cell for cell in row] for row in L]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"map_desc": None}, "map_desc must be a list of rows"),
        ({"map_desc": [[1, 0]]}, r"map_desc must be square, got 1 row\(s\)"),
        ({"map_desc": [[1, 9], [0, 0]]}, r"unknown cells \['9'\]; expected 0 empty, 1 to 5 coloured"),
        ({"map_desc": [[0]]}, "no cell is coloured"),
        ({"level": None}, "level=None must name the question's group"),
        ({"image_input": ["a.png", "b.png"]}, "the piece and two candidates or more"),
        ({"text_output": r"\boxed{C}"}, r"a letter from A to B"),
        ({"text_output": "B"}, r"a letter from A to B"),
    ],
)
def test_a_bad_row_is_refused_with_file_and_line(tmp_path, change, complaint):
    row = {
        "text_input": "q",
        "image_input": ["a.png", "b.png", "c.png"],
        "text_output": r"\boxed{B}",
        "map_desc": L,
        "level": "turn_90",
    }
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n" + json.dumps(row | change))
    with pytest.raises(ValueError, match=rf"x.jsonl:2: .*{complaint}"):
        Rotation().read(tmp_path / "x.jsonl")


def test_the_shipped_config_makes_rows_that_load(tmp_path):
    from hydra.utils import instantiate

    task = compose("train", "task=rotation", f"data={tmp_path}", "task.rows={train: 2, val: 1, test: 1}").task
    instantiate(task.data.maker, num_workers=1).make()
    assert len(instantiate(task.dataset).read(task.train_file)) == 2
    assert instantiate(task.data.maker).is_made()
    assert list(Rotation().problems(task.train_file)) == []
