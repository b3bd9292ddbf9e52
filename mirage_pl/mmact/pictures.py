"""Steps of demonstrations -> pictures to be coded. Shapes: M pictures of all rows, C = 3 channels, S x S pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from data_modules.demonstrations.demonstration import Frames
from data_modules.demonstrations.steps import Step
from mirage_pl.mmact.model.images import prepare_picture


@dataclass(frozen=True)
class Pictures:
    """What cameras see at some steps, view by view.

    Attributes:
        samples: the steps.
        pictures_MCSS: about [-1, 1].
        later_MCSS: what is seen after the steps' chunks, or at their episodes' ends.
    """

    samples: tuple[Step, ...]
    pictures_MCSS: Tensor
    later_MCSS: Tensor

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, **_: Any) -> Self:
        """Return them on a device."""
        return replace(self, pictures_MCSS=self.pictures_MCSS.to(device), later_MCSS=self.later_MCSS.to(device))


class PictureCollator:
    """Read pictures.

    Args:
        side: pixels of a picture.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, samples: Sequence[Step]) -> Pictures:
        """Build a batch.

        Raises:
            ValueError: a step without frames; names the row.
        """
        seen = [sample.look_at([sample.at, sample.after]) for sample in samples]
        if blind := [sample.where for sample, (views, _) in zip(samples, seen, strict=True) if not len(views)]:
            raise ValueError(f"{blind[0]}: no frames; its row says no views")
        now, later = (
            torch.cat([prepare_views(views, self.side) for views in each]) for each in zip(*seen, strict=True)
        )
        return Pictures(tuple(samples), now, later)


def prepare_views(seen: Sequence[Frames], side: int) -> Tensor:
    """Frames of some cameras, [H, W, 3] each, as they are coded: [V, C, side, side]."""
    return torch.stack([prepare_picture(torch.from_numpy(frame), side) for frame in seen])
