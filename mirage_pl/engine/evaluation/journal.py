"""Results kept as they come, so that what was interrupted goes on where it stopped."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mirage_pl.engine.runs.folder import finite

IDENTITY = "identity.json"


class Journal:
    """A folder of finished pieces of one piece of work.

    Args:
        folder: made here, removed by :meth:`close`.
        identity: what the work is; pieces of other work that lie there are dropped.
        device: where kept tensors go.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], device: Any = "cpu") -> None:
        self.folder, self.device = folder, device
        written = json.dumps(finite(identity), indent=2, sort_keys=True, allow_nan=False)
        if not (folder / IDENTITY).is_file() or (folder / IDENTITY).read_text() != written:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / IDENTITY).write_text(written)

    def once(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """A piece: as it was kept, or made now and kept. Plain values and tensors; a damaged one is made again."""
        import torch

        file = self.folder / f"{name}.pt"
        if file.is_file():
            try:
                kept: dict[str, Any] = torch.load(file, map_location=self.device, weights_only=True)
            except Exception:  # cut off by a full disk, say: torch raises all sorts
                file.unlink()
            else:
                return kept
        made = make()
        partial = file.with_suffix(".partial")
        torch.save(made, partial)
        partial.rename(file)
        return made

    def close(self) -> None:
        """The work is done and written elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
