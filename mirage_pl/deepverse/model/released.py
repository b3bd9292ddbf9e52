"""Models in folders of the release: weights by published names, both ways."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mirage_pl.deepverse.model.vae import CausalVAE
from mirage_pl.deepverse.model.vae_coders import VaeSizes

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
WITHIN = "causal_video_vae"
"""The folder that holds it in a released model."""
PARTS = ("transformer", "prompts")
"""Folders of the others; the table of what is said is in our exports alone."""
CODES = "codes"
"""In the config of an export: mean and deviation of codes."""


def build_vae(path: str | None, sizes: VaeSizes) -> CausalVAE:
    """Build a VAE, with a folder's weights.

    Args:
        path: the folder of a VAE, or of a model that holds one; ``None``: untrained.
        sizes: of it.

    Raises:
        ValueError: no such folder, or it holds another model.
    """
    vae = CausalVAE(sizes)
    if path is not None:
        vae.load_state_dict(read_weights(path, vae.state_dict()))
    return vae


def load_world(parts: Mapping[str, nn.Module], path: str) -> list[list[float]] | None:
    """Give parts of a world model, by name, the weights that a folder has of them.

    Returns:
        Mean and deviation of codes, of first units and of later ones; ``None``: the folder doesn't say.

    Raises:
        ValueError: they are of another model, or the folder can't be read.
    """
    for name, part in parts.items():
        if (Path(path) / name).is_dir():
            part.load_state_dict(read_weights(path, part.state_dict(), name))
    if not (file := Path(path) / CONFIG).is_file():
        return None
    try:
        if (codes := json.loads(file.read_text()).get(CODES)) is None:
            return None
        return [[float(number) for number in codes[key]] for key in ("first", "later")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} can't be read as mean and deviation of codes ({type(error).__name__})") from None


def read_weights(path: str, own: dict[str, Tensor], within: str = WITHIN) -> dict[str, Tensor]:
    """Read the weights of a part of a folder; those of a VAE may lie in it themselves.

    Raises:
        ValueError: there are none, or they are of another model; names the first that differs.
    """
    file = Path(path) / within / WEIGHTS
    file = Path(path) / WEIGHTS if within == WITHIN and not file.is_file() else file
    if not file.is_file():
        raise ValueError(f"model.path={path} has no {WEIGHTS}; give a folder of a released VAE, or of an export")
    try:
        weights = load_file(file)
    except SafetensorError as error:
        raise ValueError(f"model.path={path} can't be read ({error})") from None
    there, here = ({name: list(weight.shape) for name, weight in each.items()} for each in (weights, own))
    if differing := sorted(name for name in here.keys() | there.keys() if there.get(name) != here.get(name)):
        name = differing[0]
        raise ValueError(
            f"model.path={path} is of other sizes: {name} is {there.get(name, 'absent')} there and "
            f"{here.get(name, 'absent')} here (and {len(differing) - 1} more differ); choose another model="
        )
    return weights


def write_folder(vae: CausalVAE, folder: Path) -> dict[str, Tensor]:
    """Write weights and sizes; return the weights as they are read back."""
    sizes = {key: list(value) if not isinstance(value, int) else value for key, value in asdict(vae.sizes).items()}
    (folder / CONFIG).write_text(json.dumps(sizes, indent=2))
    weights = {name: weight.contiguous() for name, weight in vae.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    return load_file(folder / WEIGHTS)


def write_world(world: Any, folder: Path) -> dict[str, Tensor]:
    """Write the parts of a world model, a folder for each, with mean and deviation of its codes; read weights back."""
    codes = dict(zip(("first", "later"), world.constants_22.tolist(), strict=True))
    (folder / CONFIG).write_text(json.dumps({"model_type": "deepverse", CODES: codes}, indent=2))
    (folder / WITHIN).mkdir()
    weights = {f"vae.{name}": weight for name, weight in write_folder(world.vae, folder / WITHIN).items()}
    for name in PARTS:
        part = write_part(getattr(world, name), folder / name, asdict(world.transformer.sizes))
        weights |= {f"{name}.{key}": weight for key, weight in part.items()}
    return weights


def write_part(part: nn.Module, folder: Path, sizes: Mapping[str, Any]) -> dict[str, Tensor]:
    """Write the weights and sizes of a part; return the weights as they are read back."""
    folder.mkdir()
    (folder / CONFIG).write_text(json.dumps(dict(sizes), indent=2))
    weights = {key: weight.contiguous() for key, weight in part.state_dict().items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    return load_file(folder / WEIGHTS)
