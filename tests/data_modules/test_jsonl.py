import json
import os
import re
from base64 import encodebytes
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from data_modules.files.inline import InlineImage
from data_modules.rows.jsonl import load_samples, locate, problems
from data_modules.samples import Latent, Picture, Text


def write(folder, *rows):
    file = folder / "rows.jsonl"
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def row(**changes):
    base = {"text_input": "q", "image_input": "images/a.png", "text_output": "x", "image_output": "images/b.png"}
    return base | changes


def test_markers_say_where_images_and_latents_go(folder):
    text = "<think>a</think><output_image>b"
    sample = load_samples(write(folder, row(text_input="one <image> two", text_output=text)))[0]
    picture, helper = Picture(folder / "images/a.png"), Latent(folder / "images/b.png")
    assert sample.question == (Text("one "), picture, Text(" two"))
    assert sample.answer == (Text("<think>a</think>"), helper, Text("b"))
    assert sample.answer_text == "<think>a</think>b"


def test_without_markers_images_and_latents_come_first(folder):
    sample = load_samples(write(folder, row(image_input=["images/a.png", "images/c.png"])))[0]
    assert [type(part) for part in sample.question] == [Picture, Picture, Text]
    assert [type(part) for part in sample.answer] == [Latent, Text]


def test_a_row_without_helper_image_is_plain_text(folder):
    assert load_samples(write(folder, row(image_output=None)))[0].answer == (Text("x"),)


def test_relative_paths_are_found_under_the_root_by_their_longest_tail(folder):
    assert locate("./data/examples/images/a.png", folder) == folder / "images/a.png"
    assert locate(str(folder / "images/a.png"), folder / "elsewhere") == folder / "images/a.png"
    assert locate("images/none.png", folder) == folder / "images/none.png"
    assert locate("elsewhere/../images/a.png", folder) == folder / "images/a.png"


@pytest.mark.parametrize("path", ["../../../../../../etc/passwd", "images/../../x.png", "..", f"./../{'a/' * 9}x.png"])
def test_a_relative_path_may_not_lead_out_of_the_root_and_an_absolute_one_may(folder, path):
    for bad in (row(image_input=path), row(image_output=[path]), row(image_input=["images/a.png", path])):
        with pytest.raises(
            ValueError, match=f"^{folder}/rows.jsonl:2: image {re.escape(path)} is outside {folder}; .*"
        ):
            load_samples(write(folder, row(), bad))
    assert load_samples(write(folder, row(image_input="/etc/passwd")))[0].question[0].path == Path("/etc/passwd")


def test_what_may_leave_the_root_is_said_by_the_caller(folder):
    (folder / "sub").mkdir()
    inside, up, away = str(folder / "sub/a.png"), "../images/a.png", str(folder / "images/a.png")
    refused = {"none": [up, away], "absolute": [up], "all": []}
    for leave, bad in refused.items():
        for path in (inside, up, away):
            if path in bad:
                with pytest.raises(ValueError, match="is outside"):
                    locate(path, folder / "sub", leave)
            else:
                assert os.path.abspath(locate(path, folder / "sub", leave)) in (inside, away)


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ('{"text_input": "q", "image_in', "broken JSON"),
        ("[1, 2]", "must be a JSON object"),
        ({"text_input": "q"}, "missing key"),
        (row(text_outptu="x"), "unknown key.*text_outptu"),
        (row(text_input="<image><image>"), "2 <image> marker.* for 1 image"),
        (row(text_output="<output_image><output_image>"), "2 <output_image> marker.* for 1 image"),
        (row(image_input=["images/a.png", "images/b.png"], text_input="<image>"), "1 <image> marker.* for 2 image"),
        (row(text_input=3), "text_input must be text"),
        (row(text_input="so \ud83d"), "text has half a character, .* at 3"),
        (row(image_input="images/a.png\n"), "image 'images/a.png.n' is no path"),
        (row(image_input={"a": 1}), "image_input must be a path"),
    ],
)
def test_a_bad_row_names_file_line_and_fault(folder, bad, complaint):
    file = write(folder, row(), bad)
    with pytest.raises(ValueError, match=f"rows.jsonl:2: .*{complaint}"):
        load_samples(file)


def test_an_empty_file_and_a_missing_file_are_refused(folder):
    with pytest.raises(ValueError, match="holds no rows"):
        load_samples(write(folder))
    with pytest.raises(ValueError, match="does not exist"):
        load_samples(folder / "nothing.jsonl")


def test_validation_lists_all_bad_rows_at_once_images_included(folder):
    (folder / "images/c.png").write_bytes(b"not a picture")
    bad = [row(image_input="images/none.png"), "{", row(image_input="images/c.png"), row(), row(text_input=None)]
    found = list(problems(write(folder, *bad)))
    assert [message.split(":")[1] for message in found] == ["1", "2", "3", "5"]
    assert "does not exist" in found[0]
    assert "cannot be read" in found[2]


def test_a_marker_after_a_backslash_is_the_word_itself(folder):
    question, answer = r"What does \<image> in <image> mean? \<image>", r"\<output_image> is<output_image> \\"
    sample = load_samples(write(folder, row(text_input=question, text_output=answer)))[0]
    assert [getattr(part, "text", None) for part in sample.question] == [
        "What does <image> in ",
        None,
        " mean? <image>",
    ]
    assert [getattr(part, "text", None) for part in sample.answer] == ["<output_image> is", None, " \\\\"]
    without = load_samples(write(folder, row(text_input=r"\<image>", image_input=None)))[0]
    assert without.question == (Text("<image>"),)
    first = load_samples(write(folder, row(text_input=r"say \<image>")))[0]  # no marker: pictures come first
    assert [type(part) for part in first.question] == [Picture, Text]
    with pytest.raises(
        ValueError, match=r"1 <image> marker\(s\) for 0 image\(s\).*write \\<image> for the word itself"
    ):
        load_samples(write(folder, row(text_input="<image>", image_input=None)))


def test_in_a_plan_too_a_marker_after_a_backslash_is_the_word_and_other_backslashes_stay(folder):
    latent = {"type": "latent", "helper_image": "images/b.png"}
    plan = [{"type": "text", "content": text} for text in (r"a \<output_image> b", "c\\")]
    sample = load_samples(
        write(folder, {"text_input": "q", "image_input": [], "sequence_plan": [*plan, latent, plan[1]]})
    )[0]
    assert sample.answer == (Text("a <output_image> bc\\"), Latent(folder / "images/b.png"), Text("c\\"))
    bad = {"type": "text", "content": "<output_image>"}
    with pytest.raises(ValueError, match=r"item 1: content holds <output_image>.*write \\<output_image> for the word"):
        load_samples(write(folder, {"text_input": "q", "image_input": [], "sequence_plan": [bad]}))


def test_an_image_may_be_base64_and_an_empty_path_is_none(tmp_path):
    content = BytesIO()
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        Image.new("RGB", (8, 8)).save(content, kind)
        image = locate(encodebytes(content.getvalue()).decode(), tmp_path)
        assert isinstance(image, InlineImage)
        assert image.read_bytes() == content.getvalue()
        content = BytesIO()
    with pytest.raises(ValueError, match="the path of an image is empty; give one, or null"):
        locate(" ", tmp_path)
