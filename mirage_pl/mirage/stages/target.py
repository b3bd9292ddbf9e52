"""What a latent should be is learnt: an encoder of helper images, by the answers of a frozen reader of its latents.

After "Scaffolding Minds" (arXiv 2608.19669), its first step; ``stage=imitate`` is the second.
"""

from typing import Any

from torch import Tensor

from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.codes import Codes, Pads
from mirage_pl.mirage.model.encoder import Encoder
from mirage_pl.mirage.module import MirageModule


class Target(MirageModule):
    """Train ``compression=encoder`` by the answers of a model that is given its latents, and doesn't learn.

    Args:
        options: for :class:`mirage_pl.mirage.module.MirageModule`.

    Raises:
        ValueError: there is no encoder, or latents are codes, which no gradient runs through.
    """

    writes_latents = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(self.net.compression, Encoder):
            raise ValueError(
                f"stage=target trains compression=encoder, and {type(self.net.compression).__name__} learns nothing; "
                "set compression=encoder"
            )
        if isinstance(self.net.feedback, Codes | Pads):
            raise ValueError(
                f"{type(self.net.feedback).__name__} reads something else in place of what the encoder makes, so "
                "nothing would reach it; set feedback=raw or matched"
            )
        self.net.compression.requires_grad_(True)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text``: cross-entropy of the answer, given the encoder's latents."""
        return {"text": self.text_loss(self.net.teacher_forced(batch)[0], batch)}
