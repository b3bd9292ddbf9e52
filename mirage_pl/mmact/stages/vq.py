"""The stage of image codes. Shapes: as in ``model.coder``."""

from dataclasses import asdict
from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor

from mirage_pl.mmact.model.coder import Coder, draw_to_signs, lose_entropy
from mirage_pl.mmact.pictures import Pictures
from mirage_pl.mmact.stages.exported import ExportedModule

CARD = """Codes of pictures for a policy of mirage_pl's MM-ACT family: a convolutional autoencoder whose code is the
signs of its channels, the first one the most significant bit.
"""


MOVED = 0.2
"""A pixel moves if a channel of it, about [-1, 1], differs by more."""


class Code(ExportedModule):
    """Learn codes from which pictures can be seen again; ``net`` is a :class:`Coder`.

    Entropies are those of each picture, so that a batch loses the mean of what its pictures lose one by one; the
    released training takes them over the batch.

    Args:
        motion: further weight of pixels that are seen otherwise after the chunk, by which a thing counts that is small
            and moves; 0, as released: all count alike.
        base: of :class:`ExportedModule`.
    """

    net: Coder
    card = CARD

    def __init__(self, motion: Annotated[float, Ge(0)], **base: Any) -> None:
        super().__init__(**base)
        self.motion = motion

    def terms(self, batch: Pictures) -> dict[str, int]:
        """Pictures."""
        return dict.fromkeys(self.loss_weights, len(batch.pictures_MCSS))

    def losses(self, batch: Pictures) -> dict[str, Tensor]:
        """How far pictures come back otherwise, and what draws vectors to signs and signs apart."""
        coded = self.net(batch.pictures_MCSS)
        squares = (coded.pictures_MCSS - batch.pictures_MCSS).square()
        moves_M1SS = (batch.later_MCSS - batch.pictures_MCSS).abs().amax(1, keepdim=True) > MOVED
        return {
            "pixels": (squares * (1 + self.motion * moves_M1SS)).mean(),
            "signs": draw_to_signs(coded.vectors_MKGG).mean(),
            "entropy": lose_entropy(coded.vectors_MKGG.flatten(2).mT).mean(),
        }

    def describe_export(self) -> dict[str, Any]:
        """Sizes."""
        return {"model_type": "mmact_coder", "sizes": asdict(self.net.sizes)}
