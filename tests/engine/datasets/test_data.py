"""``python -m mirage_pl.data``: describing, dividing, taking out copies, and the sheet."""

import json
from collections import Counter
from shutil import copy

import pytest
from PIL import Image

from data_modules.rows.drawing import PINK, SIDE, resized
from data_modules.samples import Picture
from mirage_pl.engine.datasets import description as data_verb
from mirage_pl.engine.datasets.sheet import WIDTH
from tests.conftest import compose


def run(file, *options, **others):
    files = {"train": file, "val": None, "test": None} | others
    given = [f"task.{split}_file={'null' if path is None else path}" for split, path in files.items()]
    data_verb.run(compose("data", "task=jsonl", *given, *options))


def lines(file):
    return file.read_text().splitlines()


def test_a_split_parts_a_file_and_keeps_rows_together_that_ask_the_same(mine, capsys):
    run(mine, "split={train: 0.6, val: 0.2, test: 0.2}")
    parts = {name: lines(mine.with_name(f"mine-{name}.jsonl")) for name in ("train", "val", "test")}
    assert Counter(sum(parts.values(), [])) == Counter(lines(mine))
    alike = [name for name, rows in parts.items() for row in rows if row in lines(mine)[:3]]
    assert len(set(alike)) == 1
    assert [len({row.split("input-")[1] for row in rows}) > 0 for rows in parts.values()] == [True] * 3
    assert f"task.val_file={mine.with_name('mine-val.jsonl')}" in capsys.readouterr().out
    options = [f"{name}={mine.with_name(f'mine-{name}.jsonl')}" for name in ("val", "test")]
    run(mine.with_name("mine-train.jsonl"), **dict(option.split("=") for option in options))
    assert "train and val and test share no sample" in capsys.readouterr().out


def test_the_order_of_a_file_does_not_change_its_split(mine, tmp_path):
    shares = "split={train: 0.5, val: 0.5}"
    run(mine, shares)
    other = mine.with_name("other.jsonl")
    other.write_text("\n".join(reversed(lines(mine))) + "\n")
    run(other, shares)
    assert set(lines(mine.with_name("mine-val.jsonl"))) == set(lines(mine.with_name("other-val.jsonl")))
    run(mine, shares, "seed=2", f"out={tmp_path}/again")
    assert set(lines(mine.with_name("mine-val.jsonl"))) != set(lines(tmp_path / "again" / "mine-val.jsonl"))


def test_copies_go_out_of_train_first(mine, capsys):
    test = mine.with_name("test.jsonl")
    test.write_text("\n".join(lines(mine)[5:7]) + "\n")
    run(mine, "dedupe=true", test=test)
    assert lines(mine.with_name("mine-unique.jsonl")) == [lines(mine)[number] for number in (0, 3, 4, 7, 8, 9, 10, 11)]
    assert not mine.with_name("test-unique.jsonl").exists()
    printed = capsys.readouterr().out
    assert f"{mine}:2 asks what {mine}:1 asks" in printed
    assert f"{mine}:6 asks what {test}:1 asks" in printed
    assert "4 copies among 10 different questions" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["split={train: 0.5, val: 0.4}"], r"shares above 0 that make 1 together"),
        (["split=0.8"], r"split=0.8 must be shares above 0"),
        (["split=[0.5, 0.5]"], r"shares above 0 that make 1 together"),
        (["split={train: most, val: 0.5}"], r"shares above 0 that make 1 together"),
        (["split={train: true}"], r"shares above 0 that make 1 together"),
        (["split={../train: 0.5, val: 0.5}"], r"split '../train' can't be part of a file's name"),
        (["split={train: 0.99, val: 0.01}"], r"split val gets none of 10 different questions"),
        (["split={train: 0.5, val: 0.5}", "dedupe=true"], "split and dedupe are different things to do"),
        (["split={train: 0.5, val: 0.5}", "task.train_file=null"], "task.train_file, which is null; set it"),
    ],
)
def test_what_cannot_be_divided_is_refused(mine, options, message):
    with pytest.raises(ValueError, match=message):
        run(mine, *options)
    assert len(list(mine.parent.glob("*.jsonl"))) == 1


def test_files_of_one_name_are_not_mixed_in_another_folder(mine, tmp_path):
    other = tmp_path / "other" / "mine.jsonl"
    other.parent.mkdir()
    rows = [json.loads(line) for line in lines(mine)]
    other.write_text(
        "".join(json.dumps(row | {"text_input": f"Other: {number}"}) + "\n" for number, row in enumerate(rows))
    )
    for image in mine.parent.glob("*.png"):
        copy(image, other.parent)
    with pytest.raises(
        ValueError, match=r"mine.jsonl and .*mine.jsonl would both become .*out/mine-train.jsonl; rename"
    ):
        run(f"[{mine},{other}]", "split={train: 0.5, val: 0.5}", f"out={tmp_path}/out")
    assert not (tmp_path / "out").exists()


def test_a_part_in_another_folder_says_where_its_images_are(mine, tmp_path, capsys):
    run(mine, "split={train: 0.5, val: 0.5}", f"out={tmp_path}/out")
    assert (
        f"unless task.image_root is set, image files are found with task.image_root={mine.parent.resolve()}"
        in capsys.readouterr().out
    )


def test_nothing_that_is_there_is_overwritten_and_then_nothing_is_written(mine):
    mine.with_name("mine-val.jsonl").write_text("precious")
    with pytest.raises(ValueError, match=r"mine-val.jsonl is there already; remove it"):
        run(mine, "split={train: 0.5, val: 0.5}")
    assert mine.with_name("mine-val.jsonl").read_text() == "precious"
    assert not mine.with_name("mine-train.jsonl").exists()


def test_the_description_counts_images_and_tokens_as_the_model_does(mine, capsys, processor, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    from data_modules.rows.rows import Rows
    from mirage_pl.mirage.collator import Collator

    collate = Collator(processor, 4, latents=True, helpers=False)
    rows = Rows().read(mine)
    tokens = [collate([rows[index]]).num_real for index in range(len(rows))]
    run(mine, f"loader.max_length={sorted(tokens)[-3]}")
    printed = capsys.readouterr().out
    assert f"{sum(tokens) / 12:.1f} ({min(tokens)} to {max(tokens)}), 2 above {sorted(tokens)[-3]}" in printed
    assert "12 of 56×28" in printed
    assert "12 of 28×28" in printed
    run(mine, "collator=null")
    assert "–" in capsys.readouterr().out


def test_the_sheet_shows_rows_of_each_split_with_their_images(mine, tmp_path):
    run(mine, f"sheet={tmp_path}/sheet", "num_shown=2", "collator=null")
    page = (tmp_path / "sheet" / "sheet.html").read_text()
    assert page.count(f'<img alt="{mine}:') == 2
    assert page.count("How red?") == 2
    with Image.open(tmp_path / "sheet" / "sheet.png") as sheet:
        assert sheet.width == WIDTH
        assert PINK in {sheet.getpixel((x, SIDE // 2)) for x in range(WIDTH)}, "the helper image is framed"
    small = resized(Picture(mine.with_name("input-5.png")), "")
    assert small.size == (SIDE, SIDE // 2)
