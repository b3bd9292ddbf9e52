import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hydra.utils import instantiate

from data_modules.images import open_image
from data_modules.loading.datamodule import check_disjoint
from data_modules.samples import Latent, Picture, Text
from data_modules.tracking.dataset import Tracking, read_answer
from data_modules.tracking.die import EAST, NORTH, POSITIONS, TOP, Die, roll
from data_modules.tracking.folding import HOLE, Folding
from data_modules.tracking.maker import Questions, write_answer
from data_modules.tracking.puzzle import follow
from data_modules.tracking.sliding import BLUE, GAP, Sliding
from data_modules.tracking.swaps import Swaps
from data_modules.tracking.walker import Walker, find_walker, put_walker
from tests.conftest import compose

PUZZLES = {
    "swaps": Swaps(size=3, colors=3, moving=0.5),
    "sliding": Sliding(size=3, colors=2),
    "walker": Walker(size=3, moving=0.5),
    "die": Die(size=3),
    "folding": Folding(size=4),
}


def maker(folder, puzzle="swaps", **changes):
    settings = {
        "rows": {"train": 18, "val": 9, "test": 9},
        "steps": [2, 5],
        "thoughts": "none",
        "numbered": False,
        "cell_px": 8,
        "prompt": "<image>Do {steps}. What is there?",
    }
    if puzzle == "folding":
        settings["steps"] = [2]
    return Questions(folder=folder, seed=0, num_workers=1, puzzle=PUZZLES[puzzle], **(settings | changes))


def questions(puzzle="swaps", **changes):
    return [plan.content for plan in maker("unused", puzzle, **changes).plans()]


@pytest.fixture(scope="module", params=PUZZLES)
def made(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking") / request.param
    maker(folder, request.param).make()
    return folder


@pytest.fixture(scope="module")
def swaps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracking") / "swaps"
    maker(folder).make()
    return folder


def test_helper_images_show_the_board_after_each_step_and_the_answer_is_of_the_last(made):
    puzzle = PUZZLES[made.name]
    for split in ("train", "val", "test"):
        data = Tracking(puzzle).read(made / f"{split}.jsonl")
        lines = (made / f"{split}.jsonl").read_text().splitlines()
        assert len(data) == len(lines)
        for row, sample in zip(map(json.loads, lines), data.samples, strict=True):
            boards = [tuple(np.ravel(row["map_desc"]).tolist())]
            boards += follow(puzzle, boards[0], [tuple(step) for step in row["steps"]])
            images = [part for part in (*sample.question, *sample.answer) if isinstance(part, Picture | Latent)]
            assert len(images) == len(boards) == len(row["steps"]) + 1
            for image, board in zip(images, boards, strict=True):
                assert (np.asarray(open_image(image.path, "")) == np.asarray(puzzle.draw(board, 8))).all()
                puzzle.check(board)
            assert data.states(sample) == boards
            assert sample.answer_text == f"\\boxed{{{puzzle.answer(boards[-1])}}}"
            assert data.grade(sample, sample.answer_text).outcome == "success"


def test_boards_that_differ_look_different(made):
    puzzle = PUZZLES[made.name]
    boards = {board for question in questions(made.name) for board in follow(puzzle, question.places, question.steps)}
    assert len({puzzle.draw(board, 8).tobytes() for board in boards}) == len(boards) > 5


def test_swaps_say_which_cells_change_places(swaps):
    for line in (swaps / "train.jsonl").read_text().splitlines():
        row = json.loads(line)
        board = np.ravel(row["map_desc"])
        pairs = re.findall(r"([A-I]) ([A-I])", row["text_input"])
        assert len(pairs) == len(row["steps"])
        for pair in pairs:
            first, second = (ord(letter) - ord("A") for letter in pair)
            board[[first, second]] = board[[second, first]]
        assert row["text_output"].endswith(f"\\boxed{{{'ABCDEFGHI'[board.tolist().index(1)]}}}")


def test_a_die_is_rolled_as_a_real_one_is():
    one_on_top = (0, 3, 0, 5, 1, 2, 0, 4, 0)  # a western die: 2 in the east, 3 in the north
    assert roll(one_on_top, 0) == (0, 1, 0, 5, 4, 2, 0, 6, 0)
    assert roll(one_on_top, 1) == (0, 3, 0, 6, 5, 1, 0, 4, 0)
    assert len(set(POSITIONS)) == 24
    for places in POSITIONS:
        assert places[TOP] not in (places[NORTH], places[EAST], 7 - places[NORTH], 7 - places[EAST])
        for way in range(4):
            assert roll(roll(places, way), (way + 2) % 4) == places
            four = places
            for _ in range(4):
                four = roll(four, way)
            assert four == places


def test_a_walker_turns_on_the_spot_goes_ahead_and_stays_on_the_board():
    puzzle = PUZZLES["walker"]
    north, steps = put_walker(3, 4, 0), [(0,), (2,), (0,), (2,), (0,), (1,)]
    assert [find_walker(board) for board in follow(puzzle, north, steps)] == [
        (1, 0),
        (1, 1),
        (2, 1),
        (2, 2),
        (5, 2),
        (5, 1),
    ]
    with pytest.raises(ValueError, match=r"steps\[1\]=\[0\] can't be done there; expected \[0\] forward, where"):
        follow(puzzle, north, [(0,), (0,)])
    assert puzzle.describe(north) == "E north"


def test_tiles_slide_into_the_gap():
    places = (2, 5, 5, 5, GAP, BLUE, 5, 5, 5)
    assert PUZZLES["sliding"].apply(places, (2,)) == (2, 5, 5, 5, BLUE, GAP, 5, 5, 5)
    assert PUZZLES["sliding"].apply(places, (0,)) == (2, 5, 5, 5, 5, BLUE, 5, GAP, 5)
    assert PUZZLES["sliding"].describe(places) == "F E"
    corner = (GAP, 5, 5, 5, 2, BLUE, 5, 5, 5)
    assert PUZZLES["sliding"].steps(corner) == [(0,), (2,)]
    for question in questions("sliding"):
        boards = [question.places, *follow(PUZZLES["sliding"], question.places, question.steps)]
        assert len({board.index(BLUE) for board in boards}) > 1


def test_unfolding_mirrors_holes_at_the_fold():
    places = (0, 0, 0, 0) + (1, HOLE, 0, 0) + (1, 1, 0, 0) + (0, 0, 0, 0)
    puzzle = PUZZLES["folding"]
    assert set(puzzle.steps(places)) == {(0, 1), (1, 1), (1, 2), (2, 1)}
    assert puzzle.apply(places, (1, 1)) == (0, 0, 0, 0) + (1, HOLE, HOLE, 0) + (1, 1, 1, 0) + (0, 0, 0, 0)
    assert puzzle.apply(places, (1, 2)) == (0, 0, 0, 0) + (1, HOLE, HOLE, 1) + (1, 1, 1, 1) + (0, 0, 0, 0)
    assert puzzle.apply(places, (0, 1)) == (1, HOLE, 0, 0) + (1, HOLE, 0, 0) + (1, 1, 0, 0) + (0, 0, 0, 0)
    assert puzzle.apply(places, (2, 1)) == (0, 0, 0, 0) + (1, HOLE, 0, 0) + (1, 1, 0, 0) + (1, 1, 0, 0)
    assert puzzle.describe(puzzle.apply(places, (1, 2))) == "B2 B3"
    assert puzzle.answers(1) == ["1", "2"]


@pytest.mark.parametrize("puzzle", PUZZLES)
def test_the_thoughts_say_after_each_block_all_that_the_answer_depends_on(puzzle):
    board_of = dict[str, str]()
    for question in questions(puzzle, rows={"train": 60}):
        for places, step in zip(
            (question.places, *follow(PUZZLES[puzzle], *asked(question))), question.steps, strict=False
        ):
            said = f"{PUZZLES[puzzle].describe(places)} | {PUZZLES[puzzle].write(step)}"
            after = PUZZLES[puzzle].answer(PUZZLES[puzzle].apply(places, step))
            if puzzle != "folding":  # where paper lies isn't said, only where holes are
                assert board_of.setdefault(said, after) == after


def asked(question):
    return question.places, question.steps


@pytest.mark.parametrize("puzzle", PUZZLES)
def test_a_question_says_what_there_is_at_first_if_it_is_asked_to(puzzle):
    made = maker("unused", puzzle, prompt="<image>0 {start}, {steps}", numbered=True)
    for question in (plan.content for plan in made.plans()):
        assert made.fill_prompt(question).startswith(f"<image>0 {PUZZLES[puzzle].describe(question.places)}, 1 ")


def test_steps_may_be_numbered_and_the_answer_says_which_one_a_block_is_after(tmp_path):
    for thoughts, expected in (
        ("none", r"12\n\\boxed{([A-I])}"),
        ("rules", r"<think>1 [A-I] 2 ([A-I])</think>\n\\boxed{\1}"),
        ("cells", r"<think>1 \d{9} 2 \d{9}</think>\n\\boxed{([A-I])}"),
    ):
        maker(tmp_path / thoughts, numbered=True, thoughts=thoughts, steps=[2], rows={"train": 9}).make()
        for sample in Tracking(PUZZLES["swaps"]).read(tmp_path / thoughts / "train.jsonl").samples:
            question = "".join(part.text for part in sample.question if isinstance(part, Text))
            assert re.search(r"Do 1 [A-I] [A-I], 2 [A-I] [A-I]\.", question)
            assert re.fullmatch(expected, sample.answer_text)
            texts = [part.text if isinstance(part, Text) else "" for part in sample.answer]
            assert [
                text[-1:] for text, part in zip(texts, sample.answer[1:], strict=False) if isinstance(part, Latent)
            ] == ["1", "2"]


@pytest.mark.parametrize("puzzle", PUZZLES)
def test_thoughts_may_say_what_each_cell_shows(tmp_path, puzzle):
    maker(tmp_path / "made", puzzle, thoughts="cells", steps=[2], rows={"train": 9}).make()
    rows = Tracking(PUZZLES[puzzle]).read(tmp_path / "made" / "train.jsonl")
    for sample in rows.samples:
        said = sample.answer_text.split("</think>")[0].removeprefix("<think>").split()
        assert [tuple(map(int, board)) for board in said] == rows.follow(sample)


@pytest.mark.parametrize("puzzle", PUZZLES)
def test_numbers_of_steps_cant_be_taken_for_a_part_of_what_is_done(puzzle):
    made = maker("unused", puzzle, prompt="<image>{steps}", steps=[2], numbered=True)
    for question in (plan.content for plan in made.plans()):
        assert re.fullmatch(r"<image>1 [^\d ].*, 2 [^\d ].*", made.fill_prompt(question))


def test_thoughts_about_holes_cant_be_taken_for_numbers_of_steps():
    places = (0,) * 4 + (1, HOLE, 0, 0) + (1, 1, 0, 0) + (0,) * 4
    boards = follow(PUZZLES["folding"], places, [(1, 1), (2, 1)])
    text = write_answer(PUZZLES["folding"], boards, "rules", numbered=True).replace("<output_image>", "")
    assert text == "<think>1 B2 B3 2 B2 B3</think>\n\\boxed{2}"


def test_answers_are_right_equally_often(made):
    puzzle = PUZZLES[made.name]
    rows = questions(made.name, steps=[3], rows={"train": 36})
    counts = Counter(puzzle.answer(follow(puzzle, *asked(question))[-1]) for question in rows)
    assert set(counts) == set(puzzle.answers(3))
    assert max(counts.values()) - min(counts.values()) <= 1


def test_as_many_swaps_move_the_blue_cell_as_is_asked():
    for moving, expected in ((0.5, 3), (1.0, 5), (0.1, 1)):
        puzzle = Swaps(size=3, colors=3, moving=moving)
        maker_of = Questions(**{**maker("unused").__dict__, "puzzle": puzzle, "steps": [5]})
        for question in (plan.content for plan in maker_of.plans()):
            places = [board.index(1) for board in (question.places, *follow(puzzle, *asked(question)))]
            assert sum(one != other for one, other in zip(places, places[1:], strict=False)) == expected
            assert sorted(question.places) == [0] * 6 + [1, 2, 3]


def test_no_question_is_met_twice_and_splits_share_none(swaps):
    rows = questions(rows={"train": 60, "test": 60}, steps=[1])
    assert len(set(rows)) == len(rows) == 120
    splits = {name: Tracking(PUZZLES["swaps"]).read(swaps / f"{name}.jsonl") for name in ("train", "val", "test")}
    check_disjoint(splits)
    with pytest.raises(ValueError, match="18 sample.s. of other are in test too"):
        check_disjoint({"test": splits["test"], "other": splits["test"]})


def test_what_is_held_out_is_in_train_in_no_other_writing():
    """On two cells by two there are 12 questions of a swap that moves the blue one, and two ways to write each."""
    maker_of = Questions(**{**maker("unused").__dict__, "puzzle": Swaps(size=2, colors=1, moving=1.0), "steps": [1]})
    plans = list(replace(maker_of, rows={"train": 16, "test": 4}).plans())
    meant = {split: [mean(plan.content) for plan in plans if plan.split == split] for split in ("train", "test")}
    assert len(set(meant["test"])) == 4, "each is asked once at test"
    assert not set(meant["test"]) & set(meant["train"])
    with pytest.raises(ValueError, match="too few questions of 1 step"):
        list(replace(maker_of, rows={"train": 17, "test": 4}).plans())


def mean(question):
    """What a question of swaps means."""
    return question.places, tuple(tuple(sorted(step)) for step in question.steps)


def test_questions_that_mean_the_same_are_known_to_be_the_same(swaps):
    data = Tracking(PUZZLES["swaps"])
    first = data.read(swaps / "test.jsonl")[0]
    turned = replace(first, meta=first.meta | {"steps": [step[::-1] for step in first.meta["steps"]]})
    assert data.identity(turned) == data.identity(first)


def test_an_answer_is_graded_by_its_box_within_the_group_of_its_steps(made):
    data = Tracking(PUZZLES[made.name]).read(made / "test.jsonl")
    sample = data[0]
    right = re.search(r"{(\w)}", sample.answer_text)[1]
    wrong = next(answer for answer in PUZZLES[made.name].answers(2) if answer != right)
    grades = [data.grade(sample, text) for text in (f"\\boxed{{{right}}}", f"\\boxed{{{wrong}}}", "it is there")]
    assert [(scores.outcome, scores.group) for scores in grades] == [
        ("success", "steps_2"),
        ("wrong", "steps_2"),
        ("invalid", "steps_2"),
    ]
    picture, side = data.draw(sample, f"\\boxed{{{right}}}"), 8 * len(sample.meta["map_desc"])
    assert picture.size == (side + side // 4 + side, side)
    names_a_place = (np.asarray(picture) != np.asarray(data.draw(sample, ""))).any()
    assert names_a_place == (made.name in ("swaps", "sliding", "walker"))


def test_a_letter_or_a_number_is_read_from_the_last_box():
    texts = (
        r"\boxed{b}",
        r"\boxed{(B)}",
        r"\boxed{1} \boxed{ 07 }",
        r"\boxed{$8$}",
        r"\boxed{two}",
        "3",
        r"\boxed{-1}",
    )
    assert [read_answer(text) for text in texts] == ["B", "B", "7", "8", None, None, None]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: Swaps(size=6, colors=1, moving=0.5), "task.size=6 must be 2 to 5"),
        (lambda: Swaps(size=2, colors=3, moving=0.5), "task.colors=3 must be 1 to 5, and two fewer"),
        (lambda: Swaps(size=3, colors=3, moving=0), "task.moving=0 must be above 0"),
        (lambda: Sliding(size=3, colors=5), "task.colors=5 must be 1 to 4"),
        (lambda: Walker(size=3, moving=1.5), "task.moving=1.5 must be above 0 and at most 1"),
        (lambda: Die(size=4), "task.size=4 must be 3$"),
        (lambda: Folding(size=2), "task.size=2 must be 3 to 8"),
        (lambda: maker("unused", cell_px=4), "task.cell_px=4 must be 8 or more"),
        (lambda: maker("unused", steps=[]), r"task.steps=\[\] must be numbers of 1 or more"),
        (
            lambda: maker("unused", steps=[3, 2, 3]),
            r"task.steps=\[3,2,3\] names 3 more than once; .*: task.steps=\[3,2\]",
        ),
        (lambda: maker("unused", thoughts="free"), "task.thoughts=free is unknown; choose one of none, rules, cells"),
        (lambda: maker("unused", prompt="Do {steps}."), "must hold <image> once"),
    ],
)
def test_settings_that_make_no_questions_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        change()


def test_more_questions_than_there_are_are_refused_with_what_to_do():
    few = r"too few questions of 1 step\(s\) for task.rows={train: \d+}"
    with pytest.raises(ValueError, match=rf"size 3 has {few}; lower these or raise task.steps$"):
        questions("die", steps=[1], rows={"train": 100})
    with pytest.raises(ValueError, match=rf"size 4 has {few}; lower these, raise task.size or take other task.steps$"):
        questions("folding", steps=[1], rows={"train": 2000})
    with pytest.raises(
        ValueError, match=r"no board of size 4 that takes 20 step\(s\) .*; raise task.size or lower task.st"
    ):
        questions("folding", steps=[20], rows={"train": 2})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"map_desc": [[0, 2], [3, 0]]}, "must hold 1, the blue cell, once"),
        ({"steps": []}, "must be a list, each a pair of two places"),
        ({"steps": [[0, 9]]}, r"steps\[0\]=\[0, 9\] can't be done there; expected a pair of two places"),
        ({"steps": [[0, 1], [1, 1]]}, r"steps\[1\]=\[1, 1\] can't be done there"),
        ({"steps": [[True, 0]]}, "must be a list, each a pair"),
        ({"steps": 3}, "must be a list, each a pair"),
        ({"text_output": "\\boxed{none}"}, r"must end with \\boxed"),
        ({"image_input": []}, "no picture of the board"),
    ],
)
def test_a_bad_row_is_named_with_what_was_expected(swaps, change, words):
    row = json.loads((swaps / "test.jsonl").read_text().splitlines()[0])
    text = row["text_input"] if "image_input" not in change else row["text_input"].replace("<image>", "")
    output = {"image_output": []} if "text_output" in change else {}
    file = swaps / "bad.jsonl"
    file.write_text(json.dumps(row | {"text_input": text} | output | change))
    with pytest.raises(ValueError, match=rf"bad.jsonl:1.*{words}"):
        Tracking(PUZZLES["swaps"]).read(file)
    file.unlink()


def test_rows_that_share_a_picture_of_two_boards_are_found_when_data_is_checked(made, tmp_path):
    file, data = made / "twins.jsonl", Tracking(PUZZLES[made.name])
    first, *_, last = map(json.loads, (made / "train.jsonl").read_text().splitlines())
    assert not list(data.problems(made / "train.jsonl"))
    file.write_text("\n".join(map(json.dumps, (first, last | {"map_id": first["map_id"]}))))
    assert [re.sub(".*/", "", line) for line in data.problems(file)] == [
        "twins.jsonl:1, too, so one has the other's pictures; make the data anew"
    ]
    pictures = {"image_input": first["image_input"], "map_desc": last["map_desc"]}
    file.write_text("\n".join(map(json.dumps, (first, last | pictures, first | {"map_id": "other"}))))
    assert first["map_desc"] != last["map_desc"]
    [line] = data.problems(file)
    assert re.search(r"twins.jsonl:2: \S*png shows another map_desc in .*twins.jsonl:1; give each board", line)
    own = tmp_path / "own.jsonl"
    absolute = {
        "image_input": str(made / first["image_input"]),
        "image_output": [str(made / x) for x in first["image_output"]],
    }
    own.write_text("\n".join(json.dumps(first | absolute) for _ in range(2)))
    assert not list(data.problems(own)), "rows that a task didn't make may have one name"
    file.unlink()


RULES = {
    "swaps": "Each swap exchanges what two cells hold",
    "sliding": "the tile that can move that way slides into the gap",
    "walker": "left and right are quarter turns on the spot",
    "die": "north, which is up, tips it over that edge",
    "folding": "Unfolding right by 2 adds two columns of cells at its right edge",
}


@pytest.mark.parametrize("task", PUZZLES)
def test_a_question_says_the_rule_which_no_pretrained_model_can_know(task):
    made = instantiate(compose("data", f"task={task}", "task.rows={test: 2}").task.data.maker)
    asked = made.fill_prompt(next(iter(made.plans())).content)
    assert RULES[task] in asked
    assert "{" not in asked.replace("\\boxed{}", "")


@pytest.mark.parametrize(
    ("puzzle", "board", "words"),
    [
        ("sliding", [[0, 1], [0, 2]], "must hold 0, the gap, and 1, the blue tile, once each"),
        ("walker", [[1, 0], [0, 2]], "must hold one walker"),
        ("die", [[0, 1, 0], [2, 3, 4], [0, 6, 0]], "is no die"),
        ("folding", [[1, 1, 0], [1, 0, 2], [0, 0, 0]], "must be a rectangle of paper"),
        ("folding", [[1, 1, 0], [1, 1, 0], [0, 0, 0]], "must be a rectangle of paper, 1, with a hole"),
    ],
)
def test_a_board_that_cant_be_is_refused(puzzle, board, words):
    with pytest.raises(ValueError, match=words):
        PUZZLES[puzzle].check(tuple(np.ravel(board).tolist()))


@pytest.mark.parametrize("task", PUZZLES)
def test_the_shipped_settings_make_questions(task):
    cfg = compose("data", f"task={task}", "task.rows={test: 9}").task
    made = instantiate(cfg.data.maker)
    asked = next(iter(made.plans())).content
    assert len(asked.steps) == cfg.steps[0]
    assert len(asked.places) == cfg.size**2
