import pytest

from data_modules.rows.choices import find_right, lettered
from data_modules.rows.columns import Columns, fill, look_up

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


@pytest.mark.parametrize("right", ["up", "(B)", "b", "B.", 1])
def test_the_right_choice_is_itself_its_letter_or_its_index(right):
    assert find_right(right, ["left", "up", "A"]) == 1


@pytest.mark.parametrize(
    ("right", "choices", "complaint"),
    [
        ("down", ["left", "up"], "'down' is not among the choices"),
        ("(C)", ["left", "up"], "not among"),
        (2, ["left", "up"], "not among"),
        (-1, ["left", "up"], "not among"),
        (True, ["left", "up"], "not among"),
        (None, ["left", "up"], "not among"),
        ("left", ["left"], "must be a list of 2 to 26"),
        ("left", "left", "must be a list"),
        ("left", ["left", "left"], "are equal"),
    ],
)
def test_a_right_choice_that_is_none_of_them_is_refused(right, choices, complaint):
    with pytest.raises(ValueError, match=complaint):
        find_right(right, choices)


def test_a_choice_that_looks_like_a_letter_is_itself_first():
    assert find_right("A", ["B", "A"]) == 1
