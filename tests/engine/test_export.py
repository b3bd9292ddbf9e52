"""What is written for others is what was trained, or it isn't there."""

import errno
import shutil
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from mirage_pl.engine import export
from mirage_pl.engine.errors import find_mistake
from mirage_pl.engine.export import MARK, check_export, check_place, check_room, convert, put_in_place, read_dtype


@pytest.mark.parametrize("name", ["bfloat61", "int64", "Tensor", "16"])
def test_what_is_no_type_of_weights_is_refused_by_its_key(name):
    with pytest.raises(ValueError, match=f"dtype={name} is no type of weights; give float32"):
        read_dtype(name)


def test_types_of_weights_are_read():
    assert [read_dtype(name) for name in (None, "float16", "bfloat16")] == [None, torch.float16, torch.bfloat16]


def test_what_is_no_size_of_a_file_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    for size in ("5", "large", "-1GB", "5 gigabytes"):
        with pytest.raises(ValueError, match=f"shard_size={size} is no size of a file; write it as 5GB"):
            export_it(monkeypatch, tmp_path / "out", shard_size=size)


def test_only_what_is_saved_is_converted():
    module = torch.nn.BatchNorm1d(2)
    module.register_buffer("angles", torch.rand(2), persistent=False)
    convert(module, torch.bfloat16)
    assert {name: value.dtype for name, value in module.state_dict().items()} == {
        **dict.fromkeys(("weight", "bias", "running_mean", "running_var"), torch.bfloat16),
        "num_batches_tracked": torch.int64,
    }
    assert module.angles.dtype == torch.float32


def test_a_tensor_that_comes_back_otherwise_is_named(tmp_path):
    weights = {"net.a": torch.ones(2), "net.b": torch.ones(2)}
    (tmp_path / MARK).write_text("{}")
    check_export(weights, {"net.a": torch.ones(2)}, tmp_path)
    for back in ({"net.a": torch.tensor([1.0, 1.5])}, {"net.c": torch.ones(2)}):
        with pytest.raises(ValueError, match=f"{next(iter(back))} did not survive the export"):
            check_export(weights, back, tmp_path)


def test_an_export_of_nothing_is_none(tmp_path):
    with pytest.raises(ValueError, match="read nothing back"):
        check_export({"net.a": torch.ones(2)}, {}, tmp_path)
    with pytest.raises(ValueError, match=f"wrote no {MARK}"):
        check_export({"net.a": torch.ones(2)}, {"net.a": torch.ones(2)}, tmp_path)


class Losing(torch.nn.Module):
    """Its export does not what it should."""

    def __init__(self, error=None):
        super().__init__()
        self.weight, self.error = torch.nn.Parameter(torch.ones(4)), error

    def export(self, folder, trained, shard_size):
        (folder / MARK).write_text("{}")
        if self.error:
            raise self.error
        return {"lost": torch.zeros(1)}


def export_it(monkeypatch, out, error=None, **options):
    trained = SimpleNamespace(module=Losing(error), collator=None)
    monkeypatch.setattr(export, "load_trained", lambda ckpt, merged: trained)
    options = {"ckpt": "RUN", "dtype": None, "replace": False, "shard_size": "5GB"} | options
    export.run(OmegaConf.create({**options, "out": str(out)}))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (None, "lost did not survive"),
        (
            export.SafetensorError("I/O error: No space left on device (os error 28)"),
            "out=.*cannot be written .*No space",
        ),
        (OSError(errno.ENOSPC, "No space left", "a.json"), "out=.*cannot be written .No space left., nothing was kept"),
        (OSError(errno.EROFS, "Read-only file system", "a.json"), "out=.*cannot be written .Read-only"),
    ],
)
def test_an_export_that_fails_leaves_what_was_there(tmp_path, monkeypatch, error, message):
    earlier = tmp_path / "out"
    earlier.mkdir()
    (earlier / MARK).write_text("earlier")
    with pytest.raises((ValueError, OSError)) as caught:
        export_it(monkeypatch, earlier, error, replace=True)
    mistake = find_mistake(caught.value)
    assert mistake is not None
    with pytest.raises(ValueError, match=message):
        raise mistake
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (earlier / MARK).read_text() == "earlier"


def make(folder, *files):
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()


def test_a_place_where_something_is_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    make(tmp_path, "thesis/a.tex", "file", "run/config.yaml", "run/checkpoints/last.ckpt", f"earlier/{MARK}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    wrong = {
        "thesis": "exists and is no earlier export; choose a new folder",
        "file": "is a file; give a folder",
        "run": "exists and is no earlier export",
        "run/exported": "lies in the run folder .*/run, which is training's own",
        "run/a/b": "lies in the run folder",
        "link/exported": "lies in the run folder",
        "earlier": "holds an earlier export; .*replace=true",
    }
    for name, message in wrong.items():
        with pytest.raises(ValueError, match=f"out={tmp_path}/{name} {message}"):
            export_it(monkeypatch, tmp_path / name)
    check_place(tmp_path / "new", replace=False)
    check_place(tmp_path / "empty", replace=False)
    check_place(tmp_path / "earlier", replace=True)
    with pytest.raises(ValueError, match="no earlier export"):
        check_place(tmp_path / "thesis", replace=True)


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=15))
    with pytest.raises(ValueError, match=f"the weights take 0.00 GB, and {tmp_path} has 0.00 GB left; make room"):
        export_it(monkeypatch, tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    check_room(tmp_path / "a", 15)


def test_an_earlier_export_goes_when_the_new_one_is_whole(tmp_path):
    make(tmp_path, f"out/{MARK}", "out/old", f"partial/{MARK}", "partial/new")
    put_in_place(tmp_path / "partial", tmp_path / "out")
    assert sorted(str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()) == [
        f"out/{MARK}",
        "out/new",
    ]
