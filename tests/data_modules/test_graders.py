from fractions import Fraction

import pytest

from data_modules.rows.answers import boxed, undressed
from data_modules.rows.graders import find_grader
from data_modules.rows.mathematics import equal
from data_modules.rows.numbers import Number, read_number
from data_modules.samples import Sample, Text
from data_modules.scores import Scores

MAZE = [[1, 0], [-1, 2]]
PLAN = "data_modules.vsp.planning.grade_plan"
LISTED = "Which?\n(A) right\n(B) left\n(C) vitamin C\n(D) cat\n(E) none"


def row(answer, question="q", **meta):
    return Sample("rows:1", (Text(question),), (Text(answer),) if answer else (), meta)


def graded(grader, truth, text, question="q"):
    grade = find_grader(grader)(row(truth, question), text)
    assert grade.values["success"] == (grade.outcome == "success")
    return grade.outcome


def check(grader, truth, forms, question="q"):
    """Grade every form, and name those whose outcome is another one than expected."""
    outcomes = {(outcome, text): graded(grader, truth, text, question) for outcome, text in forms}
    assert {form: outcome for form, outcome in outcomes.items() if outcome != form[0]} == {}


@pytest.mark.parametrize(
    ("text", "held"),
    [
        (r"\boxed{a}", "a"),
        (r"\boxed{a} then \boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\}}", r"\}"),
        (r"\boxed {a}", "a"),
        (r"\boxed B", "B"),
        (r"\boxed{}", None),
        (r"\boxed{a", None),
        (r"\boxed{a} then \boxed{b", None),
        (r"\boxed{a} then \boxed", None),
        (r"\boxedx{a}", None),
        ("a", None),
        ("", None),
    ],
)
def test_the_last_box_counts_and_a_malformed_one_is_no_answer(text, held):
    assert boxed(text) == held


@pytest.mark.parametrize(
    "text", ["x", r"\text{x}", r"\mathbf{\text{x}}", "**x**", "$x$", r"\(x\)", "`x`", "x.", " x ;", "ｘ"]
)
def test_dress_is_taken_off(text):
    assert undressed(text) == "x"


def test_what_means_something_else_stays():
    assert [undressed(text) for text in ("10²", "1½", "x!", "−5", "a * b * c")] == [
        "10^2",
        "1 1/2",
        "x!",
        "-5",
        "a * b * c",
    ]


BOXED_LETTERS = [
    ("success", r"\boxed{\text{B}}"),
    ("success", r"\boxed{\mathrm{B}}"),
    ("success", r"\boxed{\mathrm B}"),
    ("success", r"\boxed{\mathbf{\text{B}}}"),
    ("success", r"\boxed{\textbf{b}}"),
    ("success", r"\boxed{\textcolor{red}{B}}"),
    ("success", r"\boxed{B.}"),
    ("success", r"\boxed{(B)}"),
    ("success", r"\boxed{\left(B\right)}"),
    ("success", r"\boxed{\{B\}}"),
    ("success", r"\boxed{[B]}"),
    ("success", r"\boxed{B: left}"),
    ("success", r"\boxed{B) left}"),
    ("success", r"\boxed{\text{(B) left}}"),
    ("success", r"\boxed{B \text{ (left)}}"),
    ("success", r"\boxed{B – left}"),
    ("success", r"\boxed{B left}"),
    ("success", r"\boxed{left}"),
    ("success", r"\boxed{\text{Left.}}"),
    ("success", r"\boxed{Option B}"),
    ("success", r"\boxed{Answer: B}"),
    ("success", r"\boxed{Ｂ}"),
    ("success", r"\boxed{ⓑ}"),
    ("success", r"\boxed{$B$}"),
    ("success", r"\boxed{**B**}"),
    ("success", "\\boxed{\nB\n}"),
    ("success", r"\boxed{\boxed{B}}"),
    ("success", r"\boxed{A} no, so \boxed{\text{B}}"),
    ("success", r"**\boxed{B}**."),
    ("wrong", r"\boxed{A}"),
    ("wrong", r"\boxed{right}"),
    ("wrong", r"\boxed{C: vitamin C}"),
    ("wrong", r"\boxed{vitamin C}"),
    ("wrong", r"\boxed{B} or rather \boxed{A}"),
    ("invalid", r"\boxed{B: right}"),
    ("invalid", r"\boxed{B right}"),
    ("invalid", r"\boxed{B} wait, it is none of them: \boxed{none of them}"),
    ("invalid", r"\boxed{B} then \boxed{C"),
    ("invalid", r"\boxed{B"),
    ("invalid", r"\boxed{}"),
    ("invalid", r"\boxed{A, B}"),
    ("invalid", r"\boxed{A and B}"),
    ("invalid", r"\boxed{(A), (B)}"),
    ("invalid", r"\boxed{B) and (C)}"),
    ("invalid", r"\boxed{AB}"),
    ("invalid", r"\boxed{not B}"),
    ("invalid", r"\boxed{a dog}"),
    ("invalid", "B"),
    ("invalid", "The answer is B"),
]


def test_a_boxed_letter_in_every_form():
    check("choice", r"\boxed{B}", BOXED_LETTERS, LISTED)


PLAIN_LETTERS = [
    ("success", r"so \boxed{B}"),
    ("success", "B"),
    ("success", "b"),
    ("success", "**B**"),
    ("success", "(B)"),
    ("success", "Ｂ"),
    ("success", "B) left"),
    ("success", "Left."),
    ("success", "The answer is B"),
    ("success", "The answer is **B**."),
    ("success", "**Answer:** B\n"),
    ("success", "Answer：B"),
    ("success", "The correct option is (B) left."),
    ("success", "The answer is B because it is so."),
    ("success", "The answer is B, not option A."),
    ("success", "The answer is A. Wait, the answer is B."),
    ("success", "I think it is A.\nNo.\n**B) left**"),
    ("success", "B\n\nBecause it is left."),
    ("wrong", "The answer is A"),
    ("wrong", r"The answer is B \boxed{C}"),
    ("invalid", "The answer is not B"),
    ("invalid", "The answer is A or B"),
    ("invalid", "The answer is a bird"),
    ("invalid", "A bird"),
    ("invalid", r"B \boxed{"),
    ("invalid", ""),
]


@pytest.mark.parametrize("truth", ["B", "(B)", "The answer is B.", "B: left", "left"])
def test_a_letter_without_a_box_counts_where_the_rows_own_has_none(truth):
    check("choice", truth, PLAIN_LETTERS, LISTED)


EXACT = {
    r"so \boxed{The Cat}": [
        ("success", r"I say \boxed{the  cat}"),
        ("success", r"\boxed{\text{The cat.}}"),
        ("success", r"\boxed{dog} no \boxed{ｔｈｅ cat}"),
        ("wrong", r"\boxed{the dog}"),
        ("wrong", r"\boxed{the cat} no \boxed{dog}"),
        ("invalid", r"\boxed{the cat} no \boxed{dog"),
        ("invalid", "the cat"),
    ],
    r"\boxed{yes}": [("success", r"\boxed{\text{Yes}}"), ("wrong", r"\boxed{no}")],
    "B": [
        ("success", r"\boxed{B}"),
        ("success", "The answer is B."),
        ("wrong", r"\boxed{A}"),
        ("invalid", r"\boxed{B"),
    ],
    "the cat": [("success", " The cat\n"), ("wrong", "the cat!"), ("wrong", "the cat and the dog"), ("invalid", " ")],
    "so.The final answer is: 70°": [
        ("success", "Hm.\nFinal answer:  70° \n"),
        ("success", r"The final answer is: 20°, no: \boxed{70°}"),
        ("wrong", "The final answer is: 70° or 20°"),
        ("invalid", "70°"),
    ],
    "10²": [("success", "10^2"), ("wrong", "102")],
    "1½": [("success", "1 1/2"), ("wrong", "11/2")],
    "-5": [("success", "−5"), ("wrong", "5")],
    "a" * 5000: [("wrong", "a" * 5001), ("success", "A" * 5000)],
}


@pytest.mark.parametrize("truth", EXACT)
def test_final_answers_are_compared_without_their_dress(truth):
    check("exact", truth, EXACT[truth])


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("3", 3, ""),
        ("-1,250.50", Fraction("-1250.5"), ""),
        ("−5", -5, ""),
        ("–5", -5, ""),
        ("- 5", -5, ""),
        ("minus 5", -5, ""),
        ("(5)", 5, ""),
        ("007", 7, ""),
        ("7.", 7, ""),
        (".5 cm", Fraction(1, 2), "cm"),
        ("1/2", Fraction(1, 2), ""),
        (r"-\frac{1}{2}", Fraction(-1, 2), ""),
        (r"\frac{-1}{2}", Fraction(-1, 2), ""),
        (r"\dfrac12", Fraction(1, 2), ""),
        ("½", Fraction(1, 2), ""),
        ("1½", Fraction(3, 2), ""),
        ("2 1/2", Fraction(5, 2), ""),
        (r"2\frac{1}{2}", Fraction(5, 2), ""),
        ("1 000 000", 10**6, ""),
        ("1{,}000", 1000, ""),
        (r"1\,000", 1000, ""),
        ("1.5e3", 1500, ""),
        (r"1.5 \times 10^{3}", 1500, ""),
        ("3×10⁻⁴", Fraction(3, 10**4), ""),
        ("50%", 50, "%"),
        (r"50\%", 50, "%"),
        ("50 percent", 50, "%"),
        ("$1,000.50", Fraction("1000.5"), "$"),
        ("5 dollars", 5, "$"),
        ("5 million", 5 * 10**6, ""),
        ("5 centimeters", 5, "cm"),
        (r"5\text{ km/h}", 5, "km/h"),
        (r"90^\circ", 90, "°"),
        ("7 red apples", 7, ""),
        ("about 5", 5, ""),
        ("x = 5", 5, ""),
        (r"\text{5}", 5, ""),
        ("５", 5, ""),
    ],
)
def test_a_number_is_read_as_it_is_written(text, value, unit):
    number = read_number(text)
    assert (number.value, number.unit) == (value, unit)


NO_NUMBERS = [
    "",
    "x",
    "1 or 2",
    "1/0",
    "1e999999999",
    "9" * 100,
    "(1,2)",
    "(1,000)",
    "1,2",
    "12,34",
    "3-5",
    "3–5",
    "5x",
]
NO_NUMBERS += [
    r"5\pi",
    "5 pi",
    "3:30",
    "10²",
    "5!",
    r"\pm 3",
    "1/2/3",
    "2024-01-02",
    "1.2.3",
    "--5",
    r"\frac{1}{0}",
    "5 xy",
]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_not_one_number_is_none(text):
    assert read_number(text) is None


def test_units_and_names_may_be_left_out_but_not_changed():
    five, percent = Number(Fraction(5), "", ""), Number(Fraction(50), "%", "")
    assert five.same(Number(Fraction(5), "cm", ""))
    assert Number(Fraction(5), "", "x").same(five)
    assert not Number(Fraction(5), "cm", "").same(Number(Fraction(5), "m", ""))
    assert not Number(Fraction(5), "", "x").same(Number(Fraction(5), "", "y"))
    assert percent.same(Number(Fraction(1, 2), "", ""))
    assert percent.same(Number(Fraction(50), "", ""))
    assert Number(Fraction(50), "", "").same(percent)
    assert not Number(Fraction(1, 2), "", "").same(Number(Fraction(1, 2), "%", ""))


NUMBERS = {
    r"\boxed{5}": [
        ("success", r"\boxed{5.0}"),
        ("success", r"\boxed{x = 5}"),
        ("success", r"\boxed{3} no \boxed{10/2}"),
        ("wrong", r"\boxed{-5}"),
        ("wrong", r"\boxed{−5}"),
        ("wrong", r"\boxed{50}"),
        ("wrong", r"\boxed{5 million}"),
        ("invalid", r"\boxed{5} or \boxed{five"),
        ("invalid", "5"),
    ],
    r"\boxed{12}": [("wrong", r"\boxed{1/2}"), ("wrong", r"\boxed{\frac{1}{2}}")],
    r"\boxed{30}": [("wrong", r"\boxed{3.0}")],
    r"\boxed{1/3}": [("wrong", r"\boxed{0.33}")],
    "5": [("success", "5"), ("success", r"\boxed{5}"), ("success", "I get 3.\nThe answer is 5 cm."), ("wrong", "6")],
}


@pytest.mark.parametrize("grader", ["boxed_number", "math"])
@pytest.mark.parametrize("truth", NUMBERS)
def test_numbers_are_compared_by_value(grader, truth):
    check(grader, truth, NUMBERS[truth])


MATHEMATICS = {
    r"\boxed{(1,2)}": [
        ("success", r"\boxed{(1, 2)}"),
        ("success", r"\boxed{\left(1, 2\right)}"),
        ("wrong", r"\boxed{(2,1)}"),
        ("wrong", r"\boxed{12}"),
        ("wrong", r"\boxed{[1,2]}"),
    ],
    r"\boxed{12}": [("wrong", r"\boxed{(1,2)}"), ("wrong", r"\boxed{1,2}")],
    r"\boxed{[1,2)}": [("success", r"\boxed{[1, 2)}"), ("wrong", r"\boxed{(1,2)}"), ("wrong", r"\boxed{[1,2]}")],
    r"\boxed{\{1,2\}}": [("success", r"\boxed{\{2, 1\}}"), ("wrong", r"\boxed{\{1,3\}}")],
    r"\boxed{\sqrt{8}}": [("success", r"\boxed{2\sqrt{2}}"), ("wrong", r"\boxed{2}")],
    r"\boxed{x^2+2x+1}": [("success", r"\boxed{(x+1)^2}"), ("wrong", r"\boxed{(x-1)^2}")],
    r"\boxed{x > 5}": [("success", r"\boxed{x>5}"), ("wrong", r"\boxed{x<5}")],
    r"\boxed{100}": [("success", r"\boxed{10^2}"), ("success", r"\boxed{10²}")],
    r"\boxed{102}": [("wrong", r"\boxed{10²}")],
    r"\boxed{cat}": [("success", r"\boxed{\text{Cat}}"), ("wrong", r"\boxed{act}")],
    "(1,2)": [("success", r"\boxed{(1,2)}"), ("success", "The answer is (1, 2).")],
}


@pytest.mark.parametrize("truth", MATHEMATICS)
def test_mathematical_answers_are_compared_by_meaning(truth):
    check("math", truth, MATHEMATICS[truth])


def test_what_would_run_for_ever_or_run_code_is_an_answer_that_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr("data_modules.rows.mathematics.SECONDS", 1)
    assert equal("5", "10^{10^{10^{10}}}") is None
    assert equal("5", f"__import__('os').mkdir('{tmp_path}/new')") is not True
    assert equal("5", "(" * 10_000) is None
    assert not (tmp_path / "new").exists()
    assert equal("x+1", "1+x") is True, "the next one is read"


def test_vsps_plans_are_walked():
    grader = find_grader(PLAN)
    sample = row("", map_desc=MAZE)
    assert [grader(sample, text).outcome for text in (r"\boxed{R, D}", r"\boxed{D, R}", "R")] == [
        "success",
        "hole",
        "invalid",
    ]


@pytest.mark.parametrize("grader", ["exact", "choice", "boxed_number", "math", PLAN])
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
