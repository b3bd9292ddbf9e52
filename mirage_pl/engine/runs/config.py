"""What the files of a run folder say: its config, and its records."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError


def read_config(file: Path) -> DictConfig:
    """Read a run's config.

    Raises:
        ValueError: it can't be read, is no YAML, or no config of a run.
    """
    try:
        config = OmegaConf.load(file)
    except (YAMLError, OSError, ValueError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else "no YAML"
        raise ValueError(f"{file}: {reason}; restore it, or delete that run folder") from None
    if not isinstance(config, DictConfig) or not isinstance(config.get("seed"), int):
        raise ValueError(f"{file} has no seed, so it is no run's config; restore it, or delete that run folder")
    return config


def read_record(file: Path) -> dict[str, Any]:
    """Read ``environment.json`` or ``metrics.json`` of a run; empty if it isn't there.

    Raises:
        ValueError: it can't be read, or is no JSON object.
    """
    try:
        content = json.loads(file.read_bytes()) if file.exists() else {}
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else "no JSON"
        raise ValueError(f"{file}: {reason}; restore it, or train that run again") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no JSON object; restore it, or train that run again")
    return content
