"""Runs that train an adapter: a checkpoint holds what was trained, and the rest comes from where it came from.

``lora`` of a run's config builds the adapter. The weights beside it, its base, are those of the model's own config,
with those of the run's starts in their place: merged ones of a run that had another adapter. A start that had the same
adapter gives its base and its adapter, which is trained on.
"""

import hashlib
from pathlib import Path
from typing import Any, Protocol

import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from mirage_pl.engine.checkpoints.parts import whole
from mirage_pl.engine.checkpoints.weights import checkpoint_of, copy_weights, load_weights, read_checkpoint, run_of
from mirage_pl.engine.runs.config import read_config
from mirage_pl.engine.runs.entry import recorded_starts
from mirage_pl.engine.runs.folder import CONFIG
from mirage_pl.engine.runs.identity import is_below
from mirage_pl.engine.runs.origins import locate_run
from mirage_pl.engine.runs.starts import Start, read_starts

PICKS = 256
"""Numbers of a weight that its digest is made of."""


class Adapter(Protocol):
    """Weights that are trained in place of a model's own; equal ones mean the same by the same weights."""

    def list_frozen(self, module: Any) -> list[str]:
        """Names of the model's weights that stay as they are."""

    def inject(self, module: Any, seed: int = 0, plain: bool = False) -> None:
        """Put it into a module; ``plain``: so that it can be merged."""

    def merge(self, module: Any) -> None:
        """Add it to the model's own weights."""


def read_adapter(config: DictConfig) -> Adapter | None:
    """The adapter of a run's config, if it has one."""
    node = OmegaConf.select(config, "lora")
    adapter: Adapter | None = instantiate(node) if node else None
    return adapter


def load_base(module: Any, config: DictConfig, folder: Path, adapter: Adapter) -> tuple[Path, Start] | None:
    """Load the weights beside which a run trains its adapter; a module has those of the model's config already.

    Returns:
        The checkpoint whose adapter the run begins with, and its start; ``None``: a new adapter.
    """
    goes_on, places = None, recorded_starts(folder)
    for name, start in read_starts(config).items():
        if name not in places:
            continue
        file = checkpoint_of(locate_run(places[name], folder))
        before = read_config(run_of(file) / CONFIG)
        if not start.take and not start.into and read_adapter(before) == adapter:
            load_base(module, before, run_of(file), adapter)
            goes_on = file, start
        else:
            load_weights(module, file, start)
    return goes_on


def adapt(module: Any, adapter: Adapter, plain: bool = False) -> None:
    """Put an adapter into a module whose base is loaded; its checkpoints will hold no base."""
    frozen = adapter.list_frozen(module)
    module.base = digest_weights(module, frozen)
    adapter.inject(module, module.seed, plain)
    weights = module.state_dict(keep_vars=True).items()
    base = frozenset(frozen)
    module.apart = tuple(name for name, weight in weights if is_frozen(weight) and unwrapped(name) in base)
    module.strict_loading = False


def is_frozen(weight: Tensor) -> bool:
    """Whether it is a parameter that isn't trained."""
    return isinstance(weight, torch.nn.Parameter) and not weight.requires_grad


def unwrapped(name: str) -> str:
    """The name that a weight had before an adapter was put around its layer."""
    return name.replace(".base_layer.", ".")


def digest_weights(module: Any, names: list[str]) -> str:
    """16 hex digits of some weights, of numbers taken at equal distances and rounded to bfloat16."""
    digest, weights = hashlib.blake2b(digest_size=8), module.state_dict(keep_vars=True)
    for name in names:
        with whole(weights[name]) as weight:
            flat = weight.detach().flatten()
            picks = flat[:: max(1, len(flat) // PICKS)].to(torch.bfloat16).float().cpu()
        digest.update(f"{name} {tuple(weight.shape)} ".encode() + picks.numpy().tobytes())
    return digest.hexdigest()


def load_own(module: Any, file: Path, start: Start | None = None) -> None:
    """Copy a checkpoint into a module that has its base and the same adapter.

    Args:
        module: after :func:`adapt`.
        file: a checkpoint of a run with that adapter.
        start: what may be missing there is below its ``fresh``.

    Raises:
        ValueError: it was trained beside other weights, or has others.
    """
    checkpoint = read_checkpoint(file)
    check_base(module, checkpoint, file)
    own = module.state_dict(keep_vars=True)
    kept = {name: weight for name, weight in own.items() if not is_below(name, module.apart)}
    held = {name: weight for name, weight in checkpoint["state_dict"].items() if not is_below(name, module.apart)}
    copy_weights(kept, held, file, start or Start())


def check_base(module: Any, checkpoint: dict[str, Any], file: Path) -> None:
    """Refuse a checkpoint whose adapter was trained beside other weights.

    Raises:
        ValueError: gives both digests.
    """
    if checkpoint.get("base") != module.base:
        raise ValueError(
            f"ckpt {file} holds an adapter that was trained beside other weights ({checkpoint.get('base')}) than those "
            f"here ({module.base}); bring back what model.path held then, or the run that it started from"
        )


def load_adapted(module: Any, file: Path, config: DictConfig, adapter: Adapter, merged: bool) -> None:
    """Load base and adapter of a checkpoint.

    Args:
        module: of the run's config, as that builds it.
        file: the checkpoint.
        config: of its run.
        adapter: of that config.
        merged: add the adapter to the weights.
    """
    load_base(module, config, run_of(file), adapter)
    adapt(module, adapter, plain=merged)
    load_own(module, file)
    if merged:
        adapter.merge(module)


def read_merged(file: Path, config: DictConfig) -> dict[str, Tensor]:
    """All weights of a run that trained an adapter, as if it had trained them itself."""
    module, adapter = instantiate(config.stage.module), read_adapter(config)
    assert adapter is not None
    load_adapted(module, file, config, adapter, merged=True)
    weights: dict[str, Tensor] = module.state_dict()
    return weights
