from fractions import Fraction

import pytest

from data_modules.rows.graders import boxed, find_grader, number
from data_modules.samples import Sample, Text
from data_modules.scores import Scores

MAZE = [[1, 0], [-1, 2]]
PLAN = "data_modules.vsp.planning.grade_plan"


def row(answer, **meta):
    return Sample("rows:1", (Text("q"),), (Text(answer),) if answer else (), meta)


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (r"\boxed{a}", "a"),
        (r"\boxed{a} then \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{}", ""),
        (r"\boxed{a", None),
        ("a", None),
        ("", None),
    ],
)
def test_the_last_box_counts_braces_within_included(text, held):
    assert boxed(text) == held


@pytest.mark.parametrize(
    ("held", "value"),
    [("3", 3), ("-1,250.50", Fraction("-1250.5")), ("1/2", Fraction(1, 2)), (".5 cm", Fraction(1, 2)), ("7.", 7)]
    + [(bad, None) for bad in ("", "x", "1 or 2", "1/0", "1e999999999", "9" * 100)],
)
def test_a_boxed_number_is_read_as_it_is_written_and_several_are_none(held, value):
    assert number(f"\\boxed{{{held}}}") == value


@pytest.mark.parametrize(
    ("grader", "sample", "text", "outcome"),
    [
        ("exact", row(r"so \boxed{The Cat}"), r"I say \boxed{the  cat}", "success"),
        ("exact", row(r"so \boxed{The Cat}"), r"\boxed{the dog}", "wrong"),
        ("exact", row(r"so \boxed{The Cat}"), "the cat", "invalid"),
        ("exact", row("the cat"), " The cat\n", "success"),
        ("exact", row("the cat"), "the cat!", "wrong"),
        ("exact", row("so.The final answer is: 70°"), "Hm.\nFinal answer:  70° \n", "success"),
        ("exact", row("so.The final answer is: 70°"), r"The final answer is: 20°, no: \boxed{70°}", "success"),
        ("exact", row("so.The final answer is: 70°"), "The final answer is: 70° or 20°", "wrong"),
        ("exact", row("so.The final answer is: 70°"), "70°", "invalid"),
        ("choice", row(r"\boxed{(B)}"), r"\boxed{b}", "success"),
        ("choice", row(r"\boxed{B}"), r"\boxed{A}", "wrong"),
        ("choice", row(r"\boxed{B}"), "B", "invalid"),
        ("boxed_number", row(r"\boxed{0.50}"), r"\boxed{1/2}", "success"),
        ("boxed_number", row(r"\boxed{5}"), r"\boxed{6}", "wrong"),
        ("boxed_number", row(r"\boxed{5}"), "5", "invalid"),
        (PLAN, row("", map_desc=MAZE), r"\boxed{R, D}", "success"),
        (PLAN, row("", map_desc=MAZE), r"\boxed{D, R}", "hole"),
        (PLAN, row("", map_desc=MAZE), "R", "invalid"),
    ],
)
def test_graders_by_hand(grader, sample, text, outcome):
    grade = find_grader(grader)(sample, text)
    assert (grade.outcome, grade.values["success"]) == (outcome, outcome == "success")


@pytest.mark.parametrize("grader", ["exact", "choice", "boxed_number", PLAN])
def test_a_row_that_gives_nothing_to_grade_against_is_refused(grader):
    for answer in ("", " "):
        with pytest.raises(ValueError, match="nothing to grade against|map_desc must be"):
            find_grader(grader)(row(answer), r"\boxed{A}")


def generous(sample, text):
    return Scores({"success": True}, "success", "mine")


def test_a_dotted_path_names_a_function_of_ones_own_and_what_is_none_is_one_line():
    assert find_grader(f"{__name__}.generous") is generous
    for name in ("exakt", "no.such.module", f"{__name__}.nothing", f"{__name__}.MAZE", "..up"):
        with pytest.raises(ValueError, match=f"^task.grader={name} .*choose one of exact, choice, .*dotted path"):
            find_grader(name)
