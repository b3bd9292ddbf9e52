import json
import re
from collections import Counter

import numpy as np
import pytest

from data_modules.images import open_image
from data_modules.loading.datamodule import check_disjoint
from data_modules.rotation.pictures import draw_board
from data_modules.samples import Latent, Picture, Text
from data_modules.swaps.board import shape, swap
from data_modules.swaps.dataset import Tracking
from data_modules.swaps.maker import Swaps
from tests.conftest import compose


def maker(folder, **changes):
    settings = {
        "rows": {"train": 18, "val": 9, "test": 9},
        "size": 3,
        "colors": 3,
        "swaps": [2, 5],
        "moving": 0.5,
        "thoughts": "none",
        "numbered": False,
        "cell_px": 8,
        "prompt": "<image>Swap {swaps}. Where is the blue cell?",
    }
    return Swaps(folder=folder, seed=0, num_workers=1, **(settings | changes))


def questions(**changes):
    return [plan.content for plan in maker("unused", **changes).plans()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("swaps") / "made"
    maker(folder).make()
    return folder


def test_a_question_names_where_blue_is_at_first_if_asked_to():
    for question in questions(prompt="<image>0 {start}, {swaps}", numbered=True):
        text = maker("unused", prompt="<image>0 {start}, {swaps}", numbered=True).fill_prompt(question)
        assert text.startswith(f"<image>0 {'ABCDEFGHI'[question.places.index(1)]}, 1 ")


def test_helper_images_show_the_board_after_each_swap_and_the_answer_where_blue_is(made):
    for split, count in (("train", 36), ("val", 18), ("test", 18)):
        data = Tracking().read(made / f"{split}.jsonl")
        lines = (made / f"{split}.jsonl").read_text().splitlines()
        assert len(data) == len(lines) == count
        for row, sample in zip(map(json.loads, lines), data.samples, strict=True):
            board = np.ravel(row["map_desc"])
            shown = [part for part in sample.question if isinstance(part, Picture)]
            blocks = [part for part in sample.answer if isinstance(part, Latent)]
            pairs = re.findall(r"([A-I]) ([A-I])", row["text_input"])
            assert len(blocks) == len(pairs) == len(row["steps"])
            pictures = [np.asarray(open_image(part.path, "")) for part in (*shown, *blocks)]
            for number, picture in enumerate(pictures):
                if number:
                    first, second = (ord(letter) - ord("A") for letter in pairs[number - 1])
                    board[[first, second]] = board[[second, first]]
                drawn = draw_board(shape(tuple(board.tolist()), 3), 8)
                assert (picture == np.asarray(drawn)).all()
            assert sample.answer_text == f"\\boxed{{{'ABCDEFGHI'[board.tolist().index(1)]}}}"


def test_the_thoughts_name_the_place_after_each_block(tmp_path):
    maker(tmp_path / "made", thoughts="rules", swaps=[2], rows={"train": 9}).make()
    for sample in Tracking().read(tmp_path / "made" / "train.jsonl").samples:
        opened, *texts = (part.text for part in sample.answer if isinstance(part, Text))
        last = re.fullmatch(r" ([A-I])</think>\n\\boxed{([A-I])}", texts[-1])
        assert opened == "<think>"
        assert last[1] == last[2]
        assert len(texts) == 2
        assert Tracking().grade(sample, sample.answer_text).outcome == "success"


def test_swaps_may_be_numbered_and_the_answer_says_which_one_a_block_is_after(tmp_path):
    for thoughts, expected in (
        ("none", r"12\n\\boxed{([A-I])}"),
        ("rules", r"<think>1 [A-I]2 ([A-I])</think>\n\\boxed{\1}"),
    ):
        maker(tmp_path / thoughts, numbered=True, thoughts=thoughts, swaps=[2], rows={"train": 9}).make()
        for sample in Tracking().read(tmp_path / thoughts / "train.jsonl").samples:
            question = "".join(part.text for part in sample.question if isinstance(part, Text))
            assert re.search(r"Swap 1 [A-I] [A-I], 2 [A-I] [A-I]\.", question)
            assert re.fullmatch(expected, sample.answer_text)
            texts = [part.text if isinstance(part, Text) else "" for part in sample.answer]
            assert [
                text[-1:] for text, part in zip(texts, sample.answer[1:], strict=False) if isinstance(part, Latent)
            ] == ["1", "2"]


def test_places_are_the_answer_equally_often_and_as_many_swaps_move_the_blue_cell_as_is_asked():
    for moving, expected in ((0.5, 3), (1.0, 5), (0.1, 1)):
        asked = questions(rows={"train": 90}, swaps=[5], moving=moving)
        assert Counter(question.answers[-1] for question in asked) == dict.fromkeys("ABCDEFGHI", 10)
        for question in asked:
            boards = [question.places, *question.boards]
            places = [board.index(1) for board in boards]
            assert sum(one != other for one, other in zip(places, places[1:], strict=False)) == expected
            assert sorted(question.places) == [0] * 6 + [1, 2, 3]
            assert boards[1] == swap(boards[0], question.swaps[0])


def test_no_question_is_met_twice_and_splits_share_none(made):
    asked = questions(rows={"train": 60, "test": 60}, swaps=[1], colors=1)
    assert len(set(asked)) == len(asked) == 120
    splits = {name: Tracking().read(made / f"{name}.jsonl") for name in ("train", "val", "test")}
    check_disjoint(splits)
    with pytest.raises(ValueError, match="18 sample.s. of other are in test too"):
        check_disjoint({"test": splits["test"], "other": splits["test"]})


def test_an_answer_is_graded_by_its_letter_within_the_group_of_its_swaps(made):
    sample = Tracking().read(made / "test.jsonl")[0]
    right = re.search(r"{(\w)}", sample.answer_text)[1]
    wrong = "A" if right != "A" else "B"
    found = [Tracking().grade(sample, text) for text in (f"\\boxed{{{right}}}", f"\\boxed{{{wrong}}}", "it is there")]
    assert [(scores.outcome, scores.group) for scores in found] == [
        ("success", "swaps_2"),
        ("wrong", "swaps_2"),
        ("invalid", "swaps_2"),
    ]
    picture = Tracking().draw(sample, f"\\boxed{{{right}}}")
    assert picture.size == (24 + 6 + 24, 24)
    assert np.asarray(picture) != pytest.approx(np.asarray(Tracking().draw(sample, "")))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 6}, "task.size=6 must be 2 to 5"),
        ({"size": 2, "colors": 3}, "task.colors=3"),
        ({"cell_px": 4}, "task.cell_px=4"),
        ({"swaps": []}, r"task.swaps=\[\] must be numbers of 1 or more"),
        ({"moving": 0}, "task.moving=0 above 0"),
        ({"thoughts": "free"}, "task.thoughts=free must be none or rules"),
        ({"prompt": "Swap {swaps}."}, "must hold <image> once"),
    ],
)
def test_settings_that_make_no_questions_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        maker("unused", **changes)


def test_more_questions_than_there_are_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"too few questions of 1 swap\(s\).*raise task.size or task.swaps"):
        questions(size=2, colors=1, swaps=[1], rows={"train": 100})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"map_desc": [[0, 2], [3, 0]]}, "must hold 1, the blue cell, once"),
        ({"steps": []}, "must list pairs of two places from 0 to 8"),
        ({"steps": [[0, 9]]}, "from 0 to 8"),
        ({"steps": [[1, 1]]}, "pairs of two places"),
        ({"steps": [[True, 0]]}, "pairs of two places"),
        ({"text_output": "\\boxed{none}"}, r"must end with \\boxed"),
        ({"image_input": []}, "no picture of the board"),
    ],
)
def test_a_bad_row_is_named_with_what_was_expected(made, tmp_path, change, words):
    row = json.loads((made / "test.jsonl").read_text().splitlines()[0])
    text = row["text_input"] if "image_input" not in change else row["text_input"].replace("<image>", "")
    output = {"image_output": []} if "text_output" in change else {}
    file = made / "bad.jsonl"
    file.write_text(json.dumps(row | {"text_input": text} | output | change))
    with pytest.raises(ValueError, match=rf"bad.jsonl:1.*{words}"):
        Tracking().read(file)
    file.unlink()


def test_the_shipped_settings_make_questions():
    cfg = compose("data", "task=swaps").task
    settings = {key: value for key, value in cfg.data.maker.items() if not key.startswith("_")}
    asked = next(iter(Swaps(**settings | {"rows": {"test": 9}}).plans())).content
    assert (len(asked.swaps), len(asked.places)) == (6, 9)
