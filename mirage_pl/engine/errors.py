"""Which errors are a user's mistakes, and their one line. Imports no torch."""

import errno
import os
import re
import signal
import sys
from difflib import get_close_matches
from pathlib import Path
from traceback import extract_tb
from typing import Any, NoReturn

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from mirage_pl.engine.place import CONF

ELSEWHERE = "choose another folder ({keys}), or see to its permissions"
FOLDERS = "run_dir=, runs=, data=, out="
"""Keys of folders that commands write to."""
UNUSABLE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, or choose another folder ({keys})"),
    errno.EFBIG: "allow larger files (ulimit -f)",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG), ELSEWHERE
    ),
}
"""Remedies for a place that can't be written to, by errno."""


def find_mistake(error: BaseException) -> BaseException | None:
    """Return the user's mistake behind an error; ``None`` if the error is ours.

    Mistakes are ``ValueError``, configs that don't resolve, Lightning's ``MisconfigurationException``, and places that
    can't be written to.
    """
    key = ""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        key = str(error).rpartition("full_key: ")[2].strip() if "full_key: " in str(error) else key
        error = error.__cause__
    if isinstance(error, OSError) and (error.errno in UNUSABLE or makes_folder(error)):
        remedy = UNUSABLE.get(error.errno or 0, ELSEWHERE).format(keys=find_keys(error.filename) or FOLDERS)
        return ValueError(f"{error.filename or 'a file'} cannot be written ({error.strerror}); {remedy}")
    refused = type(error).__name__ == "MisconfigurationException"
    if key and (refused or is_signature(error)):
        return ValueError(f"{key}: {error}")
    expected = isinstance(error, ValueError | OmegaConfBaseException | InstantiationException)
    return error if refused or expected else None


def find_keys(file: Any) -> str:
    """The keys of this command's words whose value is a path, or one above it; empty if there are none."""
    pairs = [word.partition("=")[::2] for word in sys.argv[1:] if isinstance(file, str | Path)]
    places = {key: Path(value.strip("'")).absolute() for key, value in pairs if value}
    return ", ".join(f"{key}=" for key, place in places.items() if Path(file).absolute().is_relative_to(place))


def is_signature(error: BaseException) -> bool:
    """Whether a call was refused for the arguments that it was given, or wasn't."""
    return isinstance(error, TypeError) and bool(re.search(r"\(\) (missing|got an unexpected|takes) ", str(error)))


def makes_folder(error: OSError) -> bool:
    """Whether an error comes from making a folder: ``mkdir`` below ``/proc`` reports ``ENOENT``."""
    frames = extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].name in ("mkdir", "makedirs")


def one_line(error: BaseException) -> str:
    """An error's message on one line; of an error in a loading process, only the original message."""
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value; give {error.full_key}=…"
    if isinstance(error, InterpolationKeyError):
        return explain_absence(error)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "Original Traceback" in str(error):
        return lines[-1].removeprefix("ValueError: ")
    return " ".join(" ".join(lines).split())


def explain_absence(error: InterpolationKeyError) -> str:
    """Explain a key that no chosen option brings, but of which others are made: options of several families."""
    key = str(error).partition("'")[2].partition("'")[0]
    place = f", of which {error.full_key} is made" if error.full_key not in (None, key) else ""
    if choice := next((word for word in sys.argv[1:] if chooses(word, key)), ""):
        near = get_close_matches(key.rpartition(".")[2], list_beside(error, key), 1)
        proposal = f"did you mean {choice.partition('=')[0]}={near[0]}?" if near else "--cfg job shows what there is"
        return f"{choice} names {key}{place}, which isn't there; {proposal}"
    words = [word for word in sys.argv[1:] if word.startswith(("model=", "stage=", "task="))]
    partners = [partner for word in words for partner in list_partners(word)]
    fix = f"choose {' or '.join(partners)}" if partners else "choose a model=, stage= and task= of one family"
    return f"{' '.join(words) or 'this config'} brings no {key}{place}; {fix}"


def chooses(word: str, key: str) -> bool:
    """Whether a word of the command line gives a value that names a key beside its own."""
    (own, _, value), (parent, _, last) = word.partition("="), key.rpartition(".")
    return bool(parent) and value.strip("'\"") == last and own.rpartition(".")[0] == parent


def list_beside(error: InterpolationKeyError, key: str) -> list[str]:
    """Keys that there are in place of one that isn't there."""
    node: Any = error.parent_node
    while getattr(node, "_get_parent", lambda: None)() is not None:
        node = node._get_parent()
    parent = OmegaConf.select(node, key.rpartition(".")[0]) if isinstance(node, DictConfig) else None
    return [str(name) for name in parent] if isinstance(parent, DictConfig) else []


def list_partners(word: str) -> list[str]:
    """Stages of a model that lies in a family's folder, or models of such a stage: ``stage=a/b`` for ``model=a/c``."""
    group, _, option = word.partition("=")
    other, family = {"model": "stage", "stage": "model"}.get(group), option.rpartition("/")[0]
    files = sorted((CONF / other / family).glob("*.yaml")) if other and family else []
    return [f"{other}={family}/{file.stem}" for file in files]


def leave_unread() -> NoReturn:
    """Exit as commands do whose output nobody reads any more, as in ``... --help | head``: without a word."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(128 + signal.SIGPIPE)
