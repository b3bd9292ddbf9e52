"""A small run of the VAE on small walks."""

import pytest
from hydra.utils import instantiate

from mirage_pl.engine.training import fit
from tests.conftest import compose
from tests.contract.stages import GENTLE, SMALLER
from tests.lanes import build_once

QUIET = ["callbacks.progress=null", "callbacks.scores=null", "trainer.accelerator=cpu", "trainer.max_steps=2"]

SMALL = GENTLE["deepverse/world_model"]
STAGE = "deepverse/world_model"


def compose_small(verb, *overrides, stage="deepverse/vae"):
    return compose(verb, f"stage={stage}", *SMALLER["deepverse"], *overrides)


@pytest.fixture(scope="session")
def walks(tmp_path_factory):
    """A data folder with 8 walks of 9 frames for training, 4 for validation, 4 for tests."""

    def draw(folder):
        maker = instantiate(compose_small("train", f"data={folder}").task.data.maker, num_workers=1)
        maker.make()

    return build_once(tmp_path_factory, "walks", draw)


@pytest.fixture(scope="session")
def run(walks, tmp_path_factory):
    """The folder of a run of two steps."""
    folder = tmp_path_factory.mktemp("vae") / "run"
    fit.run(compose_small("train", *QUIET, f"data={walks}", f"run_dir={folder}", "loader.batch_size=4"))
    return folder


def compose_world(verb, *overrides):
    return compose_small(verb, *SMALL, *overrides, stage=STAGE)


@pytest.fixture(scope="session")
def walks17(tmp_path_factory):
    """A data folder with walks of 17 frames of 16 x 16 pixels."""

    def draw(folder):
        instantiate(compose_world("train", f"data={folder}").task.data.maker, num_workers=1).make()

    return build_once(tmp_path_factory, "walks17", draw)


@pytest.fixture(scope="session")
def run_of_world(walks17, tmp_path_factory):
    """The folder of a run of two steps that starts from a VAE's."""
    folder = tmp_path_factory.mktemp("world")
    same = [
        f"data={walks17}",
        f"runs={folder}",
        *[each for each in SMALL if each.startswith(("task.", "model.height"))],
    ]
    fit.run(compose_small("train", *QUIET, *same, f"run_dir={folder}/vae", "loader.batch_size=4", "stage.max_steps=2"))
    fit.run(
        compose_world(
            "train", *QUIET, f"data={walks17}", f"runs={folder}", f"run_dir={folder}/world", "loader.batch_size=4"
        )
    )
    return folder
