"""Data sets as they are published become questions, answers and latent blocks; what is wrong with a row is one line."""

import re

import numpy as np
import pytest
from hydra.utils import instantiate
from PIL import Image

from data_modules.images import open_image
from data_modules.rows.boxes import Region
from data_modules.samples import Latent, Picture, Text, image_problems
from mirage_pl.engine.datasets.description import run
from mirage_pl.engine.evaluation import scoring
from mirage_pl.engine.training import fit
from mirage_pl.mirage.collator import Collator
from tests.conftest import compose
from tests.data_modules.published import (
    hrbench,
    hrbench_row,
    lvr,
    lvr_row,
    mme_realworld,
    mme_realworld_row,
    mmvp,
    monet,
    monet_row,
    scene,
    thinkmorph,
    thinkmorph_row,
    visual_cot,
    visual_cot_metadata,
    vstar,
    vstar_row,
)
from tests.data_modules.source_files import blink, jsonl, parquet, picture


def pixels(part, where="row"):
    return np.asarray(open_image(part.path, where))


def crop(left, top, right, bottom, seed=0):
    """The region as plain slices, from the pixels that the scene was made of."""
    columns, rows = np.meshgrid(np.arange(left, right) * 3, np.arange(top, bottom) * 5)
    return np.stack([columns, rows, np.full_like(rows, seed)], -1).astype(np.uint8)


def read(name, folder, split="train", *overrides):
    cfg = compose("data", f"task={name}", f"task.folder={folder}", *overrides)
    return instantiate(cfg.task.dataset).read(cfg.task[f"{split}_file"])


def test_a_box_of_visual_cot_is_a_latent_block_before_the_answer_and_its_region_the_helper_image(tmp_path):
    visual_cot(tmp_path, "[10, 20, 40, 44]", "[0, 0, 64, 48]")
    rows = read("visual_cot", tmp_path)
    image, question = rows[0].question
    assert (question, image.path) == (Text("\nWhat is behind cake 0?"), tmp_path / "cot/vsr/000000000000.jpg")
    block, answer = rows[0].answer
    assert answer == Text("dog")
    assert block == Latent(Region(image.path, (10.0, 20.0, 40.0, 44.0), "pixel"))
    assert (pixels(block) == pixels(image)[20:44, 10:40]).all()
    assert (pixels(rows[1].answer[0]) == pixels(rows[1].question[0])).all()
    assert rows.facts(rows[0]) == {
        "group": "vsr",
        "answer, characters": 3,
        "input images": ["64×48"],
        "helper images": ["30×24"],
    }
    assert rows.grade(rows[0], "Dog.").values["success"]


def test_all_boxes_of_visual_cots_metadata_are_blocks(tmp_path):
    visual_cot_metadata(tmp_path, [[1, 2, 11, 12], [20, 20, 30, 40]])
    (sample,) = read("visual_cot_metadata", tmp_path)
    assert [part.path.size for part in sample.answer[:2]] == [(10, 10), (10, 20)]
    assert sample.question[1] == Text("What is it 0?")


def test_lvrs_boxes_are_fractions_and_stand_where_the_answer_marks_them(tmp_path):
    two = "First <lvr>, then <lvr>: <answer> Shorts. </answer>"
    boxes = [[0.25, 0.5, 0.5, 1.0], [0.1, 0.1, 0.9, 0.9]]
    unmarked = lvr_row(2, [[0.0, 0.0, 0.5, 0.5]], "<answer>B</answer>") | {"image": "viscot/flickr30k/2.png"}
    lvr(tmp_path, lvr_row(0, [[0.382, 0.456, 0.718, 0.656]]), lvr_row(1, boxes, two), unmarked)
    rows = read("lvr", tmp_path)
    block, answer = rows[0].answer
    assert answer == Text("\n<answer> Dark blue denim shorts. </answer>")
    assert (pixels(block) == crop(24, 21, 46, 32)).all()
    first, second = (part for part in rows[1].answer if isinstance(part, Latent))
    assert [type(part) for part in rows[1].answer] == [Text, Latent, Text, Latent, Text]
    assert (pixels(first) == crop(16, 24, 32, 48, seed=1)).all()
    assert (pixels(second) == crop(6, 4, 58, 44, seed=1)).all()
    assert [type(part) for part in rows[2].answer] == [Latent, Text]


@pytest.mark.parametrize("key", ["image", "image_file_name"])
@pytest.mark.parametrize("zipped", [False, True])
def test_monets_answers_have_their_helper_images_in_them(tmp_path, key, zipped):
    monet(tmp_path, [monet_row(0, key), monet_row(1, key, steps=0)], zipped)
    rows = read("monet", tmp_path)
    system, image, question = rows[0].question
    assert (system.text, question.text) == ("You are a helpful assistant.\n\n", "Which colour has 0?")
    first, block, between, other, last = rows[0].answer
    assert first == Text("Step 0. ")
    assert between == Text(" <observation>It is red.</observation> Step 1. ")
    assert last == Text(" <observation>It is red.</observation> \\boxed{red}")
    seeds = [pixels(part)[0, 0, 2] for part in (image, block, other)]
    assert seeds == [0, 1, 2], "0.png, 0_0.png and 0_1.png in this order"
    assert not image_problems(rows[0])
    assert rows[1].answer == (Text("\\boxed{red}"),)
    plain = read("monet", tmp_path, "train", "task.columns.erase='</?observation>'")
    assert plain[0].answer[2] == Text(" It is red. Step 1. ")


def test_thinkmorphs_helper_image_stands_between_its_thoughts(tmp_path):
    thinkmorph(tmp_path, [thinkmorph_row(number) for number in range(3)])
    rows = read("thinkmorph", tmp_path)
    assert rows[2].question[1] == Text("Go from the start to the goal of maze 2.")
    before, block, after = rows[2].answer
    assert before == Text("I draw the path.")
    assert after == Text("So it goes right, then down.\n\\boxed{R,D}")
    assert (rows[2].question[0].path.read_bytes(), block.path.read_bytes()) == (picture(2), picture(102))
    assert rows.grade(rows[2], r"\boxed{R,D}").values["success"]
    assert rows.group(rows[2]) == "Spatial_Navigation"


def test_stage_1_learns_a_batch_of_regions(tmp_path, processor):
    lvr(tmp_path, *(lvr_row(number, [[0.0, 0.0, 1.0, 1.0]]) for number in range(2)))
    batch = Collator(processor, latent_size=1, latents=True, helpers=True)(list(read("lvr", tmp_path)))
    assert len(batch.helpers.grids) == 2


def test_stage_1_trains_on_visual_cot_and_the_run_is_scored_on_multiple_choice(tmp_path):
    visual_cot(tmp_path / "train", *["[10, 4, 60, 44]"] * 4)
    mmvp(tmp_path / "test", [("Are the wings open?", "(a) Open (b) Closed", "(a)")] * 2)
    few = [
        "trainer.max_steps=2",
        "loader.batch_size=2",
        "callbacks.scores=null",
        "callbacks.progress=null",
        "logger=[]",
    ]
    places = [f"task.folder={tmp_path / 'train'}", f"run_dir={tmp_path / 'run'}", f"features={tmp_path / 'features'}"]
    metrics = fit.run(compose("train", "stage=stage1", "task=visual_cot", LARGE, *few, *places))
    assert metrics["step"] == 2
    short = ["decoding.max_new_tokens=8", "interventions=null"]
    options = [f"ckpt={tmp_path / 'run'}", "task=mmvp", f"task.folder={tmp_path / 'test'}", "task.rotations=2", *short]
    scores = scoring.run(compose("evaluate", *options))
    assert (scores["success"]["all"]["n"], scores["test"]["rows"], scores["test"]["seen"]) == (4, 4, 0)
    assert scores["every_time"]["n"] == 2


LARGE = "pixels.helper.min=3136"
"""Small regions are enlarged, so that they have as many patches as latents."""
ASKED = "Answer with the letter in \\boxed{}."


def test_vstars_choices_are_told_from_the_question_and_may_be_shuffled(tmp_path):
    inline = vstar_row(1, "D", "(A) rubber (B) cotton (C) kevlar (D) leather")
    vstar(tmp_path, [vstar_row(0), inline])
    rows = read("vstar", tmp_path, "test")
    lettered = "(A) rubber\n(B) cotton\n(C) kevlar\n(D) leather"
    assert [sample.question[1].text for sample in rows] == [
        f"What is glove {number} made of?\n{lettered}\n{ASKED}" for number in range(2)
    ]
    assert [sample.answer_text for sample in rows] == [r"\boxed{B}", r"\boxed{D}"]
    assert rows.group(rows[0]) == "direct_attributes"
    assert rows.grade(rows[0], r"\boxed{(B) cotton}").values["success"]
    assert not rows.grade(rows[0], r"\boxed{A}").values["success"]
    turned = read("vstar", tmp_path, "test", "task.rotations=4")
    assert [turned[index].answer_text for index in range(4)] == [rf"\boxed{{{letter}}}" for letter in "BADC"]
    assert turned[1].question[1].text.splitlines()[1:3] == ["(A) cotton", "(B) kevlar"]
    assert rows.identity(rows[0]) == turned.identity(turned[1])


def test_vstars_first_release_is_read_by_the_same_task(tmp_path):
    (tmp_path / "direct_attributes").mkdir()
    (tmp_path / "direct_attributes/sa_4690.jpg").write_bytes(scene(kind="JPEG"))
    row = vstar_row(0) | {"image": "direct_attributes/sa_4690.jpg"}
    file = jsonl(tmp_path / "test_questions.jsonl", [row])
    (sample,) = read("vstar", tmp_path, "test", f"task.test_file={file}")
    assert sample.question[0] == Picture(tmp_path / "direct_attributes/sa_4690.jpg")
    assert sample.answer_text == r"\boxed{B}"


def test_mmvp_is_a_table_with_images_beside_it(tmp_path):
    mmvp(
        tmp_path, [('Are the wings open, or "closed"?', "(a) Open (b) Closed", "(a)"), ("Up?", "(a) Yes (b) No", "(b)")]
    )
    rows = read("mmvp", tmp_path, "test")
    assert rows[0].question[1].text == f'Are the wings open, or "closed"?\n(A) Open\n(B) Closed\n{ASKED}'
    assert rows[1].question[0] == Picture(tmp_path / "MMVP Images/2.jpg")
    assert [sample.answer_text for sample in rows] == [r"\boxed{A}", r"\boxed{B}"]
    assert rows[1].where == f"{tmp_path}/Questions.csv:3"


@pytest.mark.parametrize("kind", ["parquet", "tsv"])
def test_hrbench_has_a_column_for_each_choice_and_its_images_as_base64(tmp_path, kind):
    three = hrbench_row(1, answer="B", D=None)
    file = hrbench(tmp_path, [hrbench_row(0), three], kind)
    rows = read("hrbench", tmp_path, "test", f"task.test_file={file}")
    assert rows[0].question[1].text == f"What number is on door 0?\n(A) 1\n(B) 22\n(C) 333\n(D) 4444\n{ASKED}"
    assert rows[1].question[1].text.splitlines()[-2] == "(C) 333"
    assert [sample.answer_text for sample in rows] == [r"\boxed{C}", r"\boxed{B}"]
    assert open_image(rows[1].question[0].path, "row").size == (64, 48)


def test_blinks_prompts_and_mme_realworlds_lists_are_the_same_schema(tmp_path):
    (tmp_path / "Jigsaw").mkdir()
    parquet(tmp_path / "Jigsaw/val-00000-of-00001.parquet", [blink(number) for number in range(2)])
    rows = read("blink", tmp_path, "test")
    assert (rows[0].question[-1].text, rows[0].answer_text) == (f"Which piece?\n{ASKED}", r"\boxed{A}")
    with pytest.raises(ValueError, match="task.columns.text_input doesn't show; write {lettered} in it"):
        read("blink", tmp_path, "test", "task.rotations=2")[1]
    mme_realworld(tmp_path, [mme_realworld_row(0)])
    (sample,) = read("mme_realworld", tmp_path, "test")
    assert sample.answer_text == r"\boxed{E}"
    assert "\n(E) The image does not feature the sign.\n" in sample.question[1].text


def test_a_users_own_choices_need_no_names_but_the_schemas(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(1))
    row = {"question": "Left?", "image": "a.png", "options": ["yes", "no"], "answer": "B", "kind": "easy"}
    jsonl(tmp_path / "test.jsonl", [row])
    (sample,) = read("multiple_choice", tmp_path, "test")
    assert sample.question[1].text == f"Left?\n(A) yes\n(B) no\n{ASKED}"
    rows = read("multiple_choice", tmp_path, "test", "task.columns.group=kind")
    assert rows.group(rows[0]) == "easy"


BAD = {
    "outside": (
        "visual_cot",
        lambda folder: visual_cot(folder, "[10, 20, 70, 44]"),
        r":row 0 \(line 2\): .*leaves the image, .* 64 × 48",
    ),
    "no area": (
        "visual_cot",
        lambda folder: visual_cot(folder, "[10, 20, 10, 44]"),
        r":row 0 \(line 2\): .*has no area",
    ),
    "turned": (
        "visual_cot",
        lambda folder: visual_cot(folder, "[40, 20, 10, 44]"),
        r":row 0 \(line 2\): .*has no area",
    ),
    "fractions": (
        "visual_cot",
        lambda folder: visual_cot(folder, "[0.1, 0.2, 0.9, 1.0]"),
        r":row 0 \(line 2\): .*box_unit=fraction",
    ),
    "three": (
        "visual_cot",
        lambda folder: visual_cot(folder, "[1, 2, 3]"),
        r":row 0 \(line 2\): a box must be .*four numbers",
    ),
    "text": ("visual_cot", lambda folder: visual_cot(folder, "[a, b, c, d]"), r":row 0 \(line 2\): a box must be"),
    "pixels": (
        "lvr",
        lambda folder: lvr(folder, lvr_row(0, [[10, 20, 40, 44]])),
        r":row 0 \(line 1\): .*box_unit=pixel",
    ),
    "negative": (
        "lvr",
        lambda folder: lvr(folder, lvr_row(0, [[-0.2, 0.2, 0.5, 0.5]])),
        r":row 0 \(line 1\): .*leaves the image",
    ),
    "not a number": (
        "lvr",
        lambda folder: lvr(folder, lvr_row(0, [[float("nan"), 0, 1, 1]])),
        r":row 0 \(line 1\): a box must be",
    ),
    "two for one": (
        "lvr",
        lambda folder: lvr(folder, lvr_row(0, [[0, 0, 1, 1]] * 2)),
        r":row 0 \(line 1\): the answer has 1 <lvr> for 2",
    ),
    "none": ("lvr", lambda folder: lvr(folder, lvr_row(0, [])), r":row 0 \(line 1\): the answer has 1 <lvr> for 0"),
    "unmarked": (
        "monet",
        lambda folder: monet(folder, [unmarked_monet()]),
        r":row 0 \(line 1\): the answer has 2 <abs_.* for 1",
    ),
    "lost image": (
        "monet",
        lambda folder: lose(monet(folder, [monet_row(0)])),
        r":row 0 \(line 1\): image .*0_1.png does not exist",
    ),
    "null image": (
        "thinkmorph",
        lambda folder: thinkmorph(folder, [thinkmorph_row(0), thinkmorph_row(1, reasoning_image_0=None)]),
        r":row 1: 1 <output_image> marker\(s\) for 0 image",
    ),
    "no such choice": (
        "vstar",
        lambda folder: vstar(folder, [vstar_row(0, "E")]),
        ":row 0: .*'E' is not among the choices",
    ),
    "no choices": ("vstar", lambda folder: vstar(folder, [vstar_row(0, "A", "")]), ":row 0: choices must be a list"),
    "one choice": ("mmvp", lambda folder: mmvp(folder, [("Up?", "(a) Yes", "(a)")]), ":2: choices must be a list"),
    "not an option": ("mmvp", lambda folder: mmvp(folder, [("Up?", "(a) Yes (b) No", "(c)")]), ":2: .*not among"),
    "missing option": ("hrbench", lambda folder: hrbench(folder, [hrbench_row(0, B=None)]), ":row 0: choice 2 must be"),
    "equal options": ("hrbench", lambda folder: hrbench(folder, [hrbench_row(0, B="1")]), ":row 0: two of the choices"),
    "no answer": ("hrbench", lambda folder: hrbench(folder, [hrbench_row(0, answer="5")]), ":row 0: .*not among"),
    "no image": ("hrbench", lambda folder: hrbench(folder, [hrbench_row(0, image="/9j/" + "A" * 80)]), ":row 0: image"),
}


def unmarked_monet():
    row = monet_row(0)
    del row["data"][2]["content"][4]
    return row


def lose(file):
    (file.parent / "images/0_1.png").unlink()
    return file


@pytest.mark.parametrize("kind", BAD)
def test_what_is_wrong_with_a_row_is_one_line_with_its_file_and_place(tmp_path, capsys, kind):
    name, make, complaint = BAD[kind]
    file = make(tmp_path)
    cfg = compose("data", f"task={name}", f"task.folder={tmp_path}", LARGE, "validate=true")
    with pytest.raises(ValueError, match="bad rows: 1 in"):
        run(cfg)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line]
    assert re.match(re.escape(str(file)) + complaint, line), line


GOOD = {
    "visual_cot": lambda folder: visual_cot(folder, "[10, 20, 40, 44]"),
    "lvr": lambda folder: lvr(folder, lvr_row(0, [[0.1, 0.2, 0.9, 0.8]])),
    "monet": lambda folder: monet(folder, [monet_row(0)]),
    "thinkmorph": lambda folder: thinkmorph(folder, [thinkmorph_row(0)]),
    "vstar": lambda folder: vstar(folder, [vstar_row(0)]),
    "mmvp": lambda folder: mmvp(folder, [("Up?", "(a) Yes (b) No", "(b)")]),
    "hrbench": lambda folder: hrbench(folder, [hrbench_row(0)]),
    "mme_realworld": lambda folder: mme_realworld(folder, [mme_realworld_row(0)]),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_rows_have_nothing_wrong_with_them_and_are_described(tmp_path, capsys, name):
    GOOD[name](tmp_path)
    run(compose("data", f"task={name}", f"task.folder={tmp_path}", LARGE, "validate=true"))
    run(compose("data", f"task={name}", f"task.folder={tmp_path}", f"sheet={tmp_path / 'sheet'}"))
    assert "no bad rows" in capsys.readouterr().out
    assert Image.open(tmp_path / "sheet/sheet.png").size
