"""A small run of the tokenizer on small episodes."""

import pytest

from mirage_pl.engine.training import fit
from tests.conftest import compose
from tests.contract.stages import SMALLER
from tests.lanes import build_once
from tests.squares import write_squares

QUIET = ["callbacks.progress=null", "callbacks.scores=null", "trainer.accelerator=cpu", "trainer.max_steps=2"]


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    """A data folder with 12 episodes of 16 x 16 pixels for training, 4 for validation, 4 for tests."""
    return build_once(tmp_path_factory, "squares", lambda folder: write_squares(folder / "episodes"))


def compose_small(verb, *overrides, stage="ivideogpt/tokenizer"):
    return compose(verb, f"stage={stage}", *SMALLER["ivideogpt"], *overrides)


@pytest.fixture(scope="session")
def run(squares, tmp_path_factory):
    """The folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("tokenizer") / "run"
    fit.run(compose_small("train", *QUIET, f"data={squares}", f"run_dir={folder}", "loader.batch_size=4"))
    return folder
