"""A folder as the official code writes it with its transformers 4.50, at the tiny model's size.

Written by hand after what that code and a folder on the hub hold, not by our export.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from mirage_pl.mirage.batch import LATENT_END, LATENT_PAD, LATENT_START
from mirage_pl.mirage.model.backbone import load_backbone, load_processor
from mirage_pl.mirage.tiny import CHAT_TEMPLATE, TEXT, VISION
from tests.mirage.exported import TINY

KEYS = ("compress_strategy", "latent_size", "stage", "latent_token_id", "latent_start_id", "latent_end_id")
"""Keys that the official code adds to config.json."""


def write_official_folder(folder: Path, seed: int = 0) -> Any:
    """Write one with random weights in bfloat16; return the backbone, in our names."""
    torch.manual_seed(seed)
    backbone, tokenizer = load_backbone(TINY, "bfloat16", random_weights=True), load_processor(TINY).tokenizer
    assert len(tokenizer) < backbone.get_input_embeddings().num_embeddings
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder, backbone)
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in tokenizer.get_added_vocab()}
    write_config(folder, ids)
    write_tokenizer(folder, tokenizer, ids)
    (folder / "training_args.bin").write_bytes(b"not read by anybody")
    return backbone


def write_weights(folder: Path, backbone: Any) -> None:
    """Two shards, under the names of 4.50: ``visual.…`` and ``model.…``."""
    old = {}
    for name, weight in backbone.state_dict().items():
        name = name.removeprefix("model.") if name.startswith("model.visual.") else name
        old[name.replace("model.language_model.", "model.")] = weight.contiguous()
    names, where = sorted(old), {}
    for number, part in enumerate((names[:20], names[20:]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({name: old[name] for name in part}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(part, file)
    size = sum(weight.nbytes for weight in old.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_config(folder: Path, ids: dict[str, int]) -> None:
    """Flat, as of 4.50, with the keys that training adds."""
    text = {name: value for name, value in TEXT.items() if name != "rope_parameters"}
    rotary: Any = TEXT["rope_parameters"]
    config = {
        **text,
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "attention_dropout": 0.0,
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "hidden_act": "silu",
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "rms_norm_eps": 1e-05,
        "rope_scaling": {"mrope_section": rotary["mrope_section"], "rope_type": "default", "type": "default"},
        "rope_theta": rotary["rope_theta"],
        "sliding_window": 32768,
        "max_window_layers": 28,
        "use_sliding_window": False,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.50.0.dev0",
        "use_cache": True,
        "vision_config": {**VISION, "in_chans": 3, "model_type": "qwen2_5_vl", "torch_dtype": "bfloat16"},
        "compress_strategy": "average",
        "latent_size": 3,
        "stage": "stage2",
        "latent_token_id": ids[LATENT_PAD],
        "latent_start_id": ids[LATENT_START],
        "latent_end_id": ids[LATENT_END],
    }
    (folder / "config.json").write_text(json.dumps(config))
    generation = {"do_sample": True, "temperature": 1e-06, "repetition_penalty": 1.05}
    generation |= {"eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]], "pad_token_id": ids["<|endoftext|>"]}
    (folder / "generation_config.json").write_text(json.dumps(generation))


def write_tokenizer(folder: Path, tokenizer: Any, ids: dict[str, int]) -> None:
    """The tokenizer alone, which is all that the official training saves."""
    (folder / "tokenizer.json").write_text(tokenizer.backend_tokenizer.to_str())
    (folder / "added_tokens.json").write_text(json.dumps(ids))
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    config = {
        "added_tokens_decoder": {str(number): {"content": name, **flags} for name, number in ids.items()},
        "additional_special_tokens": sorted(ids),
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "eos_token": "<|im_end|>",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "processor_class": "Qwen2_5_VLProcessor",
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    special = {name: {"content": config[name], **flags} for name in ("eos_token", "pad_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
