"""Two processes that make the same data at the same time."""

import shutil
from dataclasses import dataclass

import pytest

from data_modules.maker import Maker, Plan


@dataclass(frozen=True, kw_only=True)
class Numbers(Maker):
    """Writes a number a row; another process is quicker, and makes it by other ``rival`` settings."""

    rival: int | None = None

    subfolder = "numbers"

    def settings(self):
        return {"seed": self.seed}

    def plans(self):
        yield Plan("train", "train_0", self.seed)

    def draw(self, plan, folder):
        return {"number": plan.content}

    def _write(self, folder):
        super()._write(folder)
        if self.rival is not None:
            Numbers(folder=self.folder.with_name("rival"), seed=self.rival, num_workers=1).make()
            self.folder.with_name("rival").rename(self.folder)


def test_data_that_another_process_made_meanwhile_stay(tmp_path):
    Numbers(folder=tmp_path / "data", seed=3, num_workers=1, rival=3).make()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data"]
    assert (tmp_path / "data" / "train.jsonl").read_text() == '{"number": 3}\n'


def test_data_of_other_settings_or_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="was made with seed=4, and seed=.* is wanted; give what"):
        Numbers(folder=tmp_path / "data", seed=3, num_workers=1, rival=4).make()
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="exists, but holds no"):
        Numbers(folder=tmp_path / "data", seed=3, num_workers=1).make()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data"]
