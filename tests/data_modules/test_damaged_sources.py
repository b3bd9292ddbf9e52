import gzip
import re
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_modules.files import lines, packed
from data_modules.files.lines import Lines
from data_modules.files.packed import PackedImage
from data_modules.files.sources import open_source
from data_modules.images import image_size, open_image
from mirage_pl.mirage.features import FeatureCache
from tests.data_modules.source_files import (
    IMAGE,
    cell,
    every_kind,
    jsonl,
    parquet,
    picture,
    plainly,
    sat,
    shard,
    tar,
)


def refuse(file, complaint, index=None):
    """Open, or read a row, and see one line that names the file."""

    def read():
        source = open_source(file)
        return [plainly(row) for row in source] if index is None else source[index]

    with pytest.raises((ValueError, OSError), match=complaint) as caught:
        read()
    message = str(caught.value)
    assert str(file) in message
    assert "\n" not in message


def test_files_that_are_missing_empty_or_of_no_known_kind_are_refused(tmp_path):
    refuse(tmp_path / "none.jsonl", "does not exist")
    (tmp_path / "rows.xlsx").write_text("a,b")
    refuse(tmp_path / "rows.xlsx", r"is none of .*\.jsonl.*\.parquet.*convert it")
    for name in ("a.jsonl", "b.json", "e.parquet", "f.tar"):
        (tmp_path / name).write_bytes(b"")
        refuse(tmp_path / name, "holds no rows|cannot be read|empty file")
    (tmp_path / "b.json").write_bytes(b"\n \n\n")
    refuse(tmp_path / "b.json", "holds no rows")
    refuse(jsonl(tmp_path / "c.jsonl.gz", []), "holds no rows")
    refuse(tar(tmp_path / "g.tar", [("README", b"x"), (".hidden.txt", b"x")]), "holds no rows")
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "h.parquet")
    refuse(tmp_path / "h.parquet", "holds no rows")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"a": ', "broken JSON .* truncated"),
        (b"{'a': 1}", 'broken JSON .* a row is a JSON object, such as {"question'),
        (b"question,answer", 'broken JSON .* a row is a JSON object, such as {"question'),
        (b'{"a": "\xff"}', "not UTF-8 .*; save the file as UTF-8"),
        (b"[1, 2]", "must be a JSON object, got list"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_damaged_line_names_file_and_line_and_the_others_stay_readable(tmp_path, line, complaint):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n\n' + line + b'\n{"a": 2}\n')
    refuse(file, f"rows.jsonl:3: .*{complaint}")
    assert [open_source(file)[index] for index in (0, 2)] == [{"a": 1}, {"a": 2}]


def test_an_overlong_line_is_refused_without_being_read(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "TEXT_LIMIT", 100)
    file = jsonl(tmp_path / "rows.jsonl", [{"a": 1}, {"a": "x" * 100}])
    monkeypatch.setattr(lines, "read_at", None)
    refuse(file, "rows.jsonl:2: 110 bytes of text, more than 100", index=1)
    long = tar(tmp_path / "long.tar", [("a.txt", b"x" * 101)])
    monkeypatch.undo()
    monkeypatch.setattr(packed, "TEXT_LIMIT", 100)
    refuse(long, "long.tar:a, txt: 101 bytes of text", index=0)


def test_damaged_gzip_files_and_bombs_are_refused_and_leave_nothing_unpacked(tmp_path, monkeypatch):
    good = jsonl(tmp_path / "a.jsonl.gz", [{"a": number} for number in range(1000)]).read_bytes()
    for name, content in {
        "cut": good[:-20],
        "none": b'{"a": 1}\n',
        "bent": good[:40] + b"\xff" * 9 + good[49:],
    }.items():
        file = tmp_path / f"{name}.jsonl.gz"
        file.write_bytes(content)
        before = set(Path(lines._temporary_folder().name).iterdir())
        refuse(file, "cannot be unpacked")
        assert set(Path(lines._temporary_folder().name).iterdir()) == before
    monkeypatch.setattr(lines, "UNPACKED_LIMIT", 1000)
    bomb = jsonl(tmp_path / "bomb.jsonl.gz", [{"a": "x" * 10_000}])
    refuse(bomb, "unpacks to more than 1000 bytes")
    assert set(Path(lines._temporary_folder().name).iterdir()) == before


def test_damaged_parquet_files_are_refused_by_file_and_row(tmp_path):
    good = parquet(tmp_path / "a.parquet", [sat(number) for number in range(9)]).read_bytes()
    for name, content in {
        "cut": good[:-50],
        "none": b"PAR1 no",
        "bent": good[:-200] + b"\xff" * 150 + good[-50:],
    }.items():
        (tmp_path / f"{name}.parquet").write_bytes(content)
        refuse(tmp_path / f"{name}.parquet", f"{name}.parquet: cannot be read")
    (tmp_path / "row.parquet").write_bytes(good[:4] + b"\xff" * 60 + good[64:])
    refuse(tmp_path / "row.parquet", r"row.parquet:row 0: cannot be read", index=0)
    pathless = pa.array([{"bytes": None, "path": "a.png"}], IMAGE)
    pq.write_table(pa.table({"image_1": pathless}), tmp_path / "path.parquet")
    refuse(tmp_path / "path.parquet", r"row 0, image_1: the cell holds no bytes")


def test_a_tar_file_damaged_anywhere_is_refused_and_no_row_is_lost_silently(tmp_path):
    good = shard(tmp_path / "a.tar", range(5)).read_bytes()
    tail = good.rstrip(b"\0")
    headers = [at for at in range(0, len(tail), 512) if good[at : at + 6] == b"./data"]
    assert len(headers) == 15
    damaged = {f"bent{at}": good[:at] + b"\xff" * 9 + good[at + 9 :] for at in headers}
    damaged |= {"cut": good[: headers[-2] + 520], "header": good[: headers[-1] + 100], "zip": gzip.compress(good)}
    for name, content in damaged.items():
        (tmp_path / f"{name}.tar").write_bytes(content)
        refuse(tmp_path / f"{name}.tar", "damaged")
    (tmp_path / "unmarked.tar").write_bytes(good[: headers[-1] + 1024])
    assert len(open_source(tmp_path / "unmarked.tar")) == 5, "the end mark is optional"
    refuse(tar(tmp_path / "json.tar", [("a.json", b"{")]), r"json.tar:a, json: broken JSON")
    refuse(tar(tmp_path / "text.tar", [("a.txt", b"\xff")]), r"text.tar:a, txt: .*utf-8")
    refuse(tar(tmp_path / "twice.tar", [("a.txt", b"1"), ("./a.txt", b"2")]), "a.txt is there twice")


@pytest.mark.parametrize("name", ["../../etc/passwd.txt", "/etc/passwd.txt", "a/../../b.txt"])
def test_tar_members_that_leave_the_folder_and_links_are_refused(tmp_path, name):
    refuse(tar(tmp_path / "a.tar", [(name, b"x")]), f"path {name} leaves the data's folder")
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        refuse(tar(tmp_path / "link.tar", [("a.txt", b"")], kind), "a.txt is no plain file")


def test_a_file_that_vanishes_or_shrinks_is_a_clear_error_at_the_row(tmp_path):
    for file in every_kind(tmp_path):
        source = open_source(file)
        image = next((value for value in source[8].values() if isinstance(value, PackedImage)), None)
        opened = source.file if isinstance(source, Lines) else file
        opened.write_bytes(opened.read_bytes()[:30])
        for read in [lambda source=source: source[8], *([image.read_bytes] if image else [])]:
            with pytest.raises((ValueError, OSError), match=f"{file}.*(cannot be read|ends before|any more)"):
                read()
        opened.unlink()
        with pytest.raises(ValueError, match=f"{file}.*No such file"):
            source[8]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("look", [open_image, image_size])
def test_images_too_large_or_damaged_are_one_line_that_names_row_and_image(tmp_path, monkeypatch, look):
    contents = {"empty": b"", "text": b"no image", "cut": picture(9)[:20], "good": picture(9)}
    files = [(path := tmp_path / f"{name}.png", path.write_bytes(content)) for name, content in contents.items()]
    packed = parquet(tmp_path / "images.parquet", [{"image_1": {"bytes": c, "path": ""}} for c in contents.values()])
    *bad, good = zip([path for path, _ in files], [row["image_1"] for row in open_source(packed)], strict=True)
    for source in [source for both in bad for source in both]:
        with pytest.raises(ValueError, match=f"^rows:3: image {re.escape(str(source))} cannot be read [^\n]*$"):
            look(source, "rows:3")
    for limit in (28 * 28 - 1, 28):  # Pillow itself warns at the first and refuses at the second
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for source in good:
            with pytest.raises(ValueError, match=f"^rows:3: image {re.escape(str(source))} is too large to decode"):
                look(source, "rows:3")


def test_a_packed_image_is_used_as_a_path_is(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(picture(9))
    packed = open_source(parquet(tmp_path / "a.parquet", [{"image_1": cell(9)}]))[0]["image_1"]
    inside = open_source(shard(tmp_path / "a.tar", [9]))[0]["helper.png"]
    for source in (packed, inside):
        assert source.read_bytes() == path.read_bytes() == source.open("rb").read()
        assert open_image(source, "").tobytes() == open_image(path, "").tobytes()
        assert image_size(source, "") == image_size(path, "") == (28, 28)
        assert source.stat() == source.file.stat()
        assert source.is_file()
        assert FeatureCache(None).key(source) == FeatureCache(None).key(path)
        source.file.unlink()
        assert not source.is_file()
        with pytest.raises(ValueError, match=f"rows:3: image {re.escape(str(source))} cannot be read .*No such file"):
            open_image(source, "rows:3")
