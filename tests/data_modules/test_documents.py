import gzip
import json
from random import Random

import pyarrow as pa
import pytest

from data_modules.files import documents
from data_modules.files.documents import Document, is_document, open_json
from data_modules.files.lines import Lines
from data_modules.files.sources import find_files, open_source
from data_modules.files.subset import copy_rows, locate_row
from data_modules.rows.rows import Rows
from tests.conftest import compose
from tests.data_modules.source_files import cell, jsonl, parquet, picture, plainly

ODD = ["", "a,b", "[", "}", '"', "\\", '\\"', "\\\\", "é\n", "{}", '"}],[{"']
ROWS = [{"q": odd, "n": number, "deep": [{"x": [odd, None]}, []]} for number, odd in enumerate(ODD)]


def dumped(values, **options):
    return [json.dumps(value, **options) for value in values]


SHAPES = {
    "indented": json.dumps(ROWS, indent=2),
    "minified": json.dumps(ROWS, separators=(",", ":"), ensure_ascii=False),
    "array of lines": "[\n" + ",\n".join(dumped(ROWS)) + "\n]\n",
    "array with a comma at its end": "[" + ", ".join(dumped(ROWS)) + ", ]",
    "lines with commas": ",\n".join(dumped(ROWS)) + ",\n",
    "in data": json.dumps({"version": "1", "info": {"a": [1, 2]}, "data": ROWS}, indent=1),
    "in data, one line": json.dumps({"data": ROWS}),
    "alone under any name": json.dumps({"my_questions": ROWS}, indent=1),
    "by name": json.dumps({f"row{number}": row for number, row in enumerate(ROWS)}, indent=4),
    "indented objects": "\n".join(dumped(ROWS, indent=2)),
    "objects on one line": "".join(dumped(ROWS)),
    "arrays one after another": json.dumps(ROWS[:4]) + "\n" + json.dumps(ROWS[4:]),
    "with a BOM": "\ufeff" + json.dumps(ROWS, indent=2),
    "with CRLF": json.dumps(ROWS, indent=2).replace("\n", "\r\n"),
    "with blank lines": "\n\n" + json.dumps(ROWS, indent=2).replace("\n", "\n\n"),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ending", ["json", "jsonl", "json.gz"])
def test_json_is_read_in_whatever_way_its_rows_lie(tmp_path, monkeypatch, shape, ending):
    file = tmp_path / f"rows.{ending}"
    content = SHAPES[shape].encode()
    file.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    for block in (1 << 22, 7, 1):
        monkeypatch.setattr(documents, "BLOCK", block)
        source = open_source(file)
        assert [source[index] for index in range(len(source))] == ROWS
        assert isinstance(source, Document)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(dumped(ROWS)),
        "\n\n" + "\n\n".join(dumped(ROWS)) + "\n",
        json.dumps(ROWS[0]),
        json.dumps({"q": "a", "messages": [{"role": "user"}]}),
        json.dumps({"q": "a", "choices": [{"text": "b"}]}),
        json.dumps({"q": "a", "boxes": [{"x": 1}]}),
        '{"q": "cut\n' + json.dumps(ROWS[0]),
        '{"q": "cut',
        "[1]\n[2]",
    ],
)
def test_one_object_a_line_stays_that_whatever_is_wrong_with_a_line(tmp_path, text):
    file = tmp_path / "a.jsonl"
    file.write_text(text)
    assert isinstance(open_json(file), Lines)


def test_random_documents_are_cut_as_json_reads_them(tmp_path, monkeypatch):
    def value(random, depth):
        kind = random.randrange(4 if depth else 2)
        if kind < 2:
            return random.choice([*ODD, 1, -2.5, None, True])
        if kind == 2:
            return [value(random, depth - 1) for _ in range(random.randrange(4))]
        return {random.choice(ODD) + str(key): value(random, depth - 1) for key in range(random.randrange(4))}

    file = tmp_path / "a.json"
    for case in range(200):
        random = Random(case)
        rows = [{"row": value(random, 3)} for _ in range(random.randrange(1, 6))]
        file.write_text(json.dumps(rows, indent=random.choice([None, 0, 2]), ensure_ascii=random.random() < 0.5))
        monkeypatch.setattr(documents, "BLOCK", random.choice([1, 2, 5, 100]))
        source = Document(file)
        assert [source[index] for index in range(len(source))] == rows, f"case {case}"


def test_a_bad_element_is_a_bad_row_and_a_file_that_is_cut_is_one_line(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('[\n  {"q": 1},\n  "text",\n  {"q": nothing},\n  {"q": 4}\n]')
    source = open_source(file)
    assert source.where(3) == f"{file}:row 3 (line 5)"
    assert source[3] == {"q": 4}
    for index, complaint in (
        (1, r"row 1 \(line 3\): a row must be a JSON object, got str"),
        (2, "row 2 .*: broken JSON"),
    ):
        with pytest.raises(ValueError, match=complaint):
            source[index]
    for text, complaint in (
        ('[\n  {"q": 1},\n  {"q"', "a bracket is never closed; is the file whole?|a string is never closed"),
        ('[\n  {"q": 1}]]', "was never opened"),
        ('{"train": [{"q": 1}], "test": [{"q": 2}]}', "several lists of objects, train, test; keep the one"),
        ("[]", "holds no rows"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=f"{file}.* ?.*({complaint})"):
            open_source(file)


def test_rows_of_an_array_are_asked_checked_and_copied(pictured, capsys):
    from mirage_pl.engine.datasets import description

    rows = [
        {"text_input": f"q{n}", "image_input": f"images/{n}.png", "text_output": f"\\boxed{{{n}}}"} for n in range(4)
    ]
    file = pictured / "rows.json"
    file.write_text(json.dumps(rows, indent=2))
    files = [f"task.train_file={file}", "task.val_file=null", "task.test_file=null"]
    description.run(compose("data", "task=jsonl", "validate=true", *files))
    assert "no bad rows in" in capsys.readouterr().out
    copy_rows(file, {locate_row(Rows().read(file)[index].where)[1] for index in (1, 3)}, pictured / "some.json")
    assert json.loads((pictured / "some.json").read_text()) == [rows[1], rows[3]]
    named = Rows({"text_input": "row", "text_output": "{text_output}"}).read(file)
    assert [sample.question[-1].text for sample in named] == ["0", "1", "2", "3"]
    description.run(compose("data", "task=jsonl", "split={train: 0.5, val: 0.5}", *files))
    parts = [json.loads((pictured / f"rows-{name}.json").read_text()) for name in ("train", "val")]
    assert sorted(row["text_input"] for part in parts for row in part) == ["q0", "q1", "q2", "q3"]


ARROW = pa.table(
    {
        "question": ["a", "b", "c"],
        "image": pa.array([cell(1), None, cell(3)], pa.struct({"bytes": pa.binary(), "path": pa.string()})),
    }
)


def saved(folder, name="data-00000-of-00001.arrow"):
    """A data set as ``save_to_disk`` writes it."""
    folder.mkdir(parents=True)
    with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, ARROW.schema) as writer:
        writer.write_table(ARROW, max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_saved_hugging_face_data_set_is_read_as_its_folder(tmp_path):
    folder = saved(tmp_path / "mine" / "train")
    [file] = find_files([folder])
    source = open_source(file)
    assert [plainly(source[index]) for index in range(3)] == [
        {"question": "a", "image": picture(1)},
        {"question": "b", "image": None},
        {"question": "c", "image": picture(3)},
    ]
    rows = Rows({"text_input": "question", "image_input": "image"}).read(folder)
    assert [len(sample.question) for sample in rows] == [2, 1, 2]
    (tmp_path / "mine" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ValueError, match=r"mine is a data set saved in splits; give one of .*mine/train, .*mine/test"):
        find_files([tmp_path / "mine"])


def test_a_folder_is_read_if_its_files_are_of_one_kind_and_one_split(tmp_path):
    rows = [{"a": 1}]
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"):
        parquet(tmp_path / "data" / name, rows)
    assert [file.name for file in find_files([tmp_path])] == [f"train-0000{n}-of-00002.parquet" for n in range(2)]
    parquet(tmp_path / "data" / "test-00000-of-00001.parquet", rows)
    with pytest.raises(
        ValueError, match=r"files of several splits; give .*data/test\*.parquet or .*data/train\*.parquet"
    ):
        find_files([tmp_path])
    jsonl(tmp_path / "a.jsonl", rows)
    parquet(tmp_path / "b.parquet", rows)
    with pytest.raises(ValueError, match=r"several kinds; give .*/\*.jsonl or .*/\*.parquet"):
        find_files([tmp_path])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty is a folder without files of rows"):
        find_files([tmp_path / "empty"])
    assert is_document(jsonl(tmp_path / "x.json", rows)) is False
