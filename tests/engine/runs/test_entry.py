"""A run folder is made, gone on in, begun anew or refused, each in one line."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mirage_pl.engine.checkpoints.saving import beside
from mirage_pl.engine.runs.entry import make_folder, open_run, share_rows
from mirage_pl.engine.runs.folder import has_saved, write_json
from mirage_pl.engine.training import fit
from tests.conftest import REPO
from tests.engine.runs.tiny import tiny_config


def train(*args):
    cfg = tiny_config(*args)
    fit.run(cfg)
    return Path(cfg.run_dir)


@pytest.fixture
def half(tmp_path):
    """A run of 2 of its 4 steps."""
    return train(tmp_path, "tokenizer", "trainer.max_steps=2")


def test_a_run_that_failed_before_it_saved_anything_is_begun_anew_with_another_config(tmp_path):
    cfg = tiny_config(tmp_path, "tokenizer")
    (tmp_path / "train.txt").write_text("x y")
    with pytest.raises(ValueError, match="could not convert"):
        fit.run(cfg)
    (tmp_path / "train.txt").unlink()
    folder = train(tmp_path, "tokenizer", "seed=7")
    assert "seed: 7" in (folder / "config.yaml").read_text()
    with pytest.raises(ValueError, match=r"holds another run; seed was 7 and is 8.*choose another run_dir, or delete"):
        train(tmp_path, "tokenizer", "seed=8")


@pytest.mark.parametrize(
    "made", ["checkpoints/best.ckpt", "metrics.json", "evaluation/vsp/metrics.json", "status.json"]
)
def test_a_folder_that_holds_anything_of_a_training_is_never_given_to_another_run(tmp_path, made):
    cfg = tiny_config(tmp_path, "tokenizer")
    folder = open_run(cfg, {})
    assert not has_saved(folder)
    (folder / made).parent.mkdir(parents=True, exist_ok=True)
    (folder / made).write_text('{"step": 3}')
    with pytest.raises(ValueError, match="holds another run; seed was 1 and is 2"):
        open_run(tiny_config(tmp_path, "tokenizer", "seed=2"), {})


def test_a_broken_config_is_one_line_where_something_was_saved_and_rewritten_where_nothing_was(tmp_path, half):
    for content in (b"a: [", b"", b"\xff\xfe\x00"):
        (half / "config.yaml").write_bytes(content)
        with pytest.raises(ValueError, match=r"config.yaml(:| has).*restore it, or delete that run folder") as refused:
            train(tmp_path, "tokenizer")
        assert "\n" not in str(refused.value)
    shutil.rmtree(half / "checkpoints")
    (half / "metrics.json").unlink()
    assert train(tmp_path, "tokenizer") == half


@pytest.mark.parametrize("name", ["environment.json", "metrics.json"])
def test_a_broken_record_is_one_line(tmp_path, half, name):
    for content in ("{", "[]"):
        (half / name).write_text(content)
        with pytest.raises(
            ValueError, match=rf"{name}(: no JSON| holds no JSON object).*; restore it, or train that run"
        ):
            train(tmp_path, "tokenizer")


DAMAGE = {
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "empty": lambda file: os.truncate(file, 0),
    "random": lambda file: file.write_bytes(os.urandom(5000)),
    "text": lambda file: file.write_text("{}"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a tensor": lambda file: torch.save(torch.zeros(3), file),
    "weights only": lambda file: torch.save({"state_dict": {}, "global_step": 2}, file),
    "a flipped bit": lambda file: flip(file),
}


def flip(file):
    """Change one byte of a tensor."""
    content = bytearray(file.read_bytes())
    weight = torch.load(file, weights_only=True)["state_dict"]["net.encoder.weight"]
    at = content.index(weight.numpy().tobytes())
    content[at] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_one_line_that_names_it_and_says_what_to_do(tmp_path, half, damage):
    last = half / "checkpoints" / "last.ckpt"
    (half / "checkpoints" / "best.ckpt").touch()
    DAMAGE[damage](last)
    with pytest.raises(
        ValueError, match=rf"{last} .*; to begin anew .* delete it, or .* init_from=.*best.ckpt"
    ) as refused:
        train(tmp_path, "tokenizer")
    assert "\n" not in str(refused.value)
    shutil.rmtree(last) if last.is_dir() else last.unlink()
    train(tmp_path, "tokenizer")


def test_a_training_file_that_has_changed_is_noticed_whether_it_grew_or_not(tmp_path, half):
    train_file = tmp_path / "train.txt"
    before = train_file.read_text()
    for after in (before + "\n9", before.replace("0.1\n", "0.2\n"), before[:-5]):
        train_file.write_text(after)
        with pytest.raises(
            ValueError, match=r"task.train_file=.*train.txt has changed since run_dir=.* began \(\d+ bytes"
        ):
            train(tmp_path, "tokenizer")
    train_file.write_text(before)
    (tmp_path / "test.txt").write_text("new")
    train(tmp_path, "tokenizer")


@pytest.mark.parametrize("way", ["file/run", "file"])
def test_a_run_folder_that_cannot_be_made_names_what_is_in_the_way(tmp_path, way):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=rf"run_dir={tmp_path / way} cannot be made \(.*file.*choose another run_dir"):
        make_folder(tmp_path / way)


def test_a_command_says_so_too_before_anything_is_loaded(tmp_path):
    (tmp_path / "file").touch()
    for way, reason in {"file/run": "Not a directory", "file": "File exists"}.items():
        line = [sys.executable, "-m", "mirage_pl.train", "stage=sft", f"run_dir={tmp_path / way}"]
        done = subprocess.run(line, cwd=REPO, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert f"error: {tmp_path / way} cannot be written ({reason}); choose another folder (run_dir=" in done.stderr
        assert "Traceback" not in done.stderr


def test_more_processes_share_the_rows_of_a_run_that_goes_on(tmp_path, half, caplog):
    two = tiny_config(tmp_path, "tokenizer", "trainer.devices=2")
    with caplog.at_level(logging.INFO):
        share_rows(two, half)
    assert (two.loader.batch_size, two.task.data.loader.batch_size) == (1, 1)
    assert "2 processes in place of 1, so loader.batch_size=1 in place of 2" in caplog.text
    with pytest.raises(ValueError, match=r"loader.batch_size=2 on each of 1 process\(es\), and 3 can't share 2 evenly"):
        share_rows(tiny_config(tmp_path, "tokenizer", "trainer.devices=3"), half)
    own = tiny_config(tmp_path, "tokenizer", "trainer.devices=2", "loader.batch_size=1")
    share_rows(own, half)
    assert own.loader.batch_size == 1, "what was typed is what is done; the loader compares the sum"


def test_json_holds_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"loss": float("nan"), "all": [float("inf"), 1.5], "of": {"x": -float("inf")}})
    assert json.loads((tmp_path / "a.json").read_text()) == {"loss": None, "all": [None, 1.5], "of": {"x": None}}


def test_ctrl_c_in_mid_save_is_no_full_disk(tmp_path):
    class Stops:
        """Raises in the middle of a write, as Ctrl-C does; PyTorch's writer then raises an error of its own."""

        def write(self, data):
            raise KeyboardInterrupt

        def flush(self):
            """Have nothing to flush."""

    (tmp_path / "last.ckpt.partial").touch()
    with pytest.raises(KeyboardInterrupt), beside(tmp_path / "last.ckpt"):
        torch.save({"weight": torch.zeros(100)}, Stops())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "No space left on device); make room: begin again"),
        (PermissionError(13, "Permission denied"), "Permission denied); see to it that this process may write there"),
        (RuntimeError("PytorchStreamWriter failed\nwriting"), "PytorchStreamWriter failed writing); make room"),
    ],
)
def test_a_save_that_fails_says_why_and_what_to_do(tmp_path, error, words):
    with pytest.raises(ValueError, match="last.ckpt could not be written") as refused, beside(tmp_path / "last.ckpt"):
        raise error
    assert words in str(refused.value)
