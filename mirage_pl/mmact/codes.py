"""Codes of demonstrations' pictures, computed once. Shapes: T states, V views, n codes of a picture."""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.demonstrations.steps import Step
from mirage_pl.mmact.model.coder import Coder
from mirage_pl.mmact.pictures import prepare_views


class Codes:
    """All pictures of an episode are coded when one is first asked for; by other weights they are coded anew.

    Args:
        folder: a file for each episode goes below it, in a folder for each coder; ``None``: codes are kept in memory.
    """

    def __init__(self, folder: str | None) -> None:
        self.folder, self.known = None if folder is None else Path(folder), dict[str, Tensor]()
        self.stamp, self.name = tuple[tuple[int, int], ...](), ""

    def see(self, step: Step, coder: Coder) -> Tensor:
        """Codes of what cameras see at a step, [V, n].

        Raises:
            ValueError: there is nothing to see, or less than the row says; names it.
        """
        if step.seen is not None or step.file is None:
            device = next(coder.parameters()).device
            return coder.encode(prepare_views(step.look(), coder.sizes.side).to(device)).cpu()
        return self.read(step, coder)[step.at]

    def foresee(self, step: Step, coder: Coder) -> Tensor:
        """Codes of what the first camera sees after a step's chunk, or at the episode's end, [n].

        Raises:
            ValueError: the step is of no episode; names it.
        """
        if step.file is None:
            raise ValueError(f"{step.where}: no episode, so nobody knows what is seen next")
        codes_TVn = self.read(step, coder)
        return codes_TVn[min(step.after, len(codes_TVn) - 1), 0]

    def read(self, step: Step, coder: Coder) -> Tensor:
        """Codes of a step's episode, [T, V, n]."""
        self.check(coder)
        if step.episode not in self.known:
            self.known[step.episode] = self.look_up(step, coder)
        return self.known[step.episode].long()

    def check(self, coder: Coder) -> None:
        """Forget all codes if the coder has other weights than before."""
        stamp = tuple((weight.data_ptr(), weight._version) for weight in coder.parameters())
        if stamp != self.stamp:
            digest = sha256(str(coder.sizes).encode())
            for weight in coder.state_dict().values():
                digest.update(weight.detach().float().cpu().numpy().tobytes())
            self.stamp, self.name = stamp, digest.hexdigest()[:16]
            self.known.clear()

    def look_up(self, step: Step, coder: Coder) -> Tensor:
        """Read an episode's codes from disk, or compute and write them; a damaged file counts as none."""
        file = self.place(step)
        with suppress(OSError, ValueError, EOFError):
            if file is not None and file.is_file():
                return torch.from_numpy(np.load(file, allow_pickle=False))
        device, seen = next(coder.parameters()).device, step.look_at(None)
        rows = [coder.encode(prepare_views(views, coder.sizes.side).to(device)).cpu() for views in seen]
        codes_TVn = torch.stack(rows).to(torch.int32)
        if file is not None:
            write_beside(file, codes_TVn.numpy())
        return codes_TVn

    def place(self, step: Step) -> Path | None:
        """Where codes of a step's episode are kept."""
        if self.folder is None or step.file is None:
            return None
        state = step.file.stat()
        key = sha256(f"{step.episode} {state.st_mtime_ns} {state.st_size}".encode()).hexdigest()[:16]
        return self.folder / self.name / f"{key}.npy"


def write_beside(file: Path, codes: NDArray[np.int32]) -> None:
    """Write a whole file or none; a folder that can't be written is no error, for codes can be computed again."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=file.parent, suffix=".part", delete=False) as out:
            np.save(out, codes)
        os.replace(out.name, file)
