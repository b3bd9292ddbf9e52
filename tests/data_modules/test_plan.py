import json
import re

import pytest

from data_modules.rows.jsonl import load_samples, problems
from data_modules.rows.plan import read_plan
from data_modules.samples import Latent, Picture, Text


def write(folder, *rows):
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def row(*plan):
    return {"text_input": "q", "image_input": "images/a.png", "sequence_plan": list(plan)}


def text(content):
    return {"type": "text", "content": content}


def latent(path="images/b.png", **size):
    return {"type": "latent", "helper_image": path, **size}


def test_blocks_keep_their_order_and_their_sizes(folder):
    plan = [text("one"), latent(latent_size=2), text("two"), latent("images/c.png"), text("three")]
    sample = load_samples(write(folder, row(*plan)))[0]
    b, c = Latent(folder / "images/b.png", 2), Latent(folder / "images/c.png", None)
    assert sample.question == (Picture(folder / "images/a.png"), Text("q"))
    assert sample.answer == (Text("one"), b, Text("two"), c, Text("three"))
    assert sample.answer_text == "onetwothree"


@pytest.mark.parametrize(
    ("plan", "kinds"),
    [
        ([latent(), text("x")], [Latent, Text]),
        ([text("x"), latent()], [Text, Latent]),
        ([latent(), latent()], [Latent, Latent]),
        ([latent()], [Latent]),
        ([text("x")], [Text]),
    ],
)
def test_blocks_may_stand_anywhere(folder, plan, kinds):
    sample = load_samples(write(folder, row(*plan)))[0]
    assert [type(part) for part in sample.answer] == kinds


def test_adjacent_texts_become_one_and_empty_texts_vanish(folder):
    plan = [text(""), text("a "), text(""), text("b"), latent(), text(""), latent(), text("c"), text("")]
    sample = load_samples(write(folder, row(*plan)))[0]
    helper = Latent(folder / "images/b.png")
    assert sample.answer == (Text("a b"), helper, helper, Text("c"))


@pytest.mark.parametrize(
    ("answer", "helpers", "plan"),
    [
        ("<output_image>x", "images/b.png", [latent(), text("x")]),
        ("x", "images/b.png", [latent(), text("x")]),
        ("x", [], [text("x")]),
        (
            "x<output_image>y<output_image>",
            ["images/b.png", "images/c.png"],
            [text("x"), latent(), text("y"), latent("images/c.png")],
        ),
    ],
)
def test_an_official_row_and_its_plan_are_the_same_sample(folder, answer, helpers, plan):
    planned = row(*plan)
    official = {key: planned[key] for key in ("text_input", "image_input")}
    official |= {"text_output": answer, "image_output": helpers}
    one, other = load_samples(write(folder, official, planned))
    assert (one.question, one.answer) == (other.question, other.answer)


def test_helper_images_are_found_by_the_rule_for_all_images(folder):
    sample = load_samples(write(folder, row(latent("./data/comt/images/c.png"))))[0]
    assert sample.answer == (Latent(folder / "images/c.png"),)


def test_null_is_the_same_as_a_key_left_out():
    padded = [
        {"type": "text", "content": "x", "helper_image": None, "latent_size": None},
        {"type": "latent", "content": None, "helper_image": "b.png", "latent_size": None},
    ]
    assert read_plan(padded, "#") == read_plan([text("x"), latent("b.png")], "#") == ["x", ("b.png", None)]


BAD_ITEMS = [
    ("x", "an item must be a JSON object, got str"),
    ({"content": "x"}, 'type must be "text" or "latent", got None'),
    ({"type": "image", "content": "x"}, 'type must be "text" or "latent", got \'image\''),
    ({"type": ["text"], "content": "x"}, 'type must be "text" or "latent", got [\'text\']'),
    ({"type": "text"}, "a text item needs content, a string; got none"),
    (text(3), "a text item needs content, a string; got int"),
    (text("a <output_image> b"), "content holds <output_image>"),
    ({"type": "latent"}, "a latent item needs helper_image, a string; got none"),
    (latent(["images/b.png"]), "a latent item needs helper_image, a string; got list"),
    (latent(""), "helper_image is empty"),
    (latent(latent_size="4"), "latent_size must be an integer, got '4'"),
    (latent(latent_size=4.0), "latent_size must be an integer, got 4.0"),
    (latent(latent_size=True), "latent_size must be an integer, got True"),
    (latent(latent_size=0), "a block with latent_size 0 has no latents; give 1 or more, or leave the item out"),
    (latent(latent_size=-1), "a block with latent_size -1 has no latents; give 1 or more, or leave the item out"),
    (latent(latent_sise=4), "unknown key(s) ['latent_sise']"),
    (text("x") | {"latent_size": 4}, "unknown key(s) ['latent_size']; a text item knows ['content', 'type']"),
]


@pytest.mark.parametrize(("item", "complaint"), BAD_ITEMS)
def test_a_bad_item_is_named_by_file_line_and_number(folder, item, complaint):
    file = write(folder, row(text("fine")), row(text("fine"), latent(), item))
    with pytest.raises(ValueError, match=f"rows.jsonl:2: sequence_plan item 3: {re.escape(complaint)}") as error:
        load_samples(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"sequence_plan": "x"}, "sequence_plan must be a list of items, got str"),
        ({"sequence_plan": None}, "sequence_plan must be a list of items, got NoneType"),
        ({"sequence_plan": []}, "sequence_plan is empty"),
        ({"sequence_plan": [text(""), text("")]}, "sequence_plan is empty"),
        ({"text_output": "x"}, "sequence_plan and ['text_output'] both give the answer"),
        ({"image_output": "images/b.png"}, "sequence_plan and ['image_output'] both give the answer"),
    ],
)
def test_a_bad_plan_is_named_by_file_and_line(folder, changes, complaint):
    file = write(folder, row(text("fine")), row(text("fine")) | changes)
    with pytest.raises(ValueError, match=f"rows.jsonl:2: {re.escape(complaint)}") as error:
        load_samples(file)
    assert "\n" not in str(error.value)


def test_a_marker_that_is_cut_between_two_items_is_text(folder):
    sample = load_samples(write(folder, row(text("<output_"), text("image>"), latent())))[0]
    assert [part.text for part in sample.answer if isinstance(part, Text)] == ["<output_image>"]


def test_validation_lists_every_helper_image_of_a_plan_that_cannot_be_opened(folder):
    (folder / "images/c.png").write_bytes(b"not a picture")
    plan = [latent(), text("x"), latent("images/none.png"), latent("images/c.png")]
    missing, broken = problems(write(folder, row(latent()), row(*plan)))
    assert re.search("rows.jsonl:2: image .*images/none.png does not exist", missing)
    assert re.search("rows.jsonl:2: image .*images/c.png cannot be read", broken)
