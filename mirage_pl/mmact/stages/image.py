"""Images of the future: codes of what is seen after a chunk, part of them hidden. Shapes: as in ``batch``, n codes."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mirage_pl.engine.training.draws import row_stream
from mirage_pl.mmact.batch import Batch
from mirage_pl.mmact.losses import SlotLoss, average
from mirage_pl.mmact.model.decoding import HIDDEN, Decoder
from mirage_pl.mmact.model.masking import Masking
from mirage_pl.mmact.model.vocabulary import Span
from mirage_pl.mmact.stages.filling import FillingModule


class Paint(FillingModule):
    """Learn to fill in hidden codes of the first camera's picture after a step's chunk.

    Args:
        painting: which of them are hidden in training; in validation all are. What is hidden is learnt.
        base: of :class:`FillingModule`.
    """

    def __init__(self, painting: Masking, **base: Any) -> None:
        super().__init__(**base)
        self.painting = painting

    def list_spans(self) -> list[Span]:
        """Codes."""
        return [self.net.vocab.images]

    def terms(self, batch: Batch) -> dict[str, int]:
        """Codes that are hidden."""
        return {"image": int(self.hide_codes(batch).sum())}

    def hide_codes(self, batch: Batch) -> Tensor:
        """What is hidden, bool [B, n]: each row by its own draws of this step."""
        places = self.coder.sizes.places
        if not self.training:
            return torch.ones((len(batch), places), dtype=torch.bool, device=self.device)
        names = [f"{Path(sample.where).name} image" for sample in batch.samples]
        drawn = [self.painting.draw(places, row_stream(self.seed, name, self.step)) for name in names]
        return torch.stack(drawn).to(self.device)

    def foresee(self, batch: Batch) -> Tensor:
        """Codes of what is seen after each row's chunk, [B, n]."""
        return torch.stack([self.codes.foresee(sample, self.coder) for sample in batch.samples]).to(self.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of hidden codes; how many the likeliest hits is logged."""
        if batch.image is None:
            raise ValueError("no image is asked for; set mix.image to its weight")
        prompts, batch = batch.image, self.see(batch)
        hidden_Bn, targets_Bn, span = self.hide_codes(batch), self.foresee(batch), self.net.vocab.images
        ids_BL = self.fill(batch, prompts, torch.where(hidden_Bn, HIDDEN, targets_Bn), span)
        logits_NV, targets_N = self.read(prompts, ids_BL, hidden_Bn, span), targets_Bn[hidden_Bn]
        self.observe({"hit": (logits_NV.argmax(-1) == targets_N).float().mean().detach()})
        return {"image": average(SlotLoss("single")(logits_NV, targets_N))}

    @torch.no_grad()
    def paint(self, batch: Batch, decode: Decoder) -> Tensor:
        """Codes of what is seen after each row's chunk, as the model has it, [B, n].

        Raises:
            ValueError: this model was not trained to paint.
        """
        if batch.image is None:
            raise ValueError("mix.image is null, so this run paints nothing; train it with mix.image=0.05 sight=images")
        return self.fill_in(batch, batch.image, self.net.vocab.images, decode).ids_BN
