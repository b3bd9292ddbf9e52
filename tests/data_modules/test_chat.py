import json
from base64 import b64encode

import pytest

from data_modules.images import image_size, open_image
from data_modules.rows.chat import read_conversation
from data_modules.rows.columns import Columns
from data_modules.rows.rows import Rows
from data_modules.samples import Latent, Picture, Text
from tests.data_modules.source_files import cell, jsonl, parquet, picture

URL = "data:image/png;base64," + b64encode(picture(7)).decode()


def user(content):
    return {"role": "user", "content": content}


def model(content):
    return {"role": "assistant", "content": content}


SHOWN = [{"type": "text", "text": "Which?"}]

SHAPES = {
    "LLaVA": {
        "id": "1",
        "image": "images/0.png",
        "conversations": [{"from": "human", "value": "<image>\nWhich?"}, {"from": "gpt", "value": "That."}],
    },
    "ShareGPT": {
        "images": ["images/0.png"],
        "conversations": [{"from": "human", "value": "<image>Which?"}, {"from": "gpt", "value": "That."}],
    },
    "OpenAI with a file": {
        "messages": [user([{"type": "image_url", "image_url": {"url": "images/0.png"}}, *SHOWN]), model("That.")]
    },
    "OpenAI with bytes": {
        "messages": [user([{"type": "image_url", "image_url": {"url": URL}}, *SHOWN]), model("That.")]
    },
    "OpenAI's responses": {
        "messages": [
            user([{"type": "input_image", "image_url": URL}, {"type": "input_text", "text": "Which?"}]),
            model([{"type": "output_text", "text": "That."}]),
        ]
    },
    "Qwen2-VL": {"messages": [user([{"type": "image", "image": "file://IMAGES/0.png"}, *SHOWN]), model("That.")]},
    "Qwen-VL": {
        "conversations": [
            {"from": "user", "value": "Picture 1: <img>images/0.png</img>\nWhich?"},
            {"from": "assistant", "value": "That."},
        ]
    },
    "a chat template's": {
        "images": ["images/0.png"],
        "messages": [user([{"type": "image"}, *SHOWN]), model([{"type": "text", "text": "That."}])],
    },
    "no marker": {"image": "images/0.png", "messages": [user("Which?"), model("That.")]},
    "keys that are null": {
        "image": "images/0.png",
        "messages": [
            user([{"type": "image", "text": None}, {"type": "text", "text": "Which?", "image": None}]),
            model("That."),
        ],
    },
    "Anthropic's": {
        "messages": [
            user(
                [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": URL[22:]}}, *SHOWN]
            ),
            model("That."),
        ]
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_conversation_of_every_shape_is_a_question_with_its_image_and_an_answer(pictured, shape):
    text = json.dumps(SHAPES[shape]).replace("IMAGES", str(pictured / "images"))
    (pictured / "rows.jsonl").write_text(text)
    rows = Rows(outside=True).read(pictured / "rows.jsonl")
    [shown, asked] = rows[0].question
    assert isinstance(shown, Picture)
    assert shown.path.read_bytes() in (picture(0), picture(7))
    assert image_size(shown.path, "x") == open_image(shown.path, "x").size == (28, 28)
    assert asked.text.strip() == "Which?"
    assert rows[0].answer_text == "That."
    assert rows.grade(rows[0], "that").values["success"]
    assert list(Rows(outside=True).problems(pictured / "rows.jsonl")) == []


def test_parquet_cells_are_images_of_a_conversation(tmp_path):
    row = {"images": [cell(1), cell(2)], "texts": "", "messages": [user("<image> or <image>?"), model("1")]}
    rows = Rows().read(parquet(tmp_path / "a.parquet", [row]))
    assert [part.path.read_bytes() for part in rows[0].question if isinstance(part, Picture)] == [
        picture(1),
        picture(2),
    ]


def test_earlier_turns_are_part_of_the_question_and_the_log_says_so(pictured, caplog):
    turns = [
        {"role": "system", "content": "Be brief."},
        user("<image>What?"),
        model("A cat."),
        user("Whose?"),
        model("Mine."),
    ]
    with caplog.at_level("WARNING"):
        rows = Rows().read(jsonl(pictured / "a.jsonl", [{"image": "images/1.png", "messages": turns}]))
    assert "turns before the last answer: they are part of the question, not learnt" in caplog.text
    texts = [part.text for part in rows[0].question if not isinstance(part, Picture)]
    assert texts == ["Be brief.\n\nUser: ", "What?\nAssistant: A cat.\nUser: Whose?"]
    assert rows[0].answer_text == "Mine."


def test_a_conversation_that_ends_with_the_user_has_no_answer(tmp_path):
    rows = Rows().read(jsonl(tmp_path / "a.jsonl", [{"messages": [user("Which?")]}]))
    assert rows[0].answer == ()
    assert rows.grade(rows[0], "This.").outcome == "ungraded"


def test_columns_say_more_of_a_conversation(pictured):
    row = {"chat": [user("Which?"), model("B")], "photo": "images/2.png", "helper": "images/3.png", "kind": "easy"}
    file = jsonl(pictured / "a.jsonl", [row])
    columns = {"messages": "chat", "image_input": "photo", "image_output": "helper", "group": "kind"}
    rows = Rows(columns, "choice").read(file)
    assert [part.path.name for part in (*rows[0].question, *rows[0].answer) if hasattr(part, "path")] == [
        "2.png",
        "3.png",
    ]
    assert rows.grade(rows[0], "B").group == "easy"
    stepped = Rows({"text_input": "{chat.0.content}", "text_output": r"\boxed{{{chat.-1.content}}}"}).read(file)
    assert (stepped[0].question[0].text, stepped[0].answer_text) == ("Which?", r"\boxed{B}")


def test_a_rows_system_prompt_stands_before_a_conversation_that_has_none():
    said = [user("Which?"), model("That.")]
    assert read_conversation(said, [], "Say <image>.")["text_input"] == "Say \\<image>.\n\nWhich?"
    own = [{"role": "system", "content": "Be brief."}, *said]
    for system in ("Be long.", None, " ", 3):
        assert read_conversation(own, [], system)["text_input"] == "Be brief.\n\nWhich?"
    assert Columns().official({"system": "Look.", "conversations": said}, "1", {})["text_input"] == "Look.\n\nWhich?"


def test_images_that_the_answer_shows_are_helper_images_where_they_stand(pictured):
    steps = [
        {"type": "text", "text": "First "},
        {"type": "image", "image": "images/1.png"},
        {"type": "text", "text": "B"},
    ]
    written = [user("<image>Which?"), model("<image>So <image>\\<image>B")]
    rows = [
        {"image": "images/0.png", "messages": [user("Which?"), model(steps)]},
        {"messages": [user([{"type": "image", "image": "images/0.png"}, *SHOWN]), model(steps)]},
        {"images": [f"images/{number}.png" for number in range(3)], "messages": written},
    ]
    samples = list(Rows().read(jsonl(pictured / "a.jsonl", rows)))
    block, other = (Latent(pictured / f"images/{number}.png") for number in (1, 2))
    for sample in samples:
        assert sample.question == (Picture(pictured / "images/0.png"), Text("Which?"))
    assert samples[0].answer == samples[1].answer == (Text("First "), block, Text("B"))
    assert samples[2].answer == (block, Text("So "), other, Text("<image>B"))


@pytest.mark.parametrize(
    ("value", "own", "complaint"),
    [
        ([], [], "must be a list of turns"),
        ("hello", [], "must be a list of turns"),
        ([user("a"), {"role": "tool", "content": "b"}], [], "turn 2: it is said by 'tool'; known are system"),
        ([{"content": "b"}], [], "turn 1: it is said by None"),
        ([model("a")], [], "no turn of a user"),
        ([user("<image>a")], [], r"1 <image> marker\(s\) for the row's 0 image"),
        ([user("<image>a <image>")], ["a.png"], r"2 <image> marker\(s\) for the row's 1 image"),
        (
            [user([{"type": "video", "video": "a.mp4"}])],
            [],
            "turn 1: a part of type 'video' is neither text nor an image",
        ),
        ([user("a"), model("<image>")], ["a.png", "b.png"], r"1 <image> marker\(s\) for the row's 2 image"),
        ([user([3])], [], "turn 1: a part of it must be text or an object"),
    ],
)
def test_what_is_wrong_with_a_conversation_is_one_line(value, own, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_conversation(value, own)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        ("https://example.org/a.png", "a.jsonl:1: image https://example.org/a.png is on the web; download it"),
        ("data:image/png;base64,####", "a.jsonl:1: image .* can't be decoded"),
        ("data:image/png;base64,aGVsbG8=", "a.jsonl:1: image of 5 bytes within the row cannot be read"),
    ],
)
def test_an_image_that_cannot_be_read_names_its_row(tmp_path, image, complaint):
    for row in (
        {"text_input": "q", "image_input": image},
        {"image": image, "messages": [user("<image>q"), model("a")]},
    ):
        with pytest.raises(ValueError, match=complaint):
            Rows().read(jsonl(tmp_path / "a.jsonl", [row]))


TALK = [user("Which?"), model("That.")]
NESTED = {
    "in the row's only object": {"data": {"messages": TALK, "image": "images/0.png"}},
    "in an object beside plain values": {"id": 1, "sample": {"conversations": TALK, "images": ["images/0.png"]}},
    "as JSON text": {"messages": json.dumps(TALK), "image": "images/0.png"},
    "as JSON text in an object": {"json": {"conversation": json.dumps(TALK), "image": "images/0.png"}},
}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("shape", NESTED)
def test_a_conversation_is_found_wherever_it_is_however_many_rows_there_are(pictured, shape, count):
    rows = [json.loads(json.dumps(NESTED[shape]).replace("Which?", f"Which {number}?")) for number in range(count)]
    for name, text in {
        "a.jsonl": "\n".join(map(json.dumps, rows)),
        "a.json": json.dumps(rows if count > 1 else rows[0], indent=1),
    }.items():
        (pictured / name).write_text(text)
        samples = Rows().read(pictured / name)
        assert len(samples) == count
        [shown, asked] = samples[0].question
        assert shown.path == pictured / "images" / "0.png"
        assert (asked.text, samples[0].answer_text) == ("Which 0?", "That.")


def test_a_conversation_in_an_object_may_be_named(pictured):
    row = {"data": {"messages": TALK}, "meta": {"messages": TALK}}
    for count in (1, 2):
        file = jsonl(pictured / "a.jsonl", [row] * count)
        assert Rows({"messages": "data.messages"}).read(file)[0].answer_text == "That."
