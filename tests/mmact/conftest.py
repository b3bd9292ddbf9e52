"""A small run of a policy in the world of discs."""

import pytest

from mirage_pl.engine.training import fit
from tests.conftest import compose
from tests.contract.stages import SMALLER
from tests.lanes import build_once

QUIET = ["callbacks.progress=null", "callbacks.scores=null", "trainer.accelerator=cpu", "trainer.max_steps=2"]


def compose_small(verb, *overrides, stage="mmact/action"):
    return compose(verb, f"stage={stage}", *SMALLER["mmact"], *overrides)


@pytest.fixture(scope="session")
def told(tmp_path_factory):
    """A data folder with 6 demonstrations for training, 4 for validation, 4 for tests."""
    from hydra.utils import instantiate

    def make(folder):
        cfg = compose_small("train", f"data={folder}")
        instantiate(cfg.task.data.maker, num_workers=1).make()

    return build_once(tmp_path_factory, "told", make)


@pytest.fixture(scope="session")
def run(told, tmp_path_factory):
    """The folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("action") / "run"
    fit.run(compose_small("train", *QUIET, f"data={told}", f"run_dir={folder}", "loader.batch_size=4"))
    return folder
