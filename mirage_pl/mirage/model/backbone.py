"""Load Qwen2.5-VL from stock transformers, strictly, with the three latent tokens in its vocabulary."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoProcessor,
    PretrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

from mirage_pl.engine.hub import is_only_here
from mirage_pl.mirage.batch import LATENT_TOKENS
from mirage_pl.mirage.model.tower import streamline


def load_processor(path: str) -> Any:
    """Load tokenizer, chat template and image processor, and add the latent tokens that are missing.

    Args:
        path: a Hugging Face folder or a hub name.

    Raises:
        ValueError: there is no processor at ``path``, or a model of another family.
    """
    check_family(path)
    here = is_only_here(path)
    try:
        processor = AutoProcessor.from_pretrained(path, local_files_only=here)
    except (OSError, ValueError) as error:
        raise ValueError(f"model.path={path} has no usable processor: {first_line(error)}") from error
    vocabulary = processor.tokenizer.get_vocab()
    processor.tokenizer.add_tokens([token for token in LATENT_TOKENS if token not in vocabulary], special_tokens=True)
    return processor


def check_family(path: str) -> None:
    """Check by its config that a model is a Qwen2.5-VL; without a config nothing is checked.

    Raises:
        ValueError: another family; names it.
    """
    try:
        content, _ = PretrainedConfig.get_config_dict(path, local_files_only=is_only_here(path))
    except (OSError, ValueError):
        return
    family = content.get("model_type")
    if family != Qwen2_5_VLConfig.model_type and content:
        raise ValueError(f"model.path={path} is a model of another family, {family}; Mirage trains Qwen2.5-VL")


def load_backbone(
    path: str, dtype: str = "float32", attention: str = "sdpa", random_weights: bool = False
) -> Qwen2_5_VLForConditionalGeneration:
    """Load the model; its embedding grows only if a latent token's id does not fit, and never shrinks.

    Args:
        path: a Hugging Face folder or a hub name.
        dtype: of the weights in memory, e.g. ``float32`` or ``bfloat16``.
        attention: ``sdpa``, ``eager``, …
        random_weights: take only the architecture from ``path`` (to pretrain).

    Raises:
        ValueError: unknown ``dtype``, no model at ``path``, or a weight is missing, unexpected or of another shape.
    """
    if not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ValueError(f"model.dtype={dtype} is unknown; choose float32, bfloat16 or float16")
    processor = load_processor(path)
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "attn_implementation": attention}
    try:
        if random_weights:
            config = AutoConfig.from_pretrained(path, local_files_only=is_only_here(path))
            model = Qwen2_5_VLForConditionalGeneration._from_config(config, **options)
        else:
            model = load_strictly(path, options)
    except OSError as error:
        raise ValueError(f"model.path={path} holds no model: {first_line(error)}") from error
    needed = max(processor.tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))) + 1
    if needed > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(needed, mean_resizing=False)
    streamline(model.model.visual)
    return model


def load_strictly(path: str, options: dict[str, Any]) -> Qwen2_5_VLForConditionalGeneration:
    """Load weights whose names and shapes all match the model's.

    Raises:
        ValueError: they don't match.
    """
    if Path(path).is_dir() and not list(Path(path).glob("*.safetensors*")):
        raise ValueError(
            f"model.path={path} holds no *.safetensors; give a folder with weights, or model.random_weights=true"
        )
    model, report = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        path, local_files_only=is_only_here(path), output_loading_info=True, ignore_mismatched_sizes=True, **options
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if names := sorted(str(name) for name in report.get(kind) or ()):
            raise ValueError(
                f"model.path={path} does not fit Qwen2.5-VL: {len(names)} {kind.replace('_', ' ')}, e.g. {names[0]}; "
                "the checkpoint is damaged or made by another transformers version"
            )
    return model


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
