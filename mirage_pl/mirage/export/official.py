"""What the official code reads of a folder, in the form of its transformers 4.50; stock transformers reads it, too.

Source: the official repository at 53f26de: ``src/main.py`` writes these keys, ``src/test.py`` loads the folder.
"""

import json
from pathlib import Path
from typing import Any

ARCHITECTURE = "qwen2_5_vl"
"""The only one that the official code knows."""
FLAT = {"rope_theta", "rope_type", "type", "mrope_section"}
"""Rotary parameters that a config of transformers 4.50 can say."""


def write_official_files(folder: Path, processor: Any) -> None:
    """Rewrite ``config.json`` flat, and add ``preprocessor_config.json`` and ``chat_template.json``.

    Args:
        folder: of an export; of another architecture, or with stretched positions, it is left as it is.
        processor: what was saved there.
    """
    file = folder / "config.json"
    config = json.loads(file.read_text())
    if config["model_type"] != ARCHITECTURE:
        return
    rotary = config["text_config"]["rope_parameters"]
    if rotary["rope_type"] != "default" or not rotary.keys() <= FLAT:
        return
    file.write_text(json.dumps(flatten_config(config), indent=2, sort_keys=True) + "\n")
    images = processor.image_processor
    kept = ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std")
    content = {name: getattr(images, name) for name in kept} | {
        "min_pixels": images.size["shortest_edge"],
        "max_pixels": images.size["longest_edge"],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(content, indent=2) + "\n")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": processor.chat_template}, indent=2) + "\n")


def flatten_config(config: dict[str, Any]) -> dict[str, Any]:
    """A config of transformers 5 as one of 4.50: the language model's values at the top."""
    nested = ("text_config", "vision_config", "dtype")
    text, vision = (dict(config[name]) for name in nested[:2])
    rotary = text.pop("rope_parameters")
    text = {name: value for name, value in text.items() if name not in ("model_type", "dtype", "layer_types")}
    vision = {name: value for name, value in vision.items() if name not in ("model_type", "dtype", "rope_parameters")}
    top = {name: value for name, value in config.items() if name not in nested}
    return (
        text
        | {"rope_theta": rotary["rope_theta"]}
        | {"rope_scaling": {"type": "mrope", "mrope_section": rotary["mrope_section"]}}
        | {"vision_config": vision, "torch_dtype": config["dtype"]}
        | top
    )
