import logging

import pytest

from data_modules.files.packed import TEXT_LIMIT
from data_modules.rows.rows import Rows
from data_modules.scores import Scores
from mirage_pl.engine.datasets import description as data_verb
from tests.conftest import compose
from tests.data_modules.source_files import PLAIN, blink, cell, jsonl, parquet, picture, plain, sat, task

BAD = {
    "no text": ({"q": None}, "the question is null, as task.columns.text_input=.* fill it"),
    "no such column": ({"a": {"b": 1}}, "column a must be text or a number, got dict"),
    "no image": ({"image": "images/none.png"}, "image .*none.png does not exist"),
    "impossible name": ({"image": "x" * 300}, "cannot be read .File name too long"),
    "endless name": ({"image": "x" * 1_000_000}, "image 'x{199} is no path"),
    "escape": ({"image": "../../../../../../../../etc/passwd"}, "image .*/etc/passwd is outside .*task.outside"),
    "absolute": ({"image": "/etc/passwd"}, "image /etc/passwd is outside"),
    "markers": ({"q": "<image><image>"}, "2 <image> marker.* for 1 image"),
    "helpers": (
        {"helper": ["images/1.png", "images/2.png"], "a": "<output_image>so"},
        "1 <output_image> marker.* for 2 image.*one marker for each image",
    ),
    "no image file": ({"image": "rows.jsonl"}, "image .*rows.jsonl cannot be read"),
    "too long": ({"q": "x" * (TEXT_LIMIT + 1)}, "[0-9]+ bytes of text, more than 16777216"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_names_file_and_line(pictured, bad):
    changes, complaint = BAD[bad]
    rows = [plain(number, helper=None) for number in range(3)]
    file = jsonl(pictured / "rows.jsonl", [rows[0], rows[1] | changes, rows[2]])
    columns = PLAIN | {"image_output": "helper"}
    with pytest.raises(ValueError, match=f"^{file}:2: .*{complaint}") as caught:
        Rows(columns).read(file)
    assert len(str(caught.value)) < 3000
    kept = Rows(columns, on_bad_row="skip", max_bad_share=0.5).read(file)
    assert [sample.where for sample in kept] == [f"{file}:1", f"{file}:3"]


def test_a_text_too_long_in_parquet_names_its_row(tmp_path):
    rows = [plain(number, q="x" * size, image=cell(number)) for number, size in enumerate((9, TEXT_LIMIT, 9))]
    file = parquet(tmp_path / "rows.parquet", rows)
    with pytest.raises(ValueError, match=f"^{file}:row 1: [0-9]+ bytes of text, more than {TEXT_LIMIT}"):
        Rows(PLAIN).read(file)
    assert len(Rows(PLAIN, on_bad_row="skip", max_bad_share=0.5).read(file)) == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"correct_answer": "behind"}, r"the right answer 'behind' is not among the choices \['left', 'right'\]"),
        ({"answers": ["left"]}, "choices must be a list of 2 to 26"),
        ({"answers": ["left", "left"]}, "two of the choices .* are equal"),
    ],
)
def test_an_answer_that_is_none_of_the_choices_names_its_row(tmp_path, changes, complaint):
    file = parquet(tmp_path / "SAT.parquet", [sat(number) | (changes if number == 3 else {}) for number in range(5)])
    with pytest.raises(ValueError, match=f"^{file}:row 3: {complaint}"):
        task("sat").read(file)
    assert len(task("sat", "task.on_bad_row=skip", "task.max_bad_share=0.2").read(file)) == 4


def test_files_without_rows_and_weights_of_nothing_are_refused_by_name(pictured):
    good, empty = jsonl(pictured / "good.jsonl", [plain(0)]), jsonl(pictured / "empty.jsonl", [])
    for files in (empty, [good, empty]):
        with pytest.raises(ValueError, match=f"^{empty} holds no rows; fill it, or leave it out"):
            Rows(PLAIN, on_bad_row="skip").read(files)
    for weight in (0, -1):
        with pytest.raises(ValueError, match=f"^the weight of {good} is {weight}; give a number above 0, or leave"):
            Rows(PLAIN).read([{"file": good, "weight": weight}])


def test_images_may_lie_outside_if_one_says_so(pictured):
    (pictured / "sub").mkdir()
    file = jsonl(
        pictured / "sub/rows.jsonl", [plain(0, image="../images/0.png"), plain(1, image=f"{pictured}/images/1.png")]
    )
    rows = Rows(PLAIN, outside=True).read(file)
    assert [sample.question[0].path.read_bytes() for sample in rows] == [picture(0), picture(1)]


def test_a_row_whose_own_answer_is_graded_wrong_is_refused(pictured):
    file = jsonl(
        pictured / "rows.jsonl", [plain(0, a=r"\boxed{3}"), plain(1, a="three"), plain(2, a=r"\boxed{1 or 2}")]
    )
    with pytest.raises(ValueError, match="rows.jsonl:2: nothing to grade against"):
        Rows(PLAIN, "boxed_number").read(file)
    with pytest.raises(ValueError, match="rows.jsonl:1: the row's own answer is graded fell"):
        Rows(PLAIN, f"{__name__}.harsh").read(file)
    with pytest.raises(ValueError, match="task.grader returned a float"):
        Rows(PLAIN, f"{__name__}.mistaken").read(file)


def harsh(sample, text):
    return Scores({"success": False}, "fell", "g")


def mistaken(sample, text):
    return 1.0


def test_skipped_rows_are_counted_the_first_logged_and_too_many_are_an_error(pictured, caplog):
    bad = range(1, 40, 3)
    rows = [plain(number % 12, **({"q": None} if number in bad else {})) for number in range(40)]
    file = jsonl(pictured / "rows.jsonl", rows)
    with caplog.at_level(logging.WARNING):
        kept = Rows(PLAIN, on_bad_row="skip", max_bad_share=len(bad) / 40, check_rows=0).read(file)
    assert [sample.where for sample in kept] == [f"{file}:{number + 1}" for number in range(40) if number not in bad]
    assert [f"rows.jsonl:{number + 1}:" in record.message for number, record in zip(bad, caplog.records, strict=False)][
        :10
    ] == [True] * 10
    assert caplog.records[10].message == f"skipped 13 of 40 rows of {file}"
    assert len(caplog.records) == 11
    with pytest.raises(ValueError, match="13 of 40 rows of .*rows.jsonl are bad, more than task.max_bad_share=0.3"):
        Rows(PLAIN, on_bad_row="skip", max_bad_share=0.3).read(file)
    alone = jsonl(pictured / "bad.jsonl", [plain(0, q=None)])
    with pytest.raises(ValueError, match="1 of 1 rows .* are bad, and none is left"):
        Rows(PLAIN, on_bad_row="skip", max_bad_share=1).read(alone)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"on_bad_row": "drop"}, "task.on_bad_row=drop is unknown; choose error or skip"),
        ({"rotations": 0}, "task.rotations=0 must be 1 or more"),
        ({"on_bad_row": "skip", "max_bad_share": 50}, "task.max_bad_share=50 is no share; give 0 to 1"),
        ({"columns": {"text_input": "nothing"}}, "rows.jsonl: task.columns.text_input=nothing would be the same"),
        ({"grader": "exakt"}, "task.grader=exakt is unknown"),
        ({"columns": {"text_inptu": "a"}}, "task.columns has unknown .*text_inptu"),
    ],
)
def test_options_that_are_none_are_refused(pictured, options, complaint):
    file = jsonl(pictured / "rows.jsonl", [plain(0)])
    with pytest.raises(ValueError, match=complaint):
        Rows(**options).read(file)


def test_every_bad_row_of_a_parquet_file_is_listed(tmp_path, capsys):
    rows = [blink(number) for number in range(5)]
    rows[1]["answer"], rows[3]["image_1"] = "hidden", {"bytes": b"no image", "path": "3.png"}
    good = parquet(tmp_path / "good.parquet", [blink(9)])
    bad = parquet(tmp_path / "bad.parquet", rows)
    options = ["task=blink_jigsaw", "validate=true"]
    data_verb.run(compose("data", *options, f"task.test_file={good}"))
    assert f"no bad rows in: {good}" in capsys.readouterr().out
    with pytest.raises(ValueError, match=f"bad rows: 2 in {bad}"):
        data_verb.run(compose("data", *options, f"task.test_file={bad}"))
    first, second = capsys.readouterr().out.strip().split("\n")
    assert first.startswith(f"{bad}:row 1: the right answer 'hidden' is not among the choices")
    assert second.startswith(f"{bad}:row 3: image {bad}:row 3, image_1 cannot be read")
    data_verb.run(compose("data", "task=blink_jigsaw", f"task.test_file={good}"))
    assert "Jigsaw 1" in capsys.readouterr().out


def test_choices_of_several_lines_tell_questions_apart_and_their_order_does_not(pictured):
    columns = {"text_input": "{q}\n{lettered}", "text_output": "{letter}", "choices": "c", "right": "r"}
    asked = [{"q": "Which?", "c": [f"def\n{one}", "def\nn"], "r": f"def\n{one}"} for one in ("x", "y")]
    file = jsonl(pictured / "choices.jsonl", asked)
    rows = Rows(columns, grader="choice", rotations=2).read(file)
    identities = [rows.identity(rows[index]) for index in range(4)]
    assert identities[0] == identities[1] != identities[2] == identities[3]
