"""VAEs in folders of the release: weights by published names, both ways."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mirage_pl.deepverse.model.vae import CausalVAE
from mirage_pl.deepverse.model.vae_coders import VaeSizes

CONFIG, VAE_WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
WITHIN = "causal_video_vae"
"""The folder that holds it in a released model."""


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


def read_weights(path: str, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read the weights of a folder.

    Raises:
        ValueError: there are none, or they are of another model; names the first that differs.
    """
    file = Path(path) / VAE_WEIGHTS
    file = Path(path) / WITHIN / VAE_WEIGHTS if not file.is_file() else file
    if not file.is_file():
        raise ValueError(f"model.path={path} has no {VAE_WEIGHTS}; give a folder of a released VAE, or of an export")
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
    save_file(weights, folder / VAE_WEIGHTS, metadata={"format": "pt"})
    return load_file(folder / VAE_WEIGHTS)
