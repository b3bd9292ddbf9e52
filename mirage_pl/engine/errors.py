"""Which errors are a user's mistakes, and their one line. Imports no torch."""

import errno
import re
from traceback import extract_tb

from hydra.errors import InstantiationException
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

ELSEWHERE = "choose another folder (run_dir=, runs=, out=), or see to its permissions"
UNUSABLE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, or choose another folder (run_dir=, runs=, data=)"),
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
        remedy = UNUSABLE.get(error.errno or 0, ELSEWHERE)
        return ValueError(f"{error.filename or 'a file'} cannot be written ({error.strerror}); {remedy}")
    refused = type(error).__name__ == "MisconfigurationException"
    if key and (refused or is_signature(error)):
        return ValueError(f"{key}: {error}")
    expected = isinstance(error, ValueError | OmegaConfBaseException | InstantiationException)
    return error if refused or expected else None


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
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "Original Traceback" in str(error):
        return lines[-1].removeprefix("ValueError: ")
    return " ".join(" ".join(lines).split())
