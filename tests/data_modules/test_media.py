"""Rows that show a video or play a sound are refused by file and row; text that speaks of them is text."""

import json

import pytest

from data_modules.rows.rows import Rows
from tests.data_modules.source_files import jsonl

ASKED = [{"role": "user", "content": "Who runs?"}, {"role": "assistant", "content": "He."}]
PLAIN = {"text_input": "Who runs?", "text_output": "He."}
REFUSED = {
    "a column of a conversation": {"messages": ASKED, "videos": ["a.mp4"]},
    "a column of our own format": PLAIN | {"video": "a.mp4"},
    "a sound": {"messages": ASKED, "audio_path": "a.wav"},
    "a marker in a turn": {
        "conversations": [{"from": "human", "value": "<video>\nWho?"}, {"from": "gpt", "value": "He."}]
    },
    "Qwen-VL's marker": PLAIN | {"text_input": "<video>a.mp4</video> Who?"},
    "a marker in an answer": PLAIN | {"text_output": "<audio> He."},
    "a marker in a plan": {"text_input": "Who?", "sequence_plan": [{"type": "text", "content": "<video>"}]},
    "a part of a turn": {"messages": [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}, ASKED[1]]},
    "a part without a type": {"messages": [{"role": "user", "content": [{"video": "a.mp4"}]}, ASKED[1]]},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_row_with_a_video_or_a_sound_is_refused_in_one_line(tmp_path, name):
    file = jsonl(tmp_path / "rows.jsonl", [PLAIN, REFUSED[name]])
    with pytest.raises(ValueError, match=r"rows.jsonl:2: .*(video|audio).*neither text nor an image") as refused:
        Rows().read(file)
    assert "\n" not in str(refused.value)
    assert len(list(Rows().problems(file))) == 1
    assert len(Rows(on_bad_row="skip", max_bad_share=0.5).read(file)) == 1


@pytest.mark.parametrize(
    ("columns", "row", "question"),
    [
        ({}, PLAIN | {"video": None, "audios": []}, "Who runs?"),
        ({}, PLAIN | {"text_input": r"What is the \<video> tag?"}, "What is the <video> tag?"),
        ({}, PLAIN | {"text_input": "A <video controls> tag?"}, "A <video controls> tag?"),
        ({"text_input": "caption"}, PLAIN | {"video": "a.mp4", "caption": "A man runs. Who?"}, "A man runs. Who?"),
    ],
)
def test_text_that_speaks_of_a_video_is_text(tmp_path, columns, row, question):
    rows = Rows(columns).read(jsonl(tmp_path / "rows.jsonl", [row]))
    assert [part.text for part in rows[0].question] == [question]


@pytest.mark.parametrize("row", [{"text_output": ""}, {"text_output": None}, {}], ids=json.dumps)
def test_a_helper_image_without_an_answer_is_refused(pictured, row):
    file = jsonl(pictured / "rows.jsonl", [PLAIN, {"text_input": "Who?", "image_output": "images/0.png"} | row])
    with pytest.raises(
        ValueError, match=r"rows.jsonl:2: image_output has 1 helper image\(s\), and text_output is empty"
    ):
        Rows().read(file)
