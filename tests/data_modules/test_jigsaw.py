import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_modules.jigsaw.dataset import Jigsaw
from data_modules.jigsaw.maker import GREY, KINDS, Generator
from data_modules.jigsaw.photos import digest
from data_modules.jigsaw.procedural import draw_scene
from data_modules.loading.datamodule import check_disjoint

SIDE, PIECE, SHIFT = 112, 28, 10
ROWS = {"train": 24, "val": 4, "test": 4}


def generator(folder, **changes):
    settings = {"photos": None, "rows": ROWS, "per_photo": 1, "side": SIDE, "piece": PIECE, "candidates": 3}
    settings |= {"distractors": list(KINDS), "shift": SHIFT, "prompt": "<image>Which?"}
    return Generator(folder=folder, seed=0, num_workers=1, **(settings | changes))


def pixels(file):
    return np.asarray(Image.open(file).convert("RGB"))


def read(folder, split):
    return [json.loads(line) for line in (folder / f"{split}.jsonl").open()]


def places(piece, image):
    """Every (left, top) at which ``piece`` lies in ``image`` pixel for pixel, by looking wherever its corner occurs."""
    height, width = piece.shape[:2]
    corners = np.argwhere((image == piece[0, 0]).all(-1))
    return [(x, y) for y, x in corners.tolist() if np.array_equal(image[y : y + height, x : x + width], piece)]


def question(folder, row):
    """Return the corner of the grey square, the whole photograph, the right piece and the wrong ones."""
    holed, *candidates = (pixels(folder / name) for name in row["image_input"])
    whole, right = pixels(folder / row["image_output"]), "ABCD".index(row["text_output"][-2])
    grey = np.broadcast_to(np.array(GREY, dtype=np.uint8), candidates[0].shape)
    [hole] = places(grey, holed)
    return hole, whole, candidates.pop(right), candidates


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 40 pictures, which need no resizing, in two subfolders."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(40):
        file = folder / f"{number % 2}" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        draw_scene(f"photo {number}", SIDE).save(file)
    return folder


@pytest.fixture(scope="module")
def made(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jigsaw") / "made"
    generator(folder, photos=photos).make()
    return folder


def test_the_right_piece_put_back_gives_the_photograph_back_bit_for_bit(made, photos):
    originals = {digest(Image.open(file)) for file in photos.rglob("*.png")}
    for row in read(made, "train"):
        (x, y), whole, right, _ = question(made, row)
        stitched = pixels(made / row["image_input"][0]).copy()
        stitched[y : y + PIECE, x : x + PIECE] = right
        assert np.array_equal(stitched, whole)
        assert digest(Image.fromarray(stitched)) in originals


def test_every_wrong_piece_is_of_the_stated_kind(made):
    rows = read(made, "test")
    wholes = [pixels(made / row["image_output"]) for row in rows]
    for row in rows + read(made, "train")[:8]:
        (x, y), whole, right, wrong = question(made, row)
        for piece in wrong:
            found = places(piece, whole)
            if row["level"] == "flipped":
                assert any(np.array_equal(piece, flip) for flip in (right[::-1], right[:, ::-1], right[::-1, ::-1]))
            elif row["level"] == "other":
                assert not found
            elif row["level"] == "near":
                assert any({abs(left - x), abs(top - y)} <= {0, SHIFT} for left, top in found)
            else:
                assert any(max(abs(left - x), abs(top - y)) >= PIECE for left, top in found)
    assert {row["level"] for row in rows} == set(KINDS)
    assert not any(np.array_equal(one, other) for i, one in enumerate(wholes) for other in wholes[:i])


def test_pieces_of_other_photographs_come_from_the_same_split(photos, tmp_path):
    generator(tmp_path / "x", photos=photos, rows={"test": 3, "val": 3}, distractors=["other"]).make()
    scenes = [pixels(file) for file in photos.rglob("*.png")]
    owners = {
        split: {
            number
            for row in read(tmp_path / "x", split)
            for name in row["image_input"][1:]
            for number, scene in enumerate(scenes)
            if places(pixels(tmp_path / "x" / name), scene)
        }
        for split in ("test", "val")
    }
    assert len(owners["test"]) >= 3
    assert not owners["test"] & owners["val"]


def test_candidates_can_be_told_apart_and_all_sides_are_whole_tokens(made):
    for row in read(made, "train"):
        images = [pixels(made / name) for name in row["image_input"]]
        assert all(side % 28 == 0 for image in images for side in image.shape[:2])
        for index, one in enumerate(images[1:]):
            assert all(np.abs(one.astype(int) - other).mean() >= 10 for other in images[1:][:index])


@pytest.mark.parametrize("candidates", [2, 4])
def test_letters_are_balanced_within_each_kind(tmp_path, candidates):
    rows = {"train": 8 * candidates}
    generator(tmp_path / "x", rows=rows, candidates=candidates).make()
    made = read(tmp_path / "x", "train")
    counts = Counter((row["level"], row["text_output"][-2]) for row in made)
    assert counts == {(kind, letter): 2 for kind in KINDS for letter in "ABCD"[:candidates]}
    assert made[0]["text_input"] == "<image>Which?" + "".join(f" {x}: <image>" for x in "ABCD"[:candidates])
    assert made[0]["text_output"].startswith("<output_image>\\boxed{")
    assert made[0]["map_id"].startswith("drawn_")


def wholes(folder, split):
    return {digest(Image.open(folder / row["image_output"])) for row in read(folder, split)}


def test_no_photograph_is_in_two_splits_even_under_another_name_or_in_another_format(photos, tmp_path, caplog):
    twice = tmp_path / "photos"
    twice.mkdir()
    for number, file in enumerate(sorted(photos.rglob("*.png"))[:20]):
        (twice / f"a{number}.png").write_bytes(file.read_bytes())
        Image.open(file).save(twice / f"{'zb'[number % 2]}{number}.webp", lossless=True)
    with caplog.at_level(logging.WARNING):
        generator(tmp_path / "x", photos=twice, rows={"train": 30, "val": 2, "test": 2}, per_photo=2).make()
    assert "shows the same as" in caplog.text
    found = {split: wholes(tmp_path / "x", split) for split in ("train", "val", "test")}
    # with the first of each split, which only lends a piece to the second, these are all twenty
    assert [len(found[split]) for split in found] == [15, 1, 1]
    assert not found["train"] & found["test"] | found["train"] & found["val"] | found["val"] & found["test"]
    check_disjoint({split: Jigsaw().read(tmp_path / "x" / f"{split}.jsonl") for split in found})


def test_a_folder_of_copies_of_one_photograph_is_too_few(photos, tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes((photos / "0" / "0.png").read_bytes())
    with pytest.raises(ValueError, match=r"only 1 of the 2 rows of test; 4 left out, e.g. \d.png shows the same as"):
        generator(tmp_path / "x", photos=tmp_path, rows={"test": 2}, distractors=["far"]).make()


def test_the_same_settings_make_the_same_bytes_and_test_does_not_depend_on_the_size_of_train(photos, made, tmp_path):
    generator(tmp_path / "again", photos=photos).make()
    generator(tmp_path / "smaller", photos=photos, rows=ROWS | {"train": 4}).make()
    files = [file.relative_to(made) for file in sorted(made.rglob("*")) if file.is_file()]
    assert len(files) == 4 + 32 * 5
    assert all((tmp_path / "again" / file).read_bytes() == (made / file).read_bytes() for file in files)
    of_test = [file for file in files if "test" in file.name]
    assert all((tmp_path / "smaller" / file).read_bytes() == (made / file).read_bytes() for file in of_test)
    assert generator(made, photos=photos).is_made()
    with pytest.raises(ValueError, match=r"was made with task.photos=.*, and task.photos=null is wanted; give what"):
        generator(made).is_made()


def test_bad_photographs_are_left_out_and_counted(photos, tmp_path, caplog):
    folder = tmp_path / "photos"
    folder.mkdir()
    good = sorted(photos.rglob("*.png"))[:6]
    for number, file in enumerate(good):
        (folder / f"{number}.PNG").write_bytes(file.read_bytes())
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.png").write_bytes(good[0].read_bytes()[:900])
    draw_scene("s", 56).save(folder / "small.webp")
    Image.new("RGB", (SIDE, SIDE)).save(folder / "black.png")
    (folder / "notes.txt").write_text("not looked at")
    with caplog.at_level(logging.WARNING):
        generator(tmp_path / "x", photos=folder, rows={"test": 6}, distractors=["far"]).make()
    assert len(wholes(tmp_path / "x", "test")) == 6
    with pytest.raises(ValueError, match=r"only 6 of the 7 rows of test; 4 left out, e.g. .*; add photographs"):
        generator(tmp_path / "y", photos=folder, rows={"test": 7}, distractors=["far"]).make()
    assert not list(tmp_path.glob("y*"))


def test_a_folder_that_is_missing_or_too_small_says_what_is_needed(photos, tmp_path):
    with pytest.raises(ValueError, match=r"task.photos=.*none is no folder; give one of photographs, or null"):
        generator(tmp_path / "x", photos=tmp_path / "none").make()
    with pytest.raises(ValueError, match=r"holds 40 photograph\(s\), but task.rows=.*100.* needs 50 or more at task"):
        generator(tmp_path / "x", photos=photos, rows={"train": 100}, per_photo=2, distractors=["near"]).make()
    assert not list(tmp_path.iterdir())


def test_scenes_too_alike_end_with_an_error_and_not_never(tmp_path, monkeypatch):
    monkeypatch.setattr("data_modules.jigsaw.maker.draw_scene", lambda name, side: Image.new("RGB", (side, side)))
    with pytest.raises(ValueError, match="the drawn scenes give only 0 of the 2 rows of test"):
        generator(tmp_path / "x", rows={"test": 2}).make()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"side": 100}, "task.side=100 and task.piece=28 must be multiples of 28"),
        ({"piece": 84}, "at most half as wide"),
        ({"piece": 0}, "task.piece=0"),
        ({"distractors": ["far", "hard"]}, r"must be a list of: other, far, near, flipped"),
        ({"distractors": []}, "task.distractors"),
        ({"distractors": "far"}, "task.distractors=far must be a list"),
        ({"candidates": 5}, "task.candidates=5 must be from 2 to 4"),
        ({"candidates": 1}, "task.candidates=1"),
        ({"shift": 28}, "task.shift=28 must be from 1 to 27"),
        ({"per_photo": 0}, "task.per_photo=0"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        generator(tmp_path, **changes)


def test_made_answers_are_right_and_grouped_by_kind(made):
    rows = Jigsaw().read(made / "train.jsonl")
    grades = [rows.grade(rows[index], rows[index].answer_text) for index in range(len(rows))]
    assert all(grade.values["success"] for grade in grades)
    assert Counter(grade.group for grade in grades) == dict.fromkeys(KINDS, 6)
    assert list(Jigsaw().problems(made / "train.jsonl")) == []
    assert len(rows.identities()) == 24


def rows_of(folder, **row):
    (folder / "x.jsonl").write_text(
        json.dumps({"text_input": "q", "image_input": [f"images/{n}.png" for n in "abc"]} | row)
    )
    return Jigsaw().read(folder / "x.jsonl")


@pytest.mark.parametrize(
    ("truth", "text", "outcome"),
    [
        (r"\boxed{B}", r"so \boxed{b}", "success"),
        ("(B)", r"\boxed{B}", "success"),
        ("(B)", "(B)", "success"),
        ("B", " B.\n", "success"),
        (r"\boxed{(B)}", "(A)", "wrong"),
        ("(B)", r"\boxed{A}", "wrong"),
        ("(B)", "A bird", "invalid"),
        ("(B)", "", "invalid"),
    ],
)
def test_a_choice_from_elsewhere_is_graded_with_or_without_a_box(folder, truth, text, outcome):
    rows = rows_of(folder, text_output=truth)
    grade = rows.grade(rows[0], text)
    assert (grade.outcome, grade.values["success"], grade.group) == (outcome, outcome == "success", "choice")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"text_output": "the left one"}, "x.jsonl:1: nothing to grade against"),
        ({"text_output": "(C)"}, r"x.jsonl:1: the answer is C, but after the first picture there are 2 candidate\(s\)"),
    ],
)
def test_a_row_that_cannot_be_graded_is_refused(folder, row, complaint):
    with pytest.raises(ValueError, match=complaint):
        rows_of(folder, **row)
    assert len(list(Jigsaw().problems(folder / "x.jsonl"))) == 1


def test_one_picture_may_show_its_candidates_within(folder):
    rows = rows_of(folder, image_input="images/a.png", text_output="(D)")
    assert rows.grade(rows[0], "(D)").values["success"]
    assert rows.draw(rows[0], "(D)") == rows.draw(rows[0], "")


def test_an_identity_is_what_is_asked_and_not_the_files_names(folder):
    same = rows_of(folder, text_output="(A)")
    asked = same.identity(same[0])
    swapped = rows_of(folder, image_input=["images/b.png", "images/a.png", "images/c.png"], text_output="(B)")
    assert swapped.identity(swapped[0]) == asked  # all three files hold the same bytes
    Image.new("RGB", (28, 28), "red").save(Path(folder) / "images" / "c.png")
    assert same.identity(same[0]) != asked


def test_the_chosen_candidate_alone_is_framed_in_a_drawing(folder):
    rows = rows_of(folder, text_output="(B)")
    plain, first, second = (np.asarray(rows.draw(rows[0], text)) for text in ("", "(A)", r"\boxed{B}"))
    assert plain.shape == (28 + 2 * 12, 3 * 28 + 4 * 12, 3)
    middle = [12 + index * 40 + 14 for index in range(3)]
    frames = [[tuple(image[8, column]) == (220, 20, 20) for column in middle] for image in (plain, first, second)]
    assert frames == [[False] * 3, [False, True, False], [False, False, True]]
