"""Released checkpoints: a folder of safetensors with a ``config.json``, before or after bins were added to them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Generator, Tensor

from mirage_pl.mmact.model.backbone import Backbone
from mirage_pl.mmact.model.vocabulary import Vocab

TABLES = ("model.transformer.wte.weight", "model.transformer.ff_out.weight")
"""A row for each id."""
SPREAD = 0.02
"""Standard deviation of new rows, where a config names none."""


def resize_vocabulary(
    weights: Mapping[str, Tensor], config: Mapping[str, Any], bins: int, stream: Generator
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Append rows for bins to both tables; the others stay as they are, bit by bit.

    Args:
        weights: by name.
        config: of the checkpoint.
        bins: rows to append.
        stream: draws them.

    Returns:
        Weights, and the config with the new sizes.

    Raises:
        ValueError: bins were added before, or a table is missing.
    """
    if config.get("action_vocab_size"):
        raise ValueError(f"this checkpoint has {config['action_vocab_size']} bins already; take it as it is")
    if missing := [name for name in TABLES if name not in weights]:
        raise ValueError(f"checkpoint has no {missing[0]}; give one of LLaDA, MMaDA or MM-ACT")
    spread = float(config.get("initializer_range") or config.get("init_std") or SPREAD)
    grown = dict(weights)
    for name in TABLES:
        rows = torch.randn((bins, weights[name].shape[1]), generator=stream) * spread
        grown[name] = torch.cat((weights[name], rows.to(weights[name])))
    size = len(grown[TABLES[0]])
    sizes = {"vocab_size": size, "embedding_size": size, "new_vocab_size": size, "action_vocab_size": bins}
    return grown, {**config, **sizes, "model_type": "mmact"}


def load_released(backbone: Backbone, folder: Path, vocab: Vocab, seed: int = 0) -> None:
    """Load a released checkpoint; bins are added to one that has none.

    Raises:
        ValueError: no such folder, or weights of other sizes or names; names the first.
    """
    config, files = folder / "config.json", sorted(folder.glob("*.safetensors"))
    if not files or not config.is_file():
        raise ValueError(f"model.path={folder} must be a folder with config.json and .safetensors files")
    weights = {name: weight for file in files for name, weight in load_file(file).items()}
    there, rows = json.loads(config.read_text()), {name: weights[name].shape[0] for name in TABLES if name in weights}
    if set(rows.values()) == {vocab.bins.first}:
        weights, _ = resize_vocabulary(weights, there, vocab.bins.size, Generator().manual_seed(seed))
    own = {name: weight.shape for name, weight in backbone.state_dict().items() if name.startswith("model.")}
    wrong = [name for name in sorted(own.keys() | weights.keys()) if own.get(name) != shape_of(weights.get(name))]
    if wrong:
        raise ValueError(
            f"model.path={folder}: {wrong[0]} is {shape_of(weights.get(wrong[0]))} there and {own.get(wrong[0])} in "
            "this model; choose the model= that it is of"
        )
    backbone.load_state_dict(weights, strict=False, assign=True)


def shape_of(weight: Tensor | None) -> Any:
    """The shape of a tensor; none of none."""
    return None if weight is None else weight.shape
