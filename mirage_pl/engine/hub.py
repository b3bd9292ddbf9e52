"""Models of the Hugging Face hub: asked for once and quickly, where the hub's own client tries for a minute."""

import urllib.request
from functools import cache
from pathlib import Path
from urllib.error import HTTPError

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

SECONDS = 5.0
"""That the hub has to answer."""


def is_only_here(path: str) -> bool:
    """Whether a model is to be taken from this machine alone: it is a folder, or the hub doesn't answer.

    Args:
        path: a folder, or a name on the hub.

    Raises:
        ValueError: it is neither a folder nor in the hub's cache, and the hub doesn't answer.
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
    """Whether the hub's cache on this machine has a model."""
    try:
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    except HFValidationError:  # a path that isn't there
        return False


@cache
def hub_answers() -> bool:
    """Whether the hub can be reached; asked once in a process."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=SECONDS):
            return True
    except HTTPError:
        return True
    except OSError:
        return False
