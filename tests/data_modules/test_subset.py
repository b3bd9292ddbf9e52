"""Some rows of a file as a file of the same kind: what is read back is what the rows were."""

import pytest

from data_modules.files.sources import open_source
from data_modules.files.subset import copy_rows, locate_row
from tests.data_modules.source_files import every_kind, plainly


def test_rows_that_are_copied_read_back_as_they_were(tmp_path):
    for file in every_kind(tmp_path):
        whole, picks = open_source(file), [0, 3, 8]
        names = {locate_row(whole.where(index))[1] for index in picks}
        copy_rows(file, names, tmp_path / "some" / file.name)
        some = open_source(tmp_path / "some" / file.name)
        assert [plainly(some[index]) for index in range(len(some))] == [plainly(whole[index]) for index in picks]
    assert sorted(file.name for file in (tmp_path / "some").iterdir()) == [
        "a.jsonl",
        "b.jsonl.gz",
        "c.parquet",
        "d.tar",
        "e.csv",
    ]


def test_a_row_is_found_by_what_errors_call_it():
    assert locate_row("data/a:b.jsonl:12")[1] == "12"
    assert locate_row("a.parquet:row 3, choices rotated by 2")[1] == "row 3"
    assert str(locate_row("data/a:b.jsonl:12")[0]) == "data/a:b.jsonl"
    assert (
        str(locate_row("a, choices rotated by 1.jsonl:2, choices rotated by 3")[0]) == "a, choices rotated by 1.jsonl"
    )


def test_a_copy_may_have_a_suffix_in_capitals(tmp_path):
    (tmp_path / "A.JSONL").write_text('{"a": 1}\n{"a": 2}\n')
    copy_rows(tmp_path / "A.JSONL", {"2"}, tmp_path / "B.JSONL")
    assert (tmp_path / "B.JSONL").read_text() == '{"a": 2}\n'


def test_a_copy_that_fails_leaves_nothing_behind(tmp_path):
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(Exception, match="magic|footer|too small"):
        copy_rows(tmp_path / "bad.parquet", {"row 0"}, tmp_path / "out" / "some.parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_other_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"rows.xlsx is none of .parquet, .tar, .csv, .tsv, .jsonl"):
        copy_rows(tmp_path / "rows.xlsx", {"1"}, tmp_path / "some.xlsx")
