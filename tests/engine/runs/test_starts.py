"""A run starts from runs of other stages that took their steps: parts of them, some fresh, some frozen and not kept."""

import json
import logging
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.checkpoints.weights import load_weights
from mirage_pl.engine.reports.lineage import add_ancestors, read_run
from mirage_pl.engine.runs import starts
from mirage_pl.engine.runs.starts import Start, find_starts, read_starts
from mirage_pl.engine.training import fit
from tests.engine.runs.tiny import tiny_config

CODEC = {"stage": "tokenizer", "alike": ["model.name"], "take": "net", "into": "net.codec"}
WORLD = {"stage": "world", "alike": ["model.name"]}
FROZEN = ["stage.freeze=[net.codec]"]


def weights(folder):
    return torch.load(Path(folder, "checkpoints", "last.ckpt"), weights_only=True)["state_dict"]


def train(*args, **starts):
    cfg = tiny_config(*args, **starts)
    fit.run(cfg)
    return Path(cfg.run_dir)


@pytest.fixture
def tokenizer(tmp_path):
    return train(tmp_path, "tokenizer")


def test_a_part_of_another_runs_weights_is_taken_under_another_name_and_the_rest_is_the_models_own(tmp_path, tokenizer):
    cfg = tiny_config(tmp_path, "world", "stage.module.optimizer.lr=0", codec=CODEC)
    fit.run(cfg)
    theirs, ours = weights(tokenizer), weights(cfg.run_dir)
    assert len(theirs) == 4
    assert all(torch.equal(ours[name.replace("net.", "net.codec.")], value) for name, value in theirs.items())
    assert {name.split(".")[1] for name in ours} == {"codec", "dynamics", "reward"}
    assert json.loads((tmp_path / "world" / "environment.json").read_text())["starts"] == {"codec": str(tokenizer)}


def test_parts_come_from_several_runs_and_cost_is_counted_over_all_of_them_once(tmp_path, tokenizer):
    train(tmp_path, "world", codec=CODEC)
    policy = train(tmp_path, "policy", world=WORLD, codec=CODEC | {"stage": "tokenizer"})
    run = add_ancestors(read_run(policy, None), {})
    assert [ancestor.folder.name for ancestor in run.ancestors] == ["tokenizer", "world"]
    assert (run.steps, run.lost) == (12, None)


def test_fresh_weights_may_be_missing_there_or_have_another_shape_and_no_others_may(tmp_path, tokenizer):
    world = train(tmp_path, "world", codec=CODEC)
    checkpoint = torch.load(world / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["state_dict"]["net.reward.bias"]
    checkpoint["state_dict"]["net.reward.weight"] = torch.zeros(1, 5)
    torch.save(checkpoint, world / "checkpoints" / "last.ckpt")
    with pytest.raises(
        ValueError, match=r"of another model \(stage=world model=dot\): net.reward.weight is \(1, 5\) .*"
    ):
        train(tmp_path, "policy", world=WORLD)
    with pytest.raises(ValueError, match=r"net.reward.bias is absent there and \(1,\) here; "):
        train(tmp_path, "policy", world=WORLD | {"fresh": ["net.reward.weight"]})
    with pytest.raises(
        ValueError, match=r"fresh=net.rewards .* no weight of this model; it has net.codec, net.dynamics"
    ):
        train(tmp_path, "policy", world=WORLD | {"fresh": ["net.rewards"]})
    policy = train(tmp_path, "policy", "stage.module.optimizer.lr=0", world=WORLD | {"fresh": ["net.reward"]})
    assert torch.equal(weights(policy)["net.dynamics.weight"], weights(world)["net.dynamics.weight"])


@pytest.mark.parametrize(("key", "value"), [("take", "net.vae"), ("into", "net.vae")])
def test_a_prefix_that_matches_nothing_says_what_there_is(tmp_path, tokenizer, key, value):
    with pytest.raises(ValueError, match=rf"{key}={value} of the start matches no weight; there are net\."):
        train(tmp_path, "world", codec=CODEC | {key: value})


def test_frozen_weights_that_are_not_kept_are_fetched_when_the_run_goes_on_is_loaded_or_started_from(
    tmp_path, tokenizer
):
    kept = train(tmp_path, "world", *FROZEN, "run_dir=${runs}/kept", codec=CODEC)
    lean = {"codec": CODEC | {"kept": False}}
    half = train(tmp_path, "world", *FROZEN, "run_dir=${runs}/world", "trainer.max_steps=2", **lean)
    assert {name.split(".")[1] for name in weights(half)} == {"dynamics", "reward"}
    full = train(tmp_path, "world", *FROZEN, "run_dir=${runs}/world", **lean)
    whole, ours = weights(kept), weights(full)
    assert all(torch.equal(ours[name], whole[name]) for name in ours)
    loaded = load_trained(str(full)).module.state_dict()
    assert loaded.keys() == whole.keys()
    assert all(torch.equal(loaded[name], whole[name]) for name in whole)
    policy = train(tmp_path, "policy", "stage.module.optimizer.lr=0", world=WORLD)
    assert all(torch.equal(weights(policy)[name], whole[name]) for name in whole)


def test_what_is_not_kept_is_found_after_all_runs_were_moved_and_missed_where_it_is_gone(tmp_path, tokenizer):
    (tmp_path / "a").mkdir()
    shutil.move(tokenizer, tmp_path / "a" / "tokenizer")
    world = train(tmp_path / "a", "world", *FROZEN, codec=CODEC | {"kept": False})
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert "net.codec.encoder.weight" in load_trained(str(tmp_path / "b" / world.name)).module.state_dict()
    shutil.rmtree(tmp_path / "b" / "tokenizer")
    with pytest.raises(
        ValueError, match=r"b/world takes weights from .*/a/tokenizer, which isn't there; bring that run"
    ):
        load_trained(str(tmp_path / "b" / world.name))


def test_what_training_alone_needs_is_fetched_when_the_run_goes_on_and_not_by_who_reads_it(tmp_path, tokenizer):
    aside = {"codec": CODEC | {"aside": True}}
    half = train(tmp_path, "world", *FROZEN, "trainer.max_steps=2", **aside)
    world = train(tmp_path, "world", *FROZEN, **aside)
    assert half == world
    assert {name.split(".")[1] for name in weights(world)} == {"dynamics", "reward"}
    kept = weights(train(tmp_path, "world", *FROZEN, "run_dir=${runs}/kept", codec=CODEC))
    assert all(torch.equal(weight, kept[name]) for name, weight in weights(world).items())
    shutil.move(tokenizer, tmp_path / "away")
    assert torch.equal(load_trained(str(world)).module.state_dict()["net.reward.bias"], kept["net.reward.bias"])
    with pytest.raises(ValueError, match=r"world takes weights from .*, which isn't there; bring that run"):
        train(tmp_path, "world", *FROZEN, "trainer.max_steps=8", **aside)


def test_a_checkpoint_that_lacks_more_than_what_is_not_kept_is_not_gone_on_with(tmp_path, tokenizer):
    lean = {"codec": CODEC | {"kept": False}}
    world = train(tmp_path, "world", *FROZEN, "trainer.max_steps=2", **lean)
    checkpoint = torch.load(world / "checkpoints" / "last.ckpt", weights_only=True)
    del checkpoint["state_dict"]["net.reward.bias"]
    torch.save(checkpoint, world / "checkpoints" / "last.ckpt")
    with pytest.raises(ValueError, match=r"last.ckpt lacks net.reward.bias"):
        train(tmp_path, "world", *FROZEN, **lean)


def test_what_is_trained_must_be_kept(tmp_path, tokenizer):
    with pytest.raises(ValueError, match=r"codec.kept=false, but net.codec is trained, .* add it to stage.freeze"):
        train(tmp_path, "world", codec=CODEC | {"kept": False})
    with pytest.raises(ValueError, match=r"net.codec.encoder.weight is trained, but kept: false leaves it out"):
        train(tmp_path, "world", *FROZEN, "callbacks.freeze=null", codec=CODEC | {"kept": False})


def test_init_from_stands_in_the_only_start_and_keeps_its_prefixes(tmp_path, tokenizer):
    cfg = tiny_config(tmp_path, "world", f"init_from={tokenizer}/", codec=CODEC | {"stage": None})
    assert find_starts(cfg) == {"codec": str(tokenizer)}
    assert find_starts(tiny_config(tmp_path, "world", f"init_from={tokenizer}")) == {"weights": str(tokenizer)}
    assert find_starts(tiny_config(tmp_path, "world", codec=CODEC | {"stage": None})) == {}
    with pytest.raises(ValueError, match=r"has several starts; give stage.starts.codec.run= stage.starts.world.run="):
        read_starts(tiny_config(tmp_path, "policy", "init_from=x", codec=CODEC, world=WORLD))
    with pytest.raises(ValueError, match=r"stage.starts.codec.from is unknown; there are stage, alike, liked, take"):
        read_starts(tiny_config(tmp_path, "world", codec=CODEC | {"from": "x"}))


def test_a_head_that_a_module_does_without_may_be_named_as_fresh(tmp_path):
    torch.save({"state_dict": {"net.weight": torch.ones(1, 1), "net.bias": torch.ones(1)}}, tmp_path / "a.ckpt")
    module = torch.nn.Module()
    module.net = torch.nn.Linear(1, 1)
    module.net.head = None
    load_weights(module, tmp_path / "a.ckpt", Start(take="net", into="net", fresh=["net.head"]))
    assert module.net.weight.item() == 1
    for name in ("net.heads", "nets.head"):
        with pytest.raises(ValueError, match=f"fresh={name} of the start matches no weight of this model; it has net"):
            load_weights(module, tmp_path / "a.ckpt", Start(take="net", into="net", fresh=[name]))


def test_a_start_is_not_looked_for_where_its_weights_come_from_another_key(tmp_path):
    codec = CODEC | {"unless": ["model.path", "stage.starts.world.run"]}
    tokenizer = train(tmp_path, "tokenizer")
    assert find_starts(tiny_config(tmp_path, "world", codec=codec)) == {"codec": str(tokenizer)}
    assert find_starts(tiny_config(tmp_path, "world", "model.path=released", codec=codec)) == {}
    world = train(tmp_path, "world", codec=CODEC)
    given = WORLD | {"stage": None, "run": str(world)}
    assert find_starts(tiny_config(tmp_path, "policy", codec=codec, world=given)) == {"world": str(world)}
    given = {"world": given, "codec": codec | {"run": str(tokenizer)}}
    assert find_starts(tiny_config(tmp_path, "policy", **given)) == {"world": str(world), "codec": str(tokenizer)}
    with pytest.raises(ValueError, match=r"or set stage.starts.codec.run="):
        find_starts(tiny_config(tmp_path, "policy", "model.name=other", codec=codec, world=WORLD | {"stage": None}))


def test_a_start_beside_another_takes_from_the_same_run(tmp_path, tokenizer):
    both = {"codec": CODEC, "copy": {"beside": "codec", "take": "net", "into": "net.dynamics"}}
    run = dict.fromkeys(both, str(tokenizer))
    assert find_starts(tiny_config(tmp_path, "world", **both)) == run
    for given in (f"init_from={tokenizer}", f"stage.starts.codec.run={tokenizer}"):
        cfg = tiny_config(tmp_path, "world", given, **both | {"codec": CODEC | {"stage": None}})
        assert find_starts(cfg) == run
        assert read_starts(cfg)["copy"].into == "net.dynamics"
    with pytest.raises(ValueError, match=r"copy.beside=codec names no start; there are copy, world"):
        read_starts(tiny_config(tmp_path, "world", copy=both["copy"], world=WORLD))


def test_a_start_that_is_not_there_says_how_the_nearest_differs_and_what_makes_one(tmp_path):
    cfg = tiny_config(tmp_path, "world", codec=CODEC)
    with pytest.raises(
        ValueError,
        match=r"stage=world starts from a finished tokenizer run with model.name=dot, and .*/ has none; run python -m "
        r"mirage_pl.train stage=tokenizer model=dot seed=1, or set init_from=",
    ):
        find_starts(cfg)
    train(tmp_path, "tokenizer", "model.name=comma")
    with pytest.raises(ValueError, match=r"\(the nearest, .*/tokenizer, has model.name=comma\); run python"):
        find_starts(cfg)


def test_the_command_that_makes_a_start_has_what_was_typed_of_the_same_keys_quoted_for_a_shell(tmp_path, monkeypatch):
    words = ["stage=world", "task=made/elsewhere", "task.file=a b.jsonl", "+data=made", "trainer.max_steps=3"]
    monkeypatch.setattr(starts.HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(
        starts.HydraConfig, "get", lambda: SimpleNamespace(overrides=SimpleNamespace(task=words)), raising=False
    )
    cfg = tiny_config(tmp_path, "world", codec=CODEC | {"alike": ["task.name", "model.name", "loader"]})
    command = "stage=tokenizer model=dot seed=1 task=made/elsewhere 'task.file=a b.jsonl' data=made, or set init_from="
    asked = "with task.name=numbers model.name=dot such a loader"
    with pytest.raises(ValueError, match=f"{asked}, and .*run python -m mirage_pl.train {command}$"):
        find_starts(cfg)


def test_a_run_that_did_not_take_its_steps_is_nobodys_start_unless_it_is_named(tmp_path, caplog):
    short = train(tmp_path, "tokenizer", "trainer.max_steps=2", "run_dir=${runs}/short")
    cfg = tiny_config(tmp_path, "world", codec=CODEC)
    with pytest.raises(
        ValueError, match=r"nearest, .*/short, took 2 of 4 steps; init_from=.*/short starts from it all"
    ):
        find_starts(cfg)
    real = train(tmp_path, "tokenizer", "run_dir=${runs}/real")
    train(tmp_path, "tokenizer", "trainer.max_steps=1", "run_dir=${runs}/newer")
    train(tmp_path, "tokenizer", "trainer.limit_train_batches=1", "run_dir=${runs}/part")
    assert find_starts(cfg) == {"codec": str(real)}
    trial = tiny_config(tmp_path, "world", "trainer.max_steps=1", codec=CODEC)
    assert find_starts(trial) == {"codec": str(real)}, "a trial prefers a run that took its steps, too"
    with caplog.at_level(logging.INFO):
        train(tmp_path, "world", codec=CODEC)
        train(tmp_path, "world", f"init_from={short}", "run_dir=${runs}/tried", codec=CODEC)
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("started")]
    assert lines == [
        f"starting from {real} (4 of 4 steps)",
        f"starting from {short} (2 of 4 steps)",
    ], "one that is named is meant"


def test_a_run_cut_short_may_start_from_one_that_is_so_that_a_recipe_can_be_tried_through(tmp_path):
    for steps in (3, 2):
        train(tmp_path, "tokenizer", f"trainer.max_steps={steps}", f"run_dir=${{runs}}/of-{steps}")
    trial = tiny_config(tmp_path, "world", "trainer.max_steps=1", codec=CODEC)
    assert find_starts(trial) == {"codec": f"{tmp_path}/of-3"}, "the one that got furthest, not the newest"


def test_the_newest_of_those_that_are_as_much_alike_is_taken_and_a_loss_that_is_no_number_never(tmp_path):
    runs = [train(tmp_path, "tokenizer", f"seed={seed}", f"run_dir=${{runs}}/{seed}") for seed in (1, 2, 3)]
    for age, run in enumerate(reversed(runs)):
        os.utime(run / "checkpoints" / "last.ckpt", (1e9 + age, 1e9 + age))
    assert find_starts(tiny_config(tmp_path, "world", codec=CODEC)) == {"codec": str(runs[0])}
    assert find_starts(tiny_config(tmp_path, "world", "seed=3", codec=CODEC)) == {"codec": str(runs[2])}
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    for broken in (
        json.dumps(metrics | {"train/loss": None}),
        json.dumps(metrics | {"train/error": float("nan")}),
        "{",
    ):
        (runs[0] / "metrics.json").write_text(broken)
        assert find_starts(tiny_config(tmp_path, "world", codec=CODEC)) == {"codec": str(runs[1])}


def test_a_run_by_epochs_took_its_steps_when_it_took_its_epochs(tmp_path):
    epochs = ["trainer.max_epochs=1", "trainer.max_steps=-1", "stage.max_steps=100"]
    run = train(tmp_path, "tokenizer", *epochs)
    assert find_starts(tiny_config(tmp_path, "world", codec=CODEC)) == {"codec": str(run)}


def test_a_checkpoint_is_named_for_what_it_is(tmp_path, tokenizer):
    whole = (tokenizer / "checkpoints" / "last.ckpt").read_bytes()
    at = whole.index(weights(tokenizer)["net.encoder.weight"].numpy().tobytes())
    files = {
        "empty.ckpt": (b"", "it is empty"),
        "bytes.ckpt": (os.urandom(1000), "damaged, or no checkpoint"),
        "cut.ckpt": (whole[:900], "damaged, or no checkpoint"),
        "flipped.ckpt": (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], "data/.* in it is damaged"),
    }
    for name, (content, words) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read: .*{words}"):
            train(tmp_path, "world", f"init_from={tmp_path / name}")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "plain.ckpt")
    with pytest.raises(ValueError, match=r"plain.ckpt has no state_dict, so it is no checkpoint of mirage_pl.train"):
        train(tmp_path, "world", f"init_from={tmp_path}/plain.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": Path("x")}, tmp_path / "objects.ckpt")
    with pytest.raises(ValueError, match=r"objects.ckpt cannot be read: it holds objects that aren't plain values"):
        train(tmp_path, "world", f"init_from={tmp_path}/objects.ckpt")
    with pytest.raises(
        ValueError, match=r"of another model \(stage=tokenizer model=dot\): net.codec.encoder.weight is ab"
    ):
        train(tmp_path, "world", f"init_from={tokenizer}")
