import json
import re

import pytest
from transformers import AutoTokenizer

from data_modules.samples import Latent, Text
from data_modules.vsp.maze import outcome, parse_plan
from data_modules.vsp.planning import VSP
from tests.conftest import REPO

MAP = [[1, 0, -1], [0, 2, 0], [0, 0, 0]]
READ = "<think> map: start ice hole / ice goal ice / ice ice ice ;"


def rows(folder, thoughts="rules", **row):
    (folder / "x.jsonl").write_text(
        json.dumps({"text_input": "q", "image_input": "images/a.png", "map_desc": MAP} | row)
    )
    return VSP(thoughts=thoughts).read(folder / "x.jsonl")


def test_the_map_is_read_before_the_helper_image_and_the_path_after_it(folder):
    row = rows(folder, text_output=r"\boxed{RIGHT, DOWN}", image_output="images/b.png")[0]
    after = " path: RIGHT DOWN</think>\n\\boxed{RIGHT, DOWN}"
    assert row.answer == (Text(READ), Latent(folder / "images/b.png"), Text(after))
    assert row.answer_text == READ + after  # what stage=sft learns


def test_the_moves_are_those_of_the_rows_own_answer(folder):
    own = rows(folder, text_output=r"\boxed{DOWN, RIGHT}")[0]
    assert own.answer == (Text(READ), Text(" path: DOWN RIGHT</think>\n\\boxed{DOWN, RIGHT}"))
    assert rows(folder, text_output="no plan")[0].answer_text.endswith(" path: RIGHT DOWN</think>\nno plan")


def test_all_blocks_stand_between_the_thoughts_and_keep_their_sizes(folder):
    plan = [{"type": "latent", "helper_image": f"images/{name}.png", "latent_size": 2} for name in "bc"]
    row = rows(folder, sequence_plan=[*plan, {"type": "text", "content": r"\boxed{RIGHT, DOWN}"}])[0]
    assert row.answer[1:3] == (Latent(folder / "images/b.png", 2), Latent(folder / "images/c.png", 2))
    assert [type(part) for part in row.answer] == [Text, Latent, Latent, Text]


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"text_output": r"<think>go</think>\boxed{RIGHT, DOWN}", "image_output": "images/b.png"},
        {"text_output": r"see <output_image>\boxed{RIGHT, DOWN}", "image_output": "images/b.png"},
        {"text_output": r"\boxed{RIGHT, DOWN}<output_image>", "image_output": "images/b.png"},
    ],
    ids=["no answer", "thoughts of its own", "text before the block", "the block last"],
)
def test_other_answers_stay_as_they_are(folder, row):
    assert rows(folder, **row)[0] == rows(folder, thoughts="none", **row)[0]


def test_a_row_without_a_map_stays_as_it_is(folder):
    (folder / "x.jsonl").write_text(
        json.dumps({"text_input": "q", "image_input": "images/a.png", "text_output": r"\boxed{A}"})
    )
    assert VSP(thoughts="rules").read(folder / "x.jsonl").samples == VSP().read(folder / "x.jsonl").samples


def test_thoughts_of_generated_rows_lead_to_the_goal_and_are_graded_by_the_last_box(data):
    file = data / "vsp-28px" / "train.jsonl"
    plain, thinking = VSP(parser="strict").read(file), VSP(parser="strict", thoughts="rules").read(file)
    for direct, cot in zip(plain.samples, thinking.samples, strict=True):
        moves = re.search(" path: (.*)</think>", cot.answer_text)[1].split()
        assert moves == parse_plan(cot.answer_text, "strict")
        assert outcome(tuple(map(tuple, cot.meta["map_desc"])), moves) == "success"
        assert thinking.grade(cot, cot.answer_text) == plain.grade(direct, direct.answer_text)
        assert thinking.identity(cot) == plain.identity(direct)


def test_every_word_is_one_token_of_the_tiny_backbone(data):
    tokenizer = AutoTokenizer.from_pretrained(REPO / "assets" / "tiny")
    row = VSP(thoughts="rules").read(data / "vsp-28px" / "train.jsonl")[0]
    tokens = [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(part.text)) for part in row.answer[::2]]
    words = [[tokenizer.decode(token) for token in piece] for piece in tokens]
    moves = parse_plan(row.answer_text)
    cells = row.answer[0].text.removeprefix("<think> map:").split()
    assert words[0] == ["<", "th", "i", "n", "k", ">", " map", ":", *(f" {cell}" for cell in cells)]
    assert words[1][: 2 + len(moves)] == [" path", ":", *(f" {move}" for move in moves)]
    assert words[1][-2 * len(moves) - 1 :][:2] == ["\\boxed", f"{{{moves[0]}"]
