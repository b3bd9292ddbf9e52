"""Small real parts for every test: generated mazes, the tiny backbone with random weights, composed configs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MethodType
from typing import Any

import pytest

pytest_plugins = ["tests.lanes", "tests.parity"]
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
REPO = Path(__file__).resolve().parents[1]
SHARED = REPO.parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the reference data of ../shared is not here")
SMALL = ["task.per_level={train: 12, val: 4, test: 4}", "loader.batch_size=4", "loader.eval_batch_size=8"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


def compose(config: str, *overrides: str, return_hydra_config: bool = False) -> Any:
    """Compose one of our configs as the command line would."""
    import hydra

    import mirage_pl.engine.cli  # noqa: F401  registers the resolvers

    with hydra.initialize_config_dir(str(REPO / "conf"), version_base="1.3"):
        return hydra.compose(config, list(overrides), return_hydra_config=return_hydra_config)


@pytest.fixture(autouse=True)
def no_command_left() -> Iterator[None]:
    """A verb that a test ran in this process is over when the test is: what it was asked for names no later run."""
    from hydra.core.hydra_config import HydraConfig

    yield
    HydraConfig.instance().cfg = None


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 24 train, 8 val and 8 test mazes at 28 px a cell, and with episodes of squares."""
    from hydra.utils import instantiate

    from tests.lanes import build_once
    from tests.squares import write_squares

    def draw(folder: Path) -> None:
        instantiate(compose("train", *SMALL, f"data={folder}").task.data.maker, num_workers=1).make()
        write_squares(folder / "episodes")

    return build_once(tmp_path_factory, "data", draw)


@pytest.fixture
def train_config(data: Path, tmp_path: Path) -> Callable[..., Any]:
    """Compose a training config shrunk to a few steps, in a run folder of its own."""

    def shrunk(*overrides: str) -> Any:
        quiet = [
            "callbacks.progress=null",
            "callbacks.scores.num_items=4",
        ]
        folders = [f"data={data}", f"runs={tmp_path}", "trainer.max_steps=3", "trainer.val_check_interval=3"]
        return compose("train", *SMALL, *quiet, *folders, *overrides)

    return shrunk


@pytest.fixture(scope="session")
def processor() -> Any:
    from mirage_pl.mirage.model.backbone import load_processor

    return load_processor(str(REPO / "assets" / "tiny"))


@pytest.fixture(scope="session")
def random_net() -> Any:
    """A LatentVLM with the tiny architecture and random weights, in float64 so that equality can be exact."""
    import torch

    from mirage_pl.mirage.model.backbone import load_backbone
    from mirage_pl.mirage.model.compression import Average
    from mirage_pl.mirage.model.latents import LatentVLM
    from mirage_pl.mirage.model.recurrence import Sequential

    torch.manual_seed(0)
    backbone = load_backbone(str(REPO / "assets" / "tiny"), random_weights=True)
    for parameter in backbone.model.visual.parameters():
        parameter.requires_grad_(False)
    for module in backbone.modules():
        if type(module).__name__ == "Qwen2_5_VLRMSNorm":  # works in float32 whatever its weights are
            module.forward = MethodType(exact_norm, module)
    return LatentVLM(backbone, Average(), Sequential()).double().eval()


def exact_norm(self: Any, hidden: Any) -> Any:
    """RMSNorm in the precision of its input."""
    return self.weight * hidden * (hidden.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()


@pytest.fixture(scope="session")
def samples(data: Path) -> list[Any]:
    """Six rows of ragged sizes: 3x3 and 4x4 mazes in turn."""
    from data_modules.vsp.planning import VSP

    rows = VSP().read(data / "vsp-28px" / "train.jsonl")
    return [rows[index] for index in (0, 12, 3, 17, 5, 20)]
