"""Load a model of stock transformers, strictly, with the three latent tokens in its vocabulary."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    PretrainedConfig,
)

from mirage_pl.engine.hub import is_only_here
from mirage_pl.mirage.batch import LATENT_TOKENS
from mirage_pl.mirage.model.processors import check_fit, first_line, read_processor
from mirage_pl.mirage.stock.find import find_architecture, list_architectures, name_architecture


def load_processor(path: str, processor_path: str | None = None) -> Any:
    """Load tokenizer, chat template and image processor, and add the latent tokens that are missing.

    Args:
        path: a Hugging Face folder or a hub name.
        processor_path: another one, with the processor, where ``path`` has a tokenizer alone or nothing of it.

    Raises:
        ValueError: there is no processor at ``path``, or a model of another architecture.
    """
    check_architecture(path)
    processor = read_processor(path, processor_path)
    vocabulary = processor.tokenizer.get_vocab()
    processor.tokenizer.add_tokens([token for token in LATENT_TOKENS if token not in vocabulary], special_tokens=True)
    return processor


def check_architecture(path: str) -> None:
    """Check by its config that the engine runs a model; without a config nothing is checked.

    Raises:
        ValueError: it doesn't; names its architecture, and those that it runs.
    """
    try:
        content, _ = PretrainedConfig.get_config_dict(path, local_files_only=is_only_here(path))
    except (OSError, ValueError):
        return
    architecture, known = content.get("model_type"), list_architectures()
    if architecture not in known and content:
        raise ValueError(
            f"model.path={path} is a model of another architecture, {architecture}; Mirage trains {', '.join(known)}"
        )


def load_backbone(
    path: str,
    dtype: str = "float32",
    attention: str = "sdpa",
    random_weights: bool = False,
    processor_path: str | None = None,
    tower: Sequence[str] = (),
) -> Any:
    """Load the model; its embedding grows only if a latent token's id does not fit, and never shrinks.

    Args:
        path: a Hugging Face folder or a hub name.
        dtype: of the weights in memory, e.g. ``float32`` or ``bfloat16``.
        attention: ``sdpa``, ``eager``, …
        random_weights: take only the architecture from ``path`` (to pretrain).
        processor_path: see :func:`load_processor`.
        tower: names in a stage's module of what makes features of pixels, to be checked.

    Raises:
        ValueError: unknown ``dtype``, no model at ``path``, a weight is missing, unexpected or of another shape, or the
            processor or the names of the tower are another model's.
    """
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"model.dtype={dtype} is unknown; choose float32, bfloat16 or float16")
    processor = load_processor(path, processor_path)
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    try:
        if random_weights:
            config = AutoConfig.from_pretrained(path, local_files_only=is_only_here(path))
            model = AutoModelForImageTextToText.from_config(config, **options)
        else:
            model = load_strictly(path, options)
    except OSError as error:
        raise ValueError(f"model.path={path} holds no model: {first_line(error)}") from error
    check_fit(path, processor, model)
    check_tower(tower, model)
    needed = max(processor.tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))) + 1
    if needed > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(needed, mean_resizing=False)
    find_architecture(model).streamline()
    return model


def check_tower(names: Sequence[str], model: Any) -> None:
    """Check that a model has modules of some names in ``net.backbone``.

    Raises:
        ValueError: names the first that it lacks, and what makes its features.
    """
    weights, tower = [name for name, _ in model.named_parameters()], find_architecture(model).tower
    for name in names:
        if not any(f"net.backbone.{weight}".startswith(f"{name}.") for weight in weights):
            parts = [f"net.backbone.{at}" for at, module in model.named_modules() if any(module is p for p in tower)]
            raise ValueError(
                f"model.tower={name} is no part of {type(model).__name__}, whose tower is [{', '.join(parts)}]; "
                f"choose model={name_architecture(model)} with model.path"
            )


def load_strictly(path: str, options: dict[str, Any]) -> Any:
    """Load weights whose names and shapes all match the model's.

    Raises:
        ValueError: they don't match.
    """
    if Path(path).is_dir() and not list(Path(path).glob("*.safetensors*")):
        raise ValueError(
            f"model.path={path} holds no *.safetensors; give a folder with weights, or model.random_weights=true"
        )
    model, report = AutoModelForImageTextToText.from_pretrained(
        path, local_files_only=is_only_here(path), output_loading_info=True, ignore_mismatched_sizes=True, **options
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if names := sorted(str(name) for name in report.get(kind) or ()):
            raise ValueError(
                f"model.path={path} does not fit {type(model).__name__}: {len(names)} {kind.replace('_', ' ')}, "
                f"e.g. {names[0]}; the checkpoint is damaged, or from another transformers version"
            )
    return model
