"""Rows without pictures are drawn like any others: a gallery of an evaluation never ends for want of one."""

import numpy as np
import pytest

from data_modules.rows.rows import Rows
from data_modules.samples import Sample, Text
from data_modules.vsp.planning import VSP
from data_modules.vsp.reading import Reading
from tests.data_modules.source_files import jsonl, plain

MAZE = {"map_desc": [[1, 0], [0, 2]], "level": 2}


def test_a_maze_in_words_is_drawn_as_a_page_of_words():
    sample = Sample("rows.jsonl:1", (Text("Start is above the goal."),), (Text(r"\boxed{DOWN}"),), {})
    page = VSP().draw(sample, r"\boxed{DOWN}")
    assert page.mode == "RGB"
    assert (np.asarray(page) < 128).any()  # something is written
    page = VSP().draw(Sample(sample.where, sample.question, sample.answer, MAZE), r"\boxed{DOWN}")
    assert page != VSP().draw(Sample(sample.where, sample.question, sample.answer, MAZE), r"\boxed{UP}")


def test_anybodys_row_without_a_picture_is_drawn(tmp_path):
    rows = Rows({"text_input": "{q}", "text_output": "{a}"}).read(jsonl(tmp_path / "rows.jsonl", [plain(0)]))
    assert (np.asarray(rows.draw(rows[0], "an answer")) < 128).any()
    assert rows.picture(rows[0]).size[0] >= 1


def test_reading_aloud_demands_a_picture(tmp_path):
    row = {"text_input": "q", "image_input": [], "text_output": r"\boxed{DOWN, RIGHT}", "map_desc": [[1, 0], [0, 2]]}
    file = jsonl(tmp_path / "rows.jsonl", [row])
    with pytest.raises(ValueError, match=f"^{file}:1: reading aloud needs image_input, map_desc, image_output"):
        Reading({"map": "Read.", "path": "Read."}).read(file)
