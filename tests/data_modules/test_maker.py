"""Data that is made, by two processes at the same time too; what is said where it was made otherwise."""

import shutil
from dataclasses import dataclass
from functools import partial

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from data_modules.maker import Maker, Plan, compare, write_value
from data_modules.missing import make_missing
from data_modules.worlds.babyai import BabyAI
from data_modules.worlds.metaworld_language import MetaWorldLanguage
from mirage_pl.engine.arguments import resolve
from tests.conftest import REPO, compose


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
    with pytest.raises(ValueError, match="was made with task.data_seed=4, and task.data_seed=3 is wanted; give"):
        Numbers(folder=tmp_path / "data", seed=3, num_workers=1, rival=4).make()
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "data").mkdir()
    with pytest.raises(ValueError, match="exists, but holds no"):
        Numbers(folder=tmp_path / "data", seed=3, num_workers=1).make()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data"]


@dataclass(frozen=True, kw_only=True)
class Twice(Numbers):
    """Names two rows alike."""

    def plans(self):
        yield from [Plan("train", "train_0", 1), Plan("test", "train_0", 2)]


def test_two_rows_of_one_name_whose_files_would_be_the_same_are_refused(tmp_path):
    with pytest.raises(ValueError, match="two rows would be named train_0, and have the same files"):
        Twice(folder=tmp_path / "data", seed=3, num_workers=1).make()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("world", "words"),
    [
        (
            partial(BabyAI, side=64, levels=["PickupDist", "GoToLocal", "PickupDist"], things=1, depth=1),
            r"task.levels=\[.*\] names PickupDist more than once; name each once: task.levels=\[PickupDist,GoToLocal\]",
        ),
        (
            partial(MetaWorldLanguage, side=64, scenes=["drawer-close"], entries=[0, 1, 1], camera="corner", repeat=1),
            r"task.world.entries=\[0,1,1\] names 1 more than once",
        ),
    ],
)
def test_a_world_that_is_told_of_something_twice_refuses_it(world, words):
    extra = {"new_missions": False} if world.func is BabyAI else {"flipped": True}
    with pytest.raises(ValueError, match=words):
        world(**extra)


def test_a_file_that_was_deleted_from_made_data_is_named_with_what_helps(tmp_path):
    maker, file = Numbers(folder=tmp_path / "data", seed=3, num_workers=1), tmp_path / "data" / "train.jsonl"
    make_missing(maker, [file, tmp_path / "data" / "*.jsonl", tmp_path / "mine.jsonl"])
    file.unlink()
    with pytest.raises(ValueError, match="train.jsonl is missing, though .*/data was made before; delete that folder"):
        make_missing(maker, [file])
    make_missing(maker, [tmp_path / "mine.jsonl"])
    make_missing(None, [file])


def test_only_what_differs_is_named():
    was = {"rows": {"train": 4, "val": 2}, "seed": 0, "steps": [3]}
    now = {"rows": {"train": 5, "test": 2}, "seed": 0, "steps": [3], "new": None}
    assert list(compare(was, now)) == [
        (("rows", "train"), 4, 5),
        (("rows", "val"), 2, None),
        (("rows", "test"), None, 2),
    ]
    assert list(compare({"a": {"b": 1}}, {"a": 2})) == [(("a",), {"b": 1}, 2)]
    assert [write_value(value) for value in (None, True, "a b", [1, "c"], {"d": 0.5})] == [
        "null",
        "true",
        "a b",
        "[1,c]",
        "{d: 0.5}",
    ]


MAKING = [file.stem for file in sorted((REPO / "conf" / "task").glob("*.yaml"))]


@pytest.mark.parametrize("task", MAKING)
def test_what_data_was_made_with_is_named_by_the_key_that_sets_it(task):
    cfg = compose("data", f"task={task}")
    if OmegaConf.is_missing(cfg.task, "python"):
        cfg.task.python = "python"
    if "cell_px" in cfg.task:
        cfg.task.cell_px = 28  # which is the model's unless a user says so

    def typed(key):
        node = OmegaConf.select(cfg, key)
        return {str(name): resolve(cfg, key, node, str(name))[0] for name in node} if node else {}

    if cfg.task.data.maker is None:
        return
    wanted = {(name,): key for name, key in typed("task.data.maker").items()}
    for part in (("puzzle",), ("world",), ("world", "options")):
        wanted |= {(*part, name): key for name, key in typed(".".join(("task", *part))).items()}
    settings = instantiate(cfg.task.data.maker).settings()
    named = {(name,) for name in settings} - {("puzzle",), ("world",)}
    named |= {("puzzle", name) for name in settings.get("puzzle", {}) if name != "kind"}
    named |= {("world", name) for name in settings.get("world", {}) if name not in ("name", "options")}
    named |= {("world", "options", name) for name in settings.get("world", {}).get("options", {})}
    maker, known = instantiate(cfg.task.data.maker), named & wanted.keys()
    assert {path: maker.name_key(path) for path in known} == {path: wanted[path] for path in known}
    assert {maker.name_key(path) for path in named - known} <= {
        "task.helper"
    }  # no key of vsp_reasoning and vsp_reading
