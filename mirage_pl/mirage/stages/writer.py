"""What writes latents learns, and what reads them stays as stage 1 has left it. Not in the paper."""

from typing import Any

from torch import Tensor

from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.writer import Writer
from mirage_pl.mirage.module import Guided


class FrozenReader(Guided):
    """Train a writer by the answers of a frozen reader: after stage 1, true latents are read well, and own ones aren't.

    ``latent`` and ``contrast`` compare what the writer makes of hidden states, and may have no weight.

    Args:
        options: for :class:`mirage_pl.mirage.module.Guided`.

    Raises:
        ValueError: there is no writer, or nothing that it would learn from.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(self.net.feedback, Writer):
            raise ValueError(
                f"stage=writer trains what feedback=writer adds, and {type(self.net.feedback).__name__} adds nothing; "
                "set feedback=writer, or take stage=guided"
            )
        if not (self.through or self.teaches):
            raise ValueError(
                "stage.module.through=false lets the writer learn nothing from the answer; set it to true, or give "
                "stage.module.loss_weights.latent or contrast a weight"
            )

    @property
    def teaches(self) -> bool:
        """Whether helper images teach latents."""
        return not self.loss_weights.keys().isdisjoint(("latent", "contrast"))

    def on_fit_start(self) -> None:
        """Begin as all stages do.

        Raises:
            ValueError: the reader would learn.
        """
        learning = [name for name, weight in self.net.backbone.named_parameters() if weight.requires_grad]
        if learning:
            raise ValueError(
                f"stage=writer holds its reader as it is, and would train {len(learning)} of its weights, such as "
                f"net.backbone.{learning[0]}; set stage.freeze=[net.backbone] and lora=null"
            )
        super().on_fit_start()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """``text``: cross-entropy of the answer, given recycled latents; those of latents that have a weight."""
        if self.teaches:
            return super().losses(batch)
        hidden_BTD, states_ND = self.net.written(batch, self.through)
        return {"text": self.text_loss(hidden_BTD, batch), **self.evidence_loss(states_ND, batch)}
