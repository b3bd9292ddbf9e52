import io
import json
import multiprocessing
import pickle
import subprocess
import sys
import tarfile
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_modules.files import lines, packed
from data_modules.files.sources import Concatenated, Mixed, find_files, open_mixed, open_source
from tests.conftest import REPO
from tests.data_modules.source_files import (
    IMAGE,
    blink,
    cell,
    every_kind,
    full_read,
    jsonl,
    parquet,
    picture,
    plainly,
    sat,
    shard,
    tar,
    zebra,
)


@pytest.mark.parametrize("make", [blink, sat, zebra])
def test_published_parquet_rows_read_one_by_one_in_any_order_are_those_of_a_full_read(tmp_path, make):
    file = parquet(tmp_path / "val.parquet", [make(number) for number in range(10)])
    source, expected = open_source(file), full_read(file)
    assert len(source) == 10
    for index in (7, 0, 9, 3, 2, 7, 5, 8, 1, 4, 6):
        row = source[index]
        assert list(row) == list(expected[index])
        assert not any(isinstance(value, bytes) for value in row.values())
        assert plainly(row) == expected[index]
        assert source.where(index) == f"{file}:row {index}"


def test_lists_of_image_structs_plain_bytes_and_large_types_are_images_and_text_is_not(tmp_path):
    rows = [{"images": [cell(1), cell(2)], "one": picture(3), "text": "t"}, {"images": None, "one": None, "text": "u"}]
    images = pa.array([row["images"] for row in rows], pa.large_list(IMAGE))
    ones = pa.array([row["one"] for row in rows], pa.large_binary())
    file = tmp_path / "lists.parquet"
    pq.write_table(pa.table({"images": images, "one": ones, "text": ["t", "u"]}), file)
    first, second = open_source(file)
    assert plainly(first) == {"images": [picture(1), picture(2)], "one": picture(3), "text": "t"}
    assert second == {"images": None, "one": None, "text": "u"}
    assert str(first["images"][1]) == f"{file}:row 0, images[1]"


def test_a_row_of_hugging_face_images_is_read_without_any_image(tmp_path, monkeypatch):
    source = open_source(parquet(tmp_path / "val.parquet", [blink(number) for number in range(6)]))
    read = []
    chunk = packed._images
    monkeypatch.setattr(packed, "_images", lambda *key: read.append(key[2:]) or chunk(*key))
    row = source[4]
    assert read == []
    row["image_3"].read_bytes()
    assert read == [(1, "image_3")]


def test_json_lines_skip_empty_lines_and_keep_true_line_numbers_whatever_the_blocks(tmp_path, monkeypatch):
    text = b'\n{"a": 1}\n  \t\n\r\n{"a": "\xc3\xa9 and more"}\r\n\n\n{"a": 3}\n   \n{"a": 4}'
    file = tmp_path / "rows.jsonl"
    for content in (text, text + b"\n", text + b"\n\n  "):
        file.write_bytes(content)
        slow = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if line.strip()]
        for block in range(1, 20):
            monkeypatch.setattr(lines, "BLOCK", block)
            source = open_source(file)
            assert list(source) == [json.loads(line) for _, line in slow]
            assert [source.where(index) for index in range(len(source))] == [f"{file}:{number}" for number, _ in slow]


def test_gzipped_lines_are_the_lines_and_errors_name_the_gzipped_file(tmp_path):
    rows = [{"a": number} for number in range(5)]
    file = jsonl(tmp_path / "rows.jsonl.gz", rows)
    source = open_source(file)
    assert list(source) == rows
    assert source.where(4) == f"{file}:5"
    assert tmp_path not in source.file.parents
    assert open_source(file).file == source.file, "unpacked once"


def test_what_was_unpacked_is_removed_when_the_process_ends(tmp_path):
    file = jsonl(tmp_path / "rows.jsonl.gz", [{"a": 1}])
    code = "import sys; from data_modules.files.sources import open_source; "
    code += "s = open_source(sys.argv[1]); print(s[0], s.file)"
    done = subprocess.run([sys.executable, "-c", code, file], cwd=REPO, capture_output=True, text=True, check=True)
    row, unpacked = done.stdout.rsplit(maxsplit=1)
    assert row == "{'a': 1}"
    assert unpacked.endswith(".jsonl")
    assert not Path(unpacked).parent.exists()


def test_tar_members_are_grouped_by_name_even_if_they_lie_apart(tmp_path):
    file = shard(tmp_path / "shard.tar", range(4))
    source = open_source(file)
    assert [source.where(index) for index in range(4)] == [f"{file}:data/{number:05}" for number in range(4)]
    wanted = {"json": {"question": "q2"}, "helper.png": picture(2), "txt": "caption é"}
    assert plainly(source[2]) == wanted
    assert str(source[2]["helper.png"]) == f"{file}:data/00002, helper.png"
    apart = tar(tmp_path / "apart.tar", [("a.txt", b"1"), ("b.txt", b"2"), ("README", b""), ("a.png", picture(1))])
    assert [plainly(row) for row in open_source(apart)] == [{"txt": "1", "png": picture(1)}, {"txt": "2"}]


def test_long_member_names_are_read_in_both_dialects(tmp_path):
    name = "deep/" * 40 + "é.txt"
    for dialect in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        file = tmp_path / f"{dialect}.tar"
        with tarfile.open(file, "w", format=dialect) as archive:
            for number in range(2):
                info = tarfile.TarInfo(f"{number}/{name}")
                info.size = 1
                archive.addfile(info, io.BytesIO(b"x"))
        source = open_source(file)
        assert [source.where(index) for index in range(2)] == [f"{file}:{number}/{name[:-4]}" for number in range(2)]
        assert list(source) == [{"txt": "x"}] * 2


def answer(source, queue):
    queue.put([plainly(source[index]) for index in (8, 0, 4)])


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_other_processes_read_the_same_rows_as_this_one(tmp_path, start):
    sources = [open_source(file) for file in every_kind(tmp_path)]
    everything = Concatenated(sources)
    expected = [plainly(row) for row in everything]  # files are open here when the others start
    context = multiprocessing.get_context(start)
    for source in (sources[0], everything):
        queue = context.Queue()
        others = [context.Process(target=answer, args=(source, queue)) for _ in range(2)]
        for other in others:
            other.start()
        answers = [queue.get(timeout=60) for _ in others]
        for other in others:
            other.join()
        assert answers == [[expected[index] for index in (8, 0, 4)]] * 2
    assert [plainly(row) for row in everything] == expected, "the unpacked file outlives the others"


def test_a_pickled_source_reads_the_same_and_negative_rows_are_none(tmp_path):
    for file in every_kind(tmp_path):
        source = open_source(file)
        again = pickle.loads(pickle.dumps(source))
        assert [plainly(row) for row in again] == [plainly(row) for row in source]
        for index in (-1, 9):
            with pytest.raises(IndexError, match=f"no row {index} in .*, which has 9"):
                source[index]


def test_a_large_file_takes_sixteen_bytes_a_row_and_no_row_is_kept(tmp_path):
    count, file = 200_000, tmp_path / "large.jsonl"
    file.write_bytes(b'{"text_input": "which way?", "image_input": "a.png"}\n' * count)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        source = open_source(file)
        for index in range(0, count, 1000):
            source[index]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(source) == count
    assert after - before < 16 * count + 100_000
    assert len(pickle.dumps(source)) < 16 * count + 10_000


def test_a_file_written_anew_is_read_anew(tmp_path):
    file = parquet(tmp_path / "val.parquet", [sat(number) for number in range(4)])
    assert plainly(open_source(file)[1]) == sat(1)
    parquet(file, [sat(10 + number) for number in range(5)])
    assert plainly(open_source(file)[1]) == sat(11)


def test_files_follow_one_another_in_the_order_given_and_globs_are_sorted(tmp_path):
    for name in ("b", "a", "c", "[x]"):
        jsonl(tmp_path / f"{name}.jsonl", [{"file": name, "row": row} for row in range(2)])
    files = find_files([tmp_path / "c.jsonl", str(tmp_path / "[ab].jsonl"), tmp_path / "[x].jsonl"])
    assert [file.stem for file in files] == ["c", "a", "b", "[x]"]
    source = Concatenated([open_source(file) for file in files])
    assert [(row["file"], row["row"]) for row in source] == [
        (name, row) for name in ("c", "a", "b", "[x]") for row in (0, 1)
    ]
    assert source.where(3) == f"{tmp_path}/a.jsonl:2"
    with pytest.raises(ValueError, match=r"no file matches .*d\*\.jsonl"):
        find_files([str(tmp_path / "d*.jsonl")])
    with pytest.raises(ValueError, match="a.jsonl is named twice"):
        find_files([tmp_path / "a.jsonl", str(tmp_path / "*.jsonl")])


def test_weights_say_how_often_a_row_is_served_and_the_seed_which(tmp_path):
    sources = [
        open_source(jsonl(tmp_path / f"{name}.jsonl", [{"row": f"{name}{row}"} for row in range(10)]))
        for name in "abcd"
    ]

    def served(seed):
        mixed = Mixed(sources, [2, 0.5, 1.3, 0.01], seed)
        assert len(mixed) == 20 + 5 + 13 + 1
        return Counter(row["row"] for row in mixed)

    first = served(0)
    times = {name: sorted(first[f"{name}{row}"] for row in range(10)) for name in "abcd"}
    assert times == {"a": [2] * 10, "b": [0] * 5 + [1] * 5, "c": [1] * 7 + [2] * 3, "d": [0] * 9 + [1]}
    assert served(0) == first
    assert len({tuple(sorted(served(seed))) for seed in range(5)}) > 1
    mixed = Mixed(sources, [2, 0.5, 1.3, 0.01], 0)
    for index in range(len(mixed)):
        assert mixed.where(index).endswith(f"{mixed[index]['row'][0]}.jsonl:{int(mixed[index]['row'][1:]) + 1}")


@pytest.mark.parametrize("weight", [0, -1, np.nan, np.inf])
def test_a_weight_that_is_no_positive_number_names_the_file(tmp_path, weight):
    source = open_source(jsonl(tmp_path / "a.jsonl", [{"a": 1}]))
    with pytest.raises(ValueError, match=f"the weight of {tmp_path}/a.jsonl is {weight}; give a number above 0"):
        Mixed([source], [weight], seed=0)
    with pytest.raises(ValueError, match="2 weights for 1 sources"):
        Mixed([source], [1, 1], seed=0)


@pytest.mark.parametrize(
    "kind", [pa.list_(IMAGE), pa.list_(IMAGE, 1), pa.large_list(IMAGE), pa.list_(pa.binary(), 1), pa.binary_view()]
)
def test_a_columns_images_are_read_whatever_arrow_calls_their_type(tmp_path, kind):
    content = picture(1)
    image = {"bytes": content, "path": None} if "struct" in str(kind) else content
    column = pa.array([image if kind == pa.binary_view() else [image]], kind)
    pq.write_table(pa.table({"image": column}), tmp_path / "a.parquet")
    read = open_source(tmp_path / "a.parquet")[0]["image"]
    assert [one.read_bytes() for one in (read if isinstance(read, list) else [read])] == [content]


def test_a_saved_data_set_that_is_damaged_is_named_and_no_list_of_files_is_empty(tmp_path):
    for name in ("state.json", "dataset_dict.json"):
        for content in ("{", "{}", "[]", "null"):
            (tmp_path / name).write_text(content)
            with pytest.raises(ValueError, match=f"{name} says nothing of .*; save the data set anew"):
                find_files([tmp_path])
    with pytest.raises(ValueError, match="names no file of rows"):
        open_mixed([], 0)


def test_a_class_of_a_tar_files_row_is_text(tmp_path):
    file = tar(tmp_path / "a.tar", [("1.cls", b"3"), ("1.png", picture(1))])
    assert open_source(file)[0]["cls"] == "3"


ODD = {
    "times of nanoseconds": (pa.timestamp("ns"), [1_700_000_000_123_456_789, None]),
    "such times in a zone": (pa.timestamp("ns", "UTC"), [1_700_000_000_123_456_789, None]),
    "such times in a list": (pa.list_(pa.timestamp("ns")), [[1_700_000_000_123_456_789], None]),
    "such times in an object": (pa.struct({"at": pa.timestamp("ns")}), [{"at": 1_700_000_000_123_456_789}, None]),
    "times of day": (pa.time64("ns"), [123_456_789, None]),
    "durations": (pa.duration("ns"), [123_456_789, None]),
    "times before the year 1": (pa.timestamp("s"), [-(10**12), None]),
    "times in a zone nobody knows": (pa.timestamp("us", "Mars/Olympus"), [1, None]),
}


@pytest.mark.parametrize("name", ODD)
def test_a_column_of_times_that_python_does_not_have_costs_at_most_its_own_row(tmp_path, name):
    kind, values = ODD[name]
    table = {"text_input": ["a", "b"], "text_output": ["1", "2"], "when": pa.array(values, kind)}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    assert source[1] == {"text_input": "b", "text_output": "2", "when": None}
    if "year 1" in name or "nobody" in name:
        with pytest.raises(ValueError, match=r"a.parquet:row 0: cannot be read \("):
            source[0]
    else:
        assert source[0]["text_input"] == "a"
        assert "123456" in repr(source[0]["when"]) or "microsecond" in repr(source[0]["when"]) or source[0]["when"]
