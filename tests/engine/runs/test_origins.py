"""What a start is, as a run that takes it says."""

from pathlib import Path

import pytest

from mirage_pl.engine.runs.origins import explain_short
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
