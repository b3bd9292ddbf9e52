"""Tokenizers in folders of the release: ``config.json`` beside weights by published names, both ways.

Two kinds are read: whole tokenizers, and models of single frames (diffusers' ``VQModel``, such as aMUSEd's), whose
encoder and decoder become both those of the context and of the other frames.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mirage_pl.engine.runs.identity import is_below
from mirage_pl.ivideogpt.model.coders import Sizes
from mirage_pl.ivideogpt.model.tokenizer import Painting, Tokenizer, shrink_context
from mirage_pl.ivideogpt.model.transformer import HEADS, Transformer, our_names

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
WITHIN = "tokenizer"
"""The folder that holds these two in a released world model."""
PLAIN: Mapping[str, Any] = {"fold": 1, "context_patch": 1}
RELEASED: Mapping[str, Any] = {**PLAIN, "decode": "plain", "quantizers": ["VQ", "VQ"]}
"""What a model of single frames is, and what a released tokenizer is, though their configs don't say so."""
TRANSFORMER, LLAMA_WEIGHTS = "transformer", "model.safetensors"
"""Folder of a released world model's transformer, and the file in it."""
ALONE: Sequence[str] = (
    "cond_encoder",
    "cond_decoder",
    "quant_linear",
    "post_quant_linear",
    "dynamics_quantize",
    "glance",
    "context_glance",
)
"""What a model of single frames hasn't, so that it may begin untrained."""
PLACES = {
    "decode": "model.decode",
    "resolution": "model.resolution",
    "quantizers": "quantizer",
    "levels": "quantizer.levels",
    "num_vq_embeddings": "quantizer.num_codes",
    "num_dyn_embeddings": "quantizer.num_codes",
}
"""Where a size is set, if not in ``model.tokenizer.sizes``."""
KEYS, QUERIES = "kv_pos_emb", "q_pos_emb"


def build_tokenizer(
    path: str | None,
    sizes: Sizes,
    context_quantizer: Callable[[int], nn.Module],
    dynamics_quantizer: Callable[[int], nn.Module],
    decode: Painting,
) -> Tokenizer:
    """Build a tokenizer, with a folder's weights.

    Args:
        path: the folder; ``None``: untrained.
        sizes: as of :class:`Tokenizer`, and so are the others.
        context_quantizer: of context frames.
        dynamics_quantizer: of the others.
        decode: how they are painted.

    Raises:
        ValueError: no such folder, or it holds another model.
    """
    tokenizer = Tokenizer(sizes, context_quantizer, dynamics_quantizer, decode)
    if path is not None:
        load_folder(tokenizer, path)
    return tokenizer


def load_folder(tokenizer: Tokenizer, path: str) -> None:
    """Load weights of a folder; of a model of single frames those that it has.

    Raises:
        ValueError: no such folder, or it holds another model.
    """
    config, weights = read_folder(path)
    own: dict[str, Tensor] = tokenizer.state_dict()
    fresh = ALONE
    if any(name.startswith("cond_encoder.") for name in weights):
        check_sizes({**RELEASED, **config}, tokenizer.describe(), path)
        weights, fresh = fit_context(weights, tokenizer.sizes.context_length), ()
    else:
        check_sizes({**PLAIN, **config}, tokenizer.describe(), path)
        weights = pair_up(weights, own)
    check_weights(weights, own, fresh, path)
    tokenizer.load_state_dict(weights, strict=False)


def read_folder(path: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and weights of a tokenizer's folder, or of a world model's that holds one.

    Raises:
        ValueError: there are none.
    """
    folder = Path(path) / WITHIN if (Path(path) / WITHIN / CONFIG).is_file() else Path(path)
    if missing := [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]:
        raise ValueError(
            f"model.path={path} has no {missing[0]}; give a folder of a released tokenizer, or of an export"
        )
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text())
        return config, load_file(folder / WEIGHTS)
    except (json.JSONDecodeError, SafetensorError) as error:
        raise ValueError(f"model.path={path} can't be read ({error})") from None


def write_folder(tokenizer: Tokenizer, folder: Path) -> dict[str, Tensor]:
    """Write a folder as the release has it, in one file whatever its size; return the weights as they are read back."""
    (folder / CONFIG).write_text(json.dumps(tokenizer.describe(), indent=2))
    weights = {name: weight.contiguous() for name, weight in tokenizer.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    return load_file(folder / WEIGHTS)


def load_transformer(transformer: Transformer, path: str) -> None:
    """Load the transformer that a folder of a released world model holds; heads that it hasn't begin untrained.

    Raises:
        ValueError: the folder can't be read, or holds another model.
    """
    folder = Path(path) / TRANSFORMER
    try:
        weights = our_names(load_file(folder / LLAMA_WEIGHTS))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"model.path={path} can't be read ({error})") from None
    check_weights(weights, transformer.state_dict(), HEADS, path)
    transformer.load_state_dict(weights, strict=False)


def check_sizes(config: Mapping[str, Any], own: Mapping[str, Any], path: str) -> None:
    """Refuse a folder whose config has other sizes than a tokenizer; what it doesn't name isn't compared.

    Raises:
        ValueError: names the first.
    """
    for key, here in own.items():
        if key in config and config[key] != here and key not in ("context_length", "dropout"):
            place = PLACES.get(key, f"model.tokenizer.sizes.{key}")
            raise ValueError(
                f"model.path={path} has {key}={config[key]}, and this model {here}; choose a model= of the same sizes, "
                f"or set {place}"
            )


def pair_up(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the coders of the other frames what those of single frames have, wherever it has the same shape."""
    copies = {
        f"cond_{name}": weight for name, weight in weights.items() if name.split(".")[0] in ("encoder", "decoder")
    }
    fitting = {name: weight for name, weight in copies.items() if name in own and own[name].shape == weight.shape}
    return {**weights, **fitting}


def fit_context(weights: Mapping[str, Tensor], context_length: int) -> dict[str, Tensor]:
    """Weights of a tokenizer whose names may begin with a prefix, for as many context frames or fewer.

    Raises:
        ValueError: it had fewer.
    """
    tables = [name for name in weights if name.endswith(f".{KEYS}")]
    lengths = {len(weights[name]) // len(weights[name.removesuffix(KEYS) + QUERIES]) for name in tables}
    return shrink_context(weights, lengths.pop(), context_length) if lengths else dict(weights)


def check_weights(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], fresh: Sequence[str], path: str) -> None:
    """Refuse weights of another model.

    Raises:
        ValueError: names the first that is here or there alone, or has another shape.
    """
    there, here = ({name: list(weight.shape) for name, weight in each.items()} for each in (weights, own))
    needed = {name for name in here if name in there or not is_below(name, fresh)}
    if differing := sorted(name for name in needed | there.keys() if there.get(name) != here.get(name)):
        name = differing[0]
        raise ValueError(
            f"model.path={path} is of another model: {name} is {there.get(name, 'absent')} there and "
            f"{here.get(name, 'absent')} here (and {len(differing) - 1} more differ)"
        )
