"""From true latents to the model's own in one run.

Shapes: B rows, T columns.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from mirage_pl.engine.training.draws import row_stream
from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.draws import draw_blocks
from mirage_pl.mirage.module import Supervised


class Curriculum(Supervised):
    """From stage 1 to a guided stage 2 in one run: ever fewer batches are teacher-forced. Not in the paper.

    Args:
        fade: share of the run over which the probability of teacher forcing falls linearly from 1.
        floor: the lowest probability; above 0, some batches have true latents until the end.
        by: what is drawn: a whole ``batch``, or each ``block``, where a recurrence's latents are ``apart`` from the
            columns before them.
        options: for :class:`Supervised`.

    Raises:
        ValueError: ``fade`` isn't above 0 and at most 1, or ``floor`` isn't from 0 to below 1; or blocks are drawn with
            another recurrence.
    """

    def __init__(
        self, fade: float, floor: float = 0.0, by: Literal["batch", "block"] = "batch", **options: Any
    ) -> None:
        super().__init__(**options)
        if not 0 <= floor < 1:
            raise ValueError(f"stage.module.floor={floor} must be from 0 to below 1; with 1 use stage=stage1")
        if not 0 < fade <= 1:
            raise ValueError(
                f"stage.module.fade={fade} must be above 0 and at most 1; 0.5 is the first half of the run"
            )
        if by == "block" and not self.net.recurrence.apart:
            raise ValueError("stage.module.by=block needs recurrence=queries: other latents follow from each other")
        self.fade, self.floor, self.by = fade, floor, by

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of ``Stage1`` or ``Guided``; the draw is the same on every rank and after a resume."""
        chance = max(self.floor, 1 - (1 - self.floor) * self.progress / self.fade) if self.training else 0.0
        if self.by == "block":
            taught_BT = draw_blocks(batch, self.seed, self.global_step, chance)
            return self.both(batch, *self.net.teacher_forced(batch, taught_BT, self.through))
        draw = torch.rand((), generator=row_stream(self.seed, "teacher forcing", self.global_step)).item()
        if draw < chance:
            return self.both(batch, *self.net.teacher_forced(batch))
        return self.both(batch, *self.net.recycled(batch, self.through))
