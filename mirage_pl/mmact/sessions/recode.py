"""One use of trained image codes: a picture through them and back, beside the picture."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.seams import Piece
from mirage_pl.mmact.evaluations.pictures import measure_psnr, place_beside, to_levels
from mirage_pl.mmact.pictures import prepare_views
from mirage_pl.mmact.sessions.situation import read_pictures


class Recode:
    """``conf/session/mmact/recode.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
    """

    uses = ("module.net.sizes.grid",)

    def __init__(self, trained: Trained, takes: Mapping[str, str]) -> None:
        self.trained, self.takes = trained, takes

    def begin(self, image: Any = None) -> Iterator[Piece]:
        """Write a picture beside what its codes have of it, and say which these are.

        Raises:
            ValueError: no picture, or a file that isn't one.
        """
        if image is None:
            raise ValueError("give image=FILE: a picture")
        yield from self.step(image)

    def step(self, image: Any) -> Iterator[Piece]:
        """Show a further picture: a path, or a list of one."""
        coder = self.trained.module.net
        truth_1CSS = prepare_views(read_pictures(image, 1), coder.sizes.side)
        codes_1n = coder.encode(truth_1CSS.to(self.trained.device))
        shown_1CSS = coder.decode(codes_1n).cpu()
        grid = codes_1n.view(coder.sizes.grid, -1).tolist()
        yield Piece("text", "".join(" ".join(f"{code:4d}" for code in row) + "\n" for row in grid))
        yield Piece("text", f"PSNR {measure_psnr(shown_1CSS, truth_1CSS):.1f} dB; left the picture, right its codes'\n")
        yield Piece("picture", place_beside(to_levels(torch.cat((truth_1CSS, shown_1CSS)))), "recoded.png")
