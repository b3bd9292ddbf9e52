"""What the collator would refuse is found before the first batch: refused, left out and named, or listed."""

import logging

import pytest
from PIL import Image

from data_modules.loading.datamodule import DataModule
from data_modules.loading.loader import Loading
from data_modules.rows.rows import Rows
from data_modules.vsp.planning import VSP
from mirage_pl.engine.datasets import description as data_verb
from mirage_pl.mirage.collator import Collator
from tests.conftest import compose
from tests.data_modules.source_files import PLAIN, jsonl, plain

COLUMNS = PLAIN | {"image_output": "helper"}


@pytest.fixture
def odd(pictured):
    """Pictures and helper images that a header doesn't give away, or that the model can't be shown."""
    Image.new("RGB", (250, 1)).save(pictured / "images/thin.png")
    Image.new("RGB", (28, 28)).save(pictured / "images/small.png")
    for number in range(4):
        Image.new("RGB", (56, 56), (number, 0, 0)).save(pictured / f"images/{number}.png")
    whole = (pictured / "images/1.png").read_bytes()
    (pictured / "images/cut.png").write_bytes(whole[: len(whole) // 2])
    return pictured


def image(name):
    return {"image": f"images/{name}.png"}


BAD = {
    "a picture far too wide": (image("thin"), "250×1 pixels can't be shown"),
    "a picture cut short": (image("cut"), "cut.png cannot be read"),
    "a helper image cut short": ({"helper": "images/cut.png"}, "cut.png cannot be read"),
    "a helper image far too wide": ({"helper": "images/thin.png"}, "250×1 pixels can't be shown"),
    "a helper image with too few patches": ({"helper": "images/small.png"}, "makes 1 patch.es., fewer than latent_si"),
    "no answer": ({"a": ""}, "has 1 helper image.s., and text_output is empty; write the answer"),
    "too many tokens": ({"q": "<image>" + "word " * 300}, "tokens, more than .*400"),
}


def data_of(file, processor, skips, **loading):
    rows = Rows(
        COLUMNS, "tests.data_modules.test_usable.lenient", on_bad_row="skip" if skips else "error", max_bad_share=0.5
    )
    collate = Collator(processor, 4, latents=True, helpers=True)
    return DataModule(rows, {"train": str(file), "val": None}, collate, Loading(2, max_length=400, **loading), seed=0)


def lenient(sample, text):
    from data_modules.scores import Scores

    return Scores({"success": True}, "success", "rows")


@pytest.mark.parametrize("bad", BAD)
def test_a_row_that_cannot_be_used_is_refused_or_left_out_before_training(odd, processor, caplog, bad):
    changes, complaint = BAD[bad]
    good = [plain(number, helper=f"images/{number}.png") for number in range(4)]
    file = jsonl(odd / "rows.jsonl", [*good[:2], good[2] | changes, good[3]])
    with pytest.raises(ValueError, match=complaint) as caught:
        data_of(file, processor, skips=False).setup("fit")
    assert str(caught.value).startswith(f"{file}:3: ")
    assert "\n" not in str(caught.value)
    data = data_of(file, processor, skips=True)
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert [sample.where for sample in data.datasets["train"]] == [f"{file}:{line}" for line in (1, 2, 4)]
    assert f"skipped: {file}:3: " in caplog.text
    assert f"skipped 1 of 4 rows of {file}" in caplog.text
    for batch in data.train_dataloader():
        assert len(batch) == 2


@pytest.mark.parametrize("bad", BAD)
def test_validate_lists_what_the_collator_would_refuse(odd, capsys, bad):
    changes, _ = BAD[bad]
    good = [plain(number, helper=f"images/{number}.png") for number in range(4)]
    file = jsonl(odd / "rows.jsonl", [*good[:2], good[2] | changes, good[3]])
    columns = [f"task.columns.{ours}='{theirs}'" for ours, theirs in COLUMNS.items()]
    options = ["task=jsonl", "validate=true", *columns, "loader.max_length=400"]
    options += ["task.grader=tests.data_modules.test_usable.lenient", "task.test_file=null", "task.val_file=null"]
    with pytest.raises(ValueError, match=f"bad rows: 1 in {file}"):
        data_verb.run(compose("data", *options, f"task.train_file={file}"))
    lines = capsys.readouterr().out.strip().split("\n")
    assert len(lines) == 1
    assert lines[0].startswith(f"{file}:3: ")


def test_rows_left_out_by_either_check_count_towards_the_same_share(odd, processor):
    good = [plain(number, helper=f"images/{number}.png") for number in range(4)]
    file = jsonl(
        odd / "rows.jsonl", [good[0], good[1] | image("none"), good[2] | image("thin"), good[3] | image("cut")]
    )
    with pytest.raises(ValueError, match="3 of 4 rows of .* are bad, more than task.max_bad_share=0.5"):
        data_of(file, processor, skips=True).setup("fit")


def test_rows_of_a_test_file_need_no_answer_and_are_not_refused_as_a_whole(odd, processor):
    file = jsonl(odd / "rows.jsonl", [plain(0, a=""), plain(1, helper=None) | image("thin")])
    data = DataModule(
        Rows(PLAIN, "tests.data_modules.test_usable.lenient"),
        {"test": str(file)},
        Collator(processor, 4, True, True),
        Loading(),
        seed=0,
    )
    data.setup("test")
    assert len(data.datasets["test"]) == 2


def test_a_damaged_picture_among_official_rows_is_an_error_at_the_start(odd, processor):
    row = {"text_input": "<image>Go", "image_input": "images/cut.png", "text_output": r"\boxed{A}"}
    file = jsonl(odd / "rows.jsonl", [row])
    data = DataModule(VSP(), {"train": str(file), "val": None}, Collator(processor, 4, False, False), Loading(), seed=0)
    with pytest.raises(ValueError, match=f"^{file}:1: image .*cut.png cannot be read"):
        data.setup("fit")


@pytest.mark.parametrize(("latents", "helpers"), [(True, False), (True, True), (False, True)])
def test_rows_without_any_latent_block_are_refused_where_blocks_are_learnt(odd, processor, caplog, latents, helpers):
    def setup(rows, latents=latents, helpers=helpers):
        file = jsonl(odd / "rows.jsonl", rows)
        collate = Collator(processor, 1, latents, helpers)
        DataModule(Rows(COLUMNS), {"train": str(file), "val": None}, collate, Loading(), seed=0).setup("fit")
        return file

    none = [plain(number, helper=None) for number in range(4)]
    with pytest.raises(
        ValueError, match=r"rows.jsonl:1 and all other rows have no latent block.*image_output.*stage=sft"
    ):
        setup(none)
    setup(none, latents=False, helpers=False)
    with caplog.at_level(logging.WARNING):
        setup([*none[:3], plain(3, helper="images/3.png")])
    assert "3 of 4 rows (75.0 %) have no latent block" in caplog.text
