import csv
import random
import tracemalloc

import pytest

from data_modules.files import tables
from data_modules.files.sources import open_source


def write(file, rows, **options):
    with file.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as stream:
        csv.writer(stream, **options).writerows(rows)
    return file


def test_rows_of_a_table_are_those_that_pythons_reader_reads_whatever_stands_in_them(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK", 7)
    draw = random.Random(0)
    values = ["", "a", 'say "no"', "two\nlines", "back\r\nslash", "a,b\tc", "é", "  ", '"']
    for number in range(40):
        columns = draw.randint(1, 4)
        rows = [[draw.choice(values) for _ in range(columns)] for _ in range(draw.randint(1, 6))]
        rows = [[f"name{column}" for column in range(columns)], *(row if any(row) else ["x"] * columns for row in rows)]
        kind, delimiter = draw.choice([(".csv", ","), (".tsv", "\t")])
        ending = draw.choice(["\n", "\r\n"])
        file = write(tmp_path / f"{number}{kind}", rows, delimiter=delimiter, lineterminator=ending)
        with file.open(newline="") as stream:
            expected = list(csv.DictReader(stream, delimiter=delimiter))
        source = open_source(file)
        order = draw.sample(range(len(source)), len(source))
        assert {index: source[index] for index in order} == dict(enumerate(expected))


def test_a_row_is_named_by_the_line_where_it_starts(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b'\xef\xbb\xbfq,a\r\n"one\r\ntwo",1\r\n\r\nlast,2')
    source = open_source(file)
    assert [source.where(index) for index in range(2)] == [f"{file}:2", f"{file}:5"]
    assert list(source) == [{"q": "one\r\ntwo", "a": "1"}, {"q": "last", "a": "2"}]
    with pytest.raises(IndexError):
        source[2]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "its first line must name the columns"),
        (b"q,q\n1,2\n", "its first line must name the columns, each once"),
        (b"q,a\n", "holds no rows"),
        (b"q,a\n1\n", "a.csv:2: 1 values for 2 columns"),
        (b"q,a\n1,2,3\n", "a.csv:2: 3 values for 2 columns"),
        (b'q,a\n1,"2\n3,4\n', "a.csv:2: broken table"),
        (b"q,a\n1,\xff\n", "a.csv:2: not UTF-8 text"),
    ],
)
def test_a_broken_table_is_one_line(tmp_path, content, complaint):
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        open_source(file)[0]


def test_a_long_value_is_read_and_the_others_are_not_kept(tmp_path):
    file = write(
        tmp_path / "a.tsv", [["index", "image"], *([str(n), "A" * 1_000_000] for n in range(8))], delimiter="\t"
    )
    tracemalloc.start()
    source = open_source(file)
    opened = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(source[7]["image"]) == 1_000_000
    assert opened < 500_000
