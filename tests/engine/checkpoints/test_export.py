"""What is written for others is what was trained, or it isn't there."""

import pytest
import torch
from omegaconf import OmegaConf

from mirage_pl.engine.checkpoints import export
from mirage_pl.engine.checkpoints.export import MARK, check_export, read_dtype


@pytest.mark.parametrize("name", ["bfloat61", "int64", "Tensor", "16"])
def test_what_is_no_type_of_weights_is_refused_by_its_key(name):
    with pytest.raises(ValueError, match=f"dtype={name} is no type of weights; give float32"):
        read_dtype(name)


def test_types_of_weights_are_read():
    assert [read_dtype(name) for name in (None, "float16", "bfloat16")] == [None, torch.float16, torch.bfloat16]


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
    """Its export loses something."""

    def export(self, folder, collator):
        (folder / MARK).write_text("{}")
        return {"lost": torch.zeros(1)}


def test_an_export_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    earlier = tmp_path / "out"
    earlier.mkdir()
    (earlier / MARK).write_text("earlier")
    monkeypatch.setattr(
        export, "load_trained", lambda ckpt, merged: type("T", (), {"module": Losing(), "collator": None})
    )
    with pytest.raises(ValueError, match="lost did not survive"):
        export.run(OmegaConf.create({"ckpt": "RUN", "out": str(earlier), "dtype": None}))
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (earlier / MARK).read_text() == "earlier"
