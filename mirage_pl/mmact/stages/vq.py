"""The stage of image codes. Shapes: as in ``model.coder``."""

from dataclasses import asdict
from typing import Any

from torch import Tensor

from mirage_pl.mmact.model.coder import Coder, draw_to_signs, lose_entropy
from mirage_pl.mmact.pictures import Pictures
from mirage_pl.mmact.stages.exported import ExportedModule

CARD = """Codes of pictures for a policy of mirage_pl's MM-ACT family: a convolutional autoencoder whose code is the
signs of its channels, the first one the most significant bit.
"""


class Code(ExportedModule):
    """Learn codes from which pictures can be seen again; ``net`` is a :class:`Coder`.

    Entropies are those of each picture, so that a batch loses the mean of what its pictures lose one by one; the
    released training takes them over the batch.
    """

    net: Coder
    card = CARD

    def terms(self, batch: Pictures) -> dict[str, int]:
        """Pictures."""
        return dict.fromkeys(self.loss_weights, len(batch.pictures_MCSS))

    def losses(self, batch: Pictures) -> dict[str, Tensor]:
        """How far pictures come back otherwise, and what draws vectors to signs and signs apart."""
        coded = self.net(batch.pictures_MCSS)
        squares = (coded.pictures_MCSS - batch.pictures_MCSS).square()
        return {
            "pixels": squares.mean(),
            "signs": draw_to_signs(coded.vectors_MKGG).mean(),
            "entropy": lose_entropy(coded.vectors_MKGG.flatten(2).mT).mean(),
        }

    def describe_export(self) -> dict[str, Any]:
        """Sizes."""
        return {"model_type": "mmact_coder", "sizes": asdict(self.net.sizes)}
