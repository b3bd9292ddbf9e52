"""The config that a run folder holds."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError


def read_config(file: Path) -> DictConfig:
    """Read a run's config.

    Raises:
        ValueError: no YAML, or without a seed.
    """
    try:
        config = OmegaConf.load(file)
    except (YAMLError, OSError) as error:
        raise ValueError(f"{file}: no YAML ({error}); restore it") from None
    if not isinstance(config, DictConfig) or not isinstance(config.get("seed"), int):
        raise ValueError(f"{file} has no seed, so it is no run's config; restore it")
    return config
