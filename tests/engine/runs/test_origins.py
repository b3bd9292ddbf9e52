"""What a start is, as a run that takes it says."""

from pathlib import Path

import pytest

from mirage_pl.engine.runs.origins import explain_other, explain_short
from mirage_pl.engine.runs.starts import find_starts, read_starts
from mirage_pl.engine.training import fit
from tests.engine.runs.tiny import tiny_config


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["stage.max_steps=2"], "short took 2 of the 500 steps of its stage; was it"),
        (["trainer.limit_train_batches=1"], "short saw only a part of its data; was it"),
        (["trainer.max_epochs=1", "trainer.max_steps=-1"], ""),
    ],
)
def test_a_start_that_was_shortened_by_whatever_key_is_warned_of(tmp_path, words, line):
    """Its name is that of a stage whose file says 500 steps."""
    cfg = tiny_config(tmp_path, "tokenizer", "stage.name=stage1", "run_dir=${runs}/short", *words)
    fit.run(cfg)
    short = Path(cfg.run_dir)
    assert line in explain_short(str(short))
    assert bool(explain_short(str(short))) == bool(line)
    assert (
        explain_short(str(short / "checkpoints" / "last.ckpt")).partition(" ")[2]
        == (explain_short(str(short)).partition(" ")[2])
    )


CODEC = {
    "stage": "tokenizer",
    "alike": ["task.name", "model.name"],
    "liked": ["seed", "loader.prefetch"],
    "take": "net",
}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], ""),
        (["seed=5", "task.name=letters"], ""),
        (["model.name=comma"], "was trained with model.name=dot, and this run has model.name=comma; set the same"),
        (["loader.prefetch=3"], "was trained with loader.prefetch=2, and this run has loader.prefetch=3; set the same"),
    ],
)
def test_a_start_whose_values_are_another_uses_is_warned_of(tmp_path, caplog, words, line):
    """One that is named needs no equal value, one that is found those of ``alike`` alone."""
    tokenizer = tiny_config(tmp_path, "tokenizer")
    fit.run(tokenizer)
    codec = CODEC | {"into": "net.codec"}
    cfg = tiny_config(tmp_path, "world", f"init_from={tokenizer.run_dir}", *words, codec=codec)
    fit.run(cfg)
    warned = [record.getMessage() for record in caplog.records if record.name.endswith("started")]
    assert [sentence.startswith(f"{tokenizer.run_dir} {line}") for sentence in warned] == [True] * bool(line)
    if not words or "loader" in words[0]:
        found = tiny_config(tmp_path, "world", *words, codec=codec)
        place = find_starts(found)["codec"]
        assert explain_other(found, read_starts(found)["codec"], place) == "".join(warned)


def test_a_start_of_another_stage_is_warned_of_and_its_values_do_not_count(tmp_path):
    policy = tiny_config(tmp_path, "policy")
    fit.run(policy)
    cfg = tiny_config(tmp_path, "world", f"init_from={policy.run_dir}", "loader.prefetch=3", codec=CODEC)
    line = explain_other(cfg, read_starts(cfg)["codec"], policy.run_dir)
    assert line == f"{policy.run_dir} is a run of stage=policy, and this one starts from tokenizer as a rule"


def test_a_stage_without_starts_goes_by_what_the_other_runs_starts_share(tmp_path):
    tokenizer = tiny_config(tmp_path, "tokenizer")
    fit.run(tokenizer)
    world = tiny_config(tmp_path, "world", codec=CODEC | {"into": "net.codec"})
    fit.run(world)
    cfg = tiny_config(tmp_path, "policy", f"init_from={world.run_dir}", "loader.prefetch=3")
    line = explain_other(cfg, read_starts(cfg)["weights"], world.run_dir)
    assert "loader.prefetch=2, and this run has loader.prefetch=3" in line
    assert explain_other(cfg, read_starts(cfg)["weights"], f"{tmp_path}/file.ckpt") == ""
