"""Results saved as they are computed, so that interrupted work continues where it stopped."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from mirage_pl.engine.runs.folder import make_strict

log = logging.getLogger(__name__)

IDENTITY = "identity.json"


class Journal:
    """A folder that holds the finished parts of one job.

    Args:
        place: the folder's, which is created on first use and removed by :meth:`close`.
        identity: what the results depend on.
        device: where saved tensors are loaded to.
    """

    def __init__(self, place: Path, identity: Mapping[str, Any], device: Any = "cpu") -> None:
        self.place, self.device = place, device
        self.identity = json.dumps(make_strict(identity), indent=2, sort_keys=True, allow_nan=False)

    @cached_property
    def folder(self) -> Path:
        """The folder, created here if it isn't there; parts that were saved under another identity are deleted."""
        name = self.place / IDENTITY
        if not name.is_file() or name.read_text() != self.identity:
            if any(self.place.glob("*.pt")):
                log.warning(
                    "%s was left by a command with other settings; it is removed, and all begins anew", self.place
                )
            shutil.rmtree(self.place, ignore_errors=True)
            self.place.mkdir(parents=True)
            name.write_text(self.identity)
        return self.place

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the saved part of this name, or compute and save it; a damaged file is computed again.

        Args:
            name: of the part.
            make: returns plain values and tensors.
        """
        file = self.folder / f"{name}.pt"
        if file.is_file():
            try:
                part: dict[str, Any] = torch.load(file, map_location=self.device, weights_only=True)
            except Exception:  # a file cut short by a full disk makes torch raise many types
                file.unlink()
            else:
                return part
        part = make()
        partial = file.with_suffix(".partial")
        torch.save(part, partial)
        partial.rename(file)
        return part

    def close(self) -> None:
        """Delete the folder: the job is done and its results are written elsewhere."""
        shutil.rmtree(self.place, ignore_errors=True)
