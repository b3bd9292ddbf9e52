"""Whether the Hugging Face hub can be reached, decided in seconds; the hub's own client retries for a minute."""

import urllib.request
from functools import cache
from pathlib import Path
from urllib.error import HTTPError

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

SECONDS = 5.0
"""Time limit for the hub's answer."""


def is_only_here(path: str) -> bool:
    """Whether to load a model from this machine only: it is a folder, or the hub can't be reached.

    Args:
        path: a folder, or a name on the hub.

    Raises:
        ValueError: neither a folder nor in the hub's cache, and the hub can't be reached.
    """
    if Path(path).is_dir():
        return True
    if hub_answers():
        return False
    if not is_cached(path):
        offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} doesn't answer"
        raise ValueError(
            f"model.path={path} is no folder, nothing in the hub's cache {constants.HF_HUB_CACHE}, and {offline}; give "
            f"a folder that holds the model, or fetch it where there is a network (hf download {path}) and set HF_HOME "
            "to the folder it was fetched to"
        )
    return True


def is_cached(name: str) -> bool:
    """Whether the hub's local cache has a model."""
    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # a path that isn't there
        return False


@cache
def hub_answers() -> bool:
    """Whether the hub can be reached; checked once per process."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False
