"""A bottleneck: for a while latents alone see the images, so that what the answer needs of these must go through them.

Columns of text, of question and answer, don't attend to images; those of latents do, and so do the queries that write
them. Then it is released (LIVR, arXiv 2512.21218, which has latents without helper images).

Shapes: B rows, T columns.
"""

from dataclasses import dataclass, replace
from typing import Annotated

from annotated_types import Gt, Le
from torch import Tensor

from mirage_pl.mirage.batch import Batch


@dataclass(frozen=True)
class Bottleneck:
    """Which rows are trained through a bottleneck, and for how long.

    Attributes:
        share: of the rows, drawn anew in every batch.
        until: share of the run after which there is none.
        gradual: let ``share`` fall linearly to 0 until then, in place of all at once.
    """

    share: Annotated[float, Gt(0), Le(1)]
    until: Annotated[float, Gt(0), Le(1)]
    gradual: bool

    def now(self, progress: float) -> float:
        """The share of rows at this point of the run."""
        if progress >= self.until and self.until < 1:
            return 0.0
        return self.share * (1 - progress / self.until) if self.gradual else self.share

    def narrow(self, batch: Batch, image_id: int, progress: float, random_B: Tensor) -> Batch:
        """Return a batch some of whose rows have a bottleneck.

        Args:
            batch: to train on.
            image_id: of its image tokens.
            progress: share of the run that is over.
            random_B: a uniform random number of each row.
        """
        share = self.now(progress)
        if share == 0:
            return batch
        return replace(batch, blind_BT=find_text(batch, image_id) & (random_B < share).unsqueeze(1))


def find_text(batch: Batch, image_id: int) -> Tensor:
    """The real columns that are neither latents nor images, bools ``[B, T]``."""
    return batch.real_BT & ~batch.latent_BT & (batch.tokens_BT != image_id)
