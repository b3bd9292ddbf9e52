from decimal import Decimal

import pytest

from data_modules.files.inline import InlineImage
from data_modules.rows.choices import lettered, split_choices
from data_modules.rows.columns import Columns
from data_modules.rows.right import find_right, list_choices, settle_reading
from data_modules.rows.templates import fill, find_images, look_up

ROW = {"q": "Why?", "n": 3, "none": None, "deep": {"er": {"text": "t"}}, "a.b": "dotted", "list": [1]}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{q}", "Why?"),
        (r"{q} \boxed{{{n}}} {{}}", r"Why? \boxed{3} {}"),
        ("{deep.er.text} {a.b}", "t dotted"),
        ("no column", "no column"),
        ("{q}{none}", None),
        ("{nothing}", "no column nothing; the row has q, n, none"),
        ("{deep.nothing}", "no column nothing; the row has er"),
        ("{list}", "column list must be text or a number, got list"),
    ],
)
def test_a_template_takes_columns_by_name_and_a_null_leaves_it_out(template, text):
    if isinstance(text, str) and "column " in text and "{" in template:
        with pytest.raises(ValueError, match=text):
            fill(template, ROW)
    else:
        assert fill(template, ROW) == text


def test_a_template_can_reach_nothing_but_columns():
    with pytest.raises(ValueError, match="no column q.__class__"):
        look_up("q.__class__", {"q": "text"})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"text_input": "{q"}, "task.columns.text_input={q is no template .*double braces"),
        ({"text_output": r"\boxed{}"}, "task.columns.text_output=.* is no template"),
        ({"image_output": ["a", "{n:03}"]}, "task.columns.image_output={n:03} is no template"),
        ({"choices": "list"}, "go together"),
        ({"image_pattern": "("}, "is no pattern"),
        ({"image_pattern": "a"}, "must have one group"),
    ],
)
def test_bad_options_are_refused_before_any_row(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Columns(**options)


def test_columns_that_are_not_named_are_the_rows_own_and_nulls_are_left_out():
    row = {"text_input": "q", "image_input": "a.png", "text_output": None, "other": 1}
    assert Columns().official(row, "1", {}) == {"text_input": "q", "image_input": "a.png"}
    assert Columns(text_input="{other}?").official(row, "1", {}) == {"text_input": "1?", "image_input": "a.png"}
    assert Columns().official({"text_input": "q"}, "1", {}) == {"text_input": "q", "image_input": []}


def test_images_are_columns_lists_and_paths_and_one_of_those_named_must_be_there():
    columns = Columns(text_input="q", image_input=["one", "none", "many", "gone", "seen/{row}-{id}.png"])
    row = {"one": "1.png", "none": None, "many": ["2.png", "3.png"], "id": 7}
    assert columns.official(row, "12", {})["image_input"] == ["1.png", "2.png", "3.png", "seen/12-7.png"]
    with pytest.raises(ValueError, match="no column image; the row has .*one"):
        Columns(text_input="q", image_input=["image", "picture"]).official({"one": 1}, "1", {})
    with pytest.raises(ValueError, match="one must hold images or paths, got int"):
        Columns(text_input="q", image_input="one").official({"one": 1}, "1", {})


def test_images_named_in_the_texts_go_where_they_are_named():
    columns = Columns(text_input="{q}", text_output="{a}", image_pattern=r"\[(\w+)\]")
    row = {"q": "[i] or [j]?", "a": "Look: [h] so [i].", "i": "i.png", "j": "j.png", "h": "h.png"}
    assert columns.official(row, "1", {}) == {
        "text_input": "<image> or <image>?",
        "image_input": ["i.png", "j.png"],
        "text_output": "Look: <output_image> so <output_image>.",
        "image_output": ["h.png", "i.png"],
    }
    with pytest.raises(ValueError, match="the text shows image h, but that column holds 0 images"):
        columns.official(row | {"h": None}, "1", {})
    with pytest.raises(ValueError, match="no column h"):
        columns.official({key: value for key, value in row.items() if key != "h"}, "1", {})


def test_choices_get_letters_in_the_order_asked():
    columns = Columns(text_input="{lettered}", text_output="{letter}", choices="c", right="r")
    row = {"c": ["left", "right", "up"], "r": "right"}
    assert columns.ask(row, range) == {"lettered": "(A) left\n(B) right\n(C) up", "letter": "B"}
    turned = columns.ask(row, lambda count: [2, 0, 1])
    assert turned == {"lettered": "(A) up\n(B) left\n(C) right", "letter": "C"}
    assert columns.official(row, "1", turned)["text_output"] == "C"
    assert lettered(["x"] * 30).count("\n") == 25


def test_a_plan_takes_the_place_of_an_answers_template_but_not_of_the_rows_own_answer():
    columns = Columns(text_output="{answer}", image_output="{gone}.png")
    plan = [{"type": "text", "content": "B"}]
    row = {"text_input": "q", "sequence_plan": plan}
    assert columns.official(row, "1", {}) == {"image_input": [], "text_input": "q", "sequence_plan": plan}
    assert columns.official(row | {"text_output": "own"}, "1", {})["text_output"] == "own", "for the reader to refuse"
    unplanned = {"text_input": "q", "sequence_plan": None, "answer": "B", "gone": "h"}
    assert columns.official(unplanned, "1", {}) == {
        "image_input": [],
        "text_input": "q",
        "text_output": "B",
        "image_output": ["h.png"],
    }


@pytest.mark.parametrize(
    ("right", "choices", "index"),
    [
        ("up", ["left", "up", "A"], 1),
        (" Up.", ["left", "up"], 1),
        ("(B)", ["left", "up"], 1),
        ("b", ["left", "up"], 1),
        ("B.", ["left", "up"], 1),
        ("B. up", ["left", "up"], 1),
        (1, ["left", "up"], 1),
        (1.0, ["left", "up"], 1),
        (3, [1, 2, 3], 2),
        (3, ["1", "2", "3"], 2),
        ("3", [1, 2, 3], 2),
        (2.5, ["1.5", "2.50"], 1),
        (1, [2.0, 1.0], 1),
        ("1", ["1", "2"], 0),
        ("B", ["A", "B"], 1),
        (True, [False, True], 1),
        ("true", [True, False], 0),
        ("Left", ["left", "Left"], 1),
        ("½", ["1/2", "2"], 0),
    ],
)
def test_the_right_choice_is_itself_its_letter_or_its_index(right, choices, index):
    assert find_right(right, choices) == index


@pytest.mark.parametrize(
    ("right", "choices", "complaint"),
    [
        ("down", ["left", "up"], "'down' is not among the choices"),
        ("(C)", ["left", "up"], "not among"),
        ("B. left", ["left", "up"], "not among"),
        (2, ["left", "up"], "not among .*right_is=index1"),
        (-1, ["left", "up"], "not among"),
        (True, ["left", "up"], "not among"),
        (1.5, ["left", "up"], "not among"),
        ([0], ["left", "up"], "not among"),
        ("LEFT", ["left", "Left"], "equal to two"),
        ("A", ["B", "A"], r"B \('A'\) as the choice itself but A \('B'\) as a letter; .*right_is=itself or letter"),
        (1, [1, 2, 3], r"A \(1\) as the choice itself but B \(2\) as an index from 0; .*right_is=itself or index"),
        (3, ["2", "3", "4", "5"], r"B \('3'\) .* but D \('5'\)"),
    ],
)
def test_a_right_choice_that_is_none_of_them_or_two_is_refused(right, choices, complaint):
    with pytest.raises(ValueError, match=complaint):
        find_right(right, choices)


@pytest.mark.parametrize(
    ("right", "right_is", "index"),
    [(1, "itself", 0), (1, "index", 1), (1, "index1", 0), ("3", "index1", 2), ("2", "index", 2), (3.0, "index1", 2)],
)
def test_a_key_says_what_a_right_choice_is(right, right_is, index):
    assert find_right(right, [1, 2, 3], right_is) == index


def test_under_a_key_another_reading_is_refused():
    for right, right_is in ((0, "index1"), (3, "index"), ("B", "itself"), ("left", "letter"), (1, "letter")):
        with pytest.raises(ValueError, match="not among"):
            find_right(right, ["left", "up", "down"], right_is)
    with pytest.raises(ValueError, match="task.columns.right_is=number is unknown; choose one of itself, letter"):
        Columns(choices="c", right="r", right_is="number")


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        (["left"], "must be a list of 2 to 26"),
        ("left", "must be a list"),
        (["left", "left"], "equal"),
        ([1, "1"], "equal"),
    ],
)
def test_choices_that_are_none_are_refused(choices, complaint):
    with pytest.raises(ValueError, match=complaint):
        list_choices(choices)


def test_choices_may_be_written_as_text_or_with_letters_of_their_own():
    for written in ('["left", "up"]', "['left', 'up']", ["A. left", "B. up"], ["(A) left", "(B) up"]):
        assert list_choices(written) == ["left", "up"]
    assert list_choices(["B. left", "A. up"]) == ["B. left", "A. up"]


def test_the_rows_of_a_file_say_together_what_the_right_choice_is():
    words, numbers = ["left", "up", "down"], ["0", "1", "2", "5"]
    assert settle_reading([("a:1", 1, words), ("a:2", 0, numbers), ("a:3", 3, numbers)]) == "index"
    assert settle_reading([("a:1", "5", numbers), ("a:2", 5, numbers)]) == "itself"
    assert settle_reading([("a:1", "A", words), ("a:2", "B", ["B", "A"])]) == "letter"
    assert settle_reading([("a:1", "B", ["A", "B"])]) is None, "both readings agree"
    assert settle_reading([]) is None
    with pytest.raises(ValueError, match=r"a:2: the right answer 'up' is the choice itself, but that of a:1 is not"):
        settle_reading([("a:1", 1, words), ("a:2", "up", words)])
    with pytest.raises(ValueError, match=r"a:2: the right answer 3 is D \('5'\) as an|a:2: .*right_is=itself or index"):
        settle_reading([("a:1", 1, ["0", "1"]), ("a:2", 2, ["1", "2", "3"])])


def test_a_text_without_braces_is_the_column_of_that_name():
    rows = [{"question": "Why?", "answer": 4, "deep": [{"content": "q"}, {"content": "a"}]}]
    columns = Columns(text_input="question", text_output="answer").of(rows)
    made = columns.official(rows[0], "1", {})
    assert (made["text_input"], made["text_output"]) == ("Why?", "4")
    columns = Columns(text_input="deep.0.content", text_output="{deep.-1.content}").of(rows)
    made = columns.official(rows[0], "1", {})
    assert (made["text_input"], made["text_output"]) == ("q", "a")
    with pytest.raises(ValueError, match="no column question"):
        Columns(text_input="question").of(rows).official({"answer": 1}, "2", {})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"text_input": "quesiton"}, "text_input=quesiton would be the same .*did you mean question"),
        ({"text_input": "What is it?"}, "text_input=What is it. would be the same text for every row"),
        ({"text_output": "The cat."}, "text_output=The cat. would be the same"),
        ({"text_output": r"\boxed{{A}}"}, "would be the same"),
    ],
)
def test_a_text_that_would_be_the_same_for_every_row_is_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Columns(**options).of([{"question": "q", "answer": "a"}])


def test_one_question_may_be_asked_of_all_images():
    columns = Columns(text_input="What is it?", image_input="{image}", text_output="{answer}").of(
        [{"image": "i", "answer": "a"}]
    )
    assert columns.official({"image": "a.png", "answer": "cat"}, "1", {}) == {
        "text_input": "What is it?",
        "image_input": ["a.png"],
        "text_output": "cat",
    }


def test_every_column_may_be_named_with_braces_too():
    columns = Columns(text_input="{lettered}", text_output="{letter}", choices="{c}", right="{r}", group="{g}")
    row = {"c": ["left", "up"], "r": "up", "g": "easy"}
    assert columns.ask(row, range)["letter"] == "B"
    assert columns.group_of(row) == "easy"


def test_a_file_without_its_answers_is_asked_all_the_same():
    columns = Columns(text_input="{q}\n{lettered}", text_output="{letter}", choices="c", right="gold")
    row = {"q": "Which?", "c": ["left", "up"]}
    held = columns.of([row])
    assert held.withheld == "gold"
    assert held.official(row, "1", held.ask(row, range)) == {
        "text_input": "Which?\n(A) left\n(B) up",
        "image_input": [],
    }
    typo = columns.of([row | {"golds": "up"}])
    with pytest.raises(ValueError, match="no column gold"):
        typo.ask(row | {"golds": "up"}, range)
    nobody = columns.of([row | {"gold": "up"}])
    assert nobody.ask(row | {"gold": None}, range)["letter"] is None


def test_an_empty_cell_is_null_however_a_table_writes_it():
    row = {"q": "Why?", "answer": float("nan"), "image": "", "list": ["a.png", None, ""], "right": " "}
    assert fill("{answer}", row) is None
    assert Columns(text_input="{q}", text_output="{answer}", image_input="image").official(row, "1", {}) == {
        "text_input": "Why?",
        "image_input": [],
    }
    assert find_images("list", row) == ["a.png"]
    asked = Columns(choices="choices", right="right").ask({**row, "choices": ["x", "y"]}, range)
    assert asked == {"lettered": "(A) x\n(B) y", "letter": None}


def test_numbers_of_tables_and_images_of_any_form_are_read():
    assert fill("{n}", {"n": Decimal("1.50")}) == "1.50"
    row = {"image": [{"bytes": None, "path": "a.png"}, {"url": "b.png"}, {"bytes": b"png"}]}
    assert find_images("image", row) == ["a.png", "b.png", InlineImage(b"png")]


def test_a_row_without_a_question_is_told_which_key_says_where_it_is():
    with pytest.raises(ValueError, match="no text_input; the row has ask, reply; say .*task.columns.text_input"):
        Columns().official({"ask": "Why?", "reply": "So."}, "1", {})
    with pytest.raises(ValueError, match="the question is null, as task.columns.text_input={ask} is; fill it"):
        Columns(text_input="{ask}").official({"ask": None}, "1", {})


@pytest.mark.parametrize(
    ("choices", "read"),
    [
        (["x", "y", None, None], ["x", "y"]),
        ({"A": "x", "B": "y", "C": None}, ["x", "y"]),
        (["x", None, "y"], "choice 2 must be text or a number, got None"),
        (["x", " "], "choice 2 must be text or a number, got ' '"),
        ([{"text": "x"}, {"text": "y"}], "choice 1 must be text or a number, got {'text': 'x'}"),
        (["x", "x "], "are equal"),
        ({"a": "x", "b": "y"}, "must be a list of 2 to 26"),
    ],
)
def test_choices_are_texts_whatever_a_table_puts_beside_them(choices, read):
    if isinstance(read, list):
        assert list_choices(choices) == read
    else:
        with pytest.raises(ValueError, match=read):
            list_choices(choices)


def test_an_index_as_text_is_told_how_to_be_read():
    with pytest.raises(ValueError, match="'1' is not among .*if it is an index, task.columns.right_is=index"):
        find_right("1", ["x", "y"])


@pytest.mark.parametrize(
    ("text", "stem", "choices"),
    [
        ("Is it?\n(A) yes\n(B) no", "Is it?", ["yes", "no"]),
        ("Is it?\nA. yes\nB. no\nC. (both)\nAnswer with a letter.", "Is it?", ["yes", "no", "(both)"]),
        ("Is it? (A) yes (B) no\nAnswer with a letter.", "Is it?", ["yes", "no"]),
        ("(a) Open (b) Closed", "", ["Open", "Closed"]),
        ("Is (a) or (b) it?\n(A) yes\n(B) no", "Is (a) or (b) it?", ["yes", "no"]),
        ("Of (A) and that: (A) one two (B) (three)", "Of (A) and that:", ["one two", "(three)"]),
        ("Two\nlines?\n(A) 1\n(B) 2", "Two\nlines?", ["1", "2"]),
        ("Is it? (B) yes (A) no", "Is it? (B) yes (A) no", []),
        ("(A) alone", "(A) alone", []),
        ("", "", []),
    ],
)
def test_a_text_that_lists_choices_is_split_into_them_and_what_stands_before(text, stem, choices):
    assert split_choices(text) == (stem, choices)


def test_choices_are_a_column_a_text_or_a_column_each():
    row = {"list": ["x", "y"], "text": "Which? (a) x (b) y", "A": "x", "B": "y", "C": "", "D": None, "r": "b"}
    for given in ("list", "{list}", "text", ["A", "B"], ["A", "B", "C", "D"]):
        columns = Columns(text_input="{lettered}", choices=given, right="r", right_is="letter")
        assert columns.ask(row, range)["lettered"] == "(A) x\n(B) y", given
        assert columns.ask(row, range)["letter"] == "B"
    asked = Columns(text_input="{stem}", choices="text", right="r").ask(row, range)
    assert asked["stem"] == "Which?"
    for gap in ("", " ", None):
        with pytest.raises(ValueError, match="choice 2 must be text or a number, got None"):
            Columns(text_input="{lettered}", choices=["A", "B", "C"], right="r").ask(row | {"B": gap, "C": "z"}, range)
    assert Columns(text_input="q", choices=["A", "B"], right="r").ask({"A": 0, "B": 1, "r": 0}, range)["letter"] == "A"


def test_an_order_that_the_question_does_not_show_is_refused():
    columns = Columns(text_input="{q}", choices="c", right="r")
    row = {"q": "left or right?", "c": ["left", "right"], "r": "left"}
    assert columns.ask(row, range)["letter"] == "A"
    with pytest.raises(ValueError, match="another order .* write {lettered} in it, or set task.shuffle=false"):
        columns.ask(row, lambda count: [1, 0])


def test_what_is_erased_goes_from_both_texts_and_their_markers_become_ours():
    columns = Columns(
        text_input="{q}", text_output="{a}", image_output="h", latent_marker="<lvr>", erase="</?t>| Box\\?"
    )
    made = columns.official({"q": "Why? Box?", "a": "<t>See <lvr>.</t> So <lvr>.", "h": ["1.png", "2.png"]}, "1", {})
    assert (made["text_input"], made["text_output"]) == ("Why?", "See <output_image>. So <output_image>.")
    assert columns.official({"q": "?", "a": "So.", "h": ["1.png"]}, "1", {})["text_output"] == "So."
    with pytest.raises(ValueError, match=r"the answer has 1 <lvr> for 2 helper image\(s\)"):
        columns.official({"q": "?", "a": "<lvr>", "h": ["1.png", "2.png"]}, "1", {})
    for option, complaint in {"erase": "(", "box_unit": "inch"}.items():
        with pytest.raises(ValueError, match=f"task.columns.{option}="):
            Columns(**{option: complaint})
