"""The stage against drift: what comes before the noisy unit is what the model imagined itself.

Shapes: B clips, N units, S channels of a state, h x w places.
"""

from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from torch import Tensor

from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.stages.world_model import LearnWorld
from mirage_pl.deepverse.units import UnitBatch
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.engine.training.evaluating import evaluating


class ForceSelf(LearnWorld):
    """Learn the last unit, which is true, after units that the model has drawn itself: it learns to find back.

    Args:
        sampler: how they are drawn, without a gradient.
        own: share of rows whose past is the model's own; of the others it is true.
        given: units that are true in any row.
        base: of :class:`mirage_pl.deepverse.stages.world_model.LearnWorld`.
    """

    def __init__(
        self,
        sampler: Sampler,
        own: Annotated[float, Interval(ge=0, le=1)],
        given: Annotated[int, Ge(1)],
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.sampler, self.own, self.given = sampler, own, given

    def look_back(self, states_BSNhw: Tensor, memory: tuple[Tensor, Tensor], batch: UnitBatch) -> Tensor:
        """Units as those after them find them: in training some rows have drawn all but the first ones themselves."""
        units = states_BSNhw.shape[2] - 1 - self.given
        if not self.training or units < 1:
            return states_BSNhw
        streams = [row_stream(self.seed, f"{Path(clip.where).name} own", self.now) for clip in batch.samples]
        own_B = [float(torch.rand((), generator=stream)) < self.own for stream in streams]
        prompts_BU = batch.prompts_BN[:, self.given : -1].to(states_BSNhw.device)
        with evaluating(self.net):
            drawn = self.net.draw_units(self.sampler, states_BSNhw[:, :, : self.given], prompts_BU, streams, memory)
        past = torch.cat((states_BSNhw[:, :, : self.given], drawn.to(states_BSNhw), states_BSNhw[:, :, -1:]), 2)
        return torch.where(torch.tensor(own_B, device=past.device).view(-1, 1, 1, 1, 1), past, states_BSNhw)
