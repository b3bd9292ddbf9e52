"""The stage of words: what comes next, said behind a prompt, part of it hidden. Shapes: as in ``batch``."""

from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor

from mirage_pl.engine.training.draws import row_stream
from mirage_pl.mmact.batch import Batch
from mirage_pl.mmact.losses import SlotLoss, average_words
from mirage_pl.mmact.model.decoding import HIDDEN, Decoder
from mirage_pl.mmact.model.masking import draw_words
from mirage_pl.mmact.model.vocabulary import Span
from mirage_pl.mmact.stages.filling import FillingModule


class Write(FillingModule):
    """Learn to fill in hidden words of a plan.

    Args:
        least_hidden: each word is hidden by a chance between this and 1, drawn anew for a row and step; 1: all are,
            always. In validation all are.
        learn_ends: what fills the room behind the end is learnt, too.
        base: of :class:`FillingModule`.
    """

    def __init__(self, least_hidden: Annotated[float, Interval(gt=0, le=1)], learn_ends: bool, **base: Any) -> None:
        super().__init__(**base)
        self.least_hidden, self.learn_ends = least_hidden, learn_ends

    def list_spans(self) -> list[Span]:
        """Words."""
        return [self.net.vocab.words]

    def terms(self, batch: Batch) -> dict[str, int]:
        """Rows."""
        return {"text": len(batch)}

    def hide_words(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is hidden, bool [B, W], and by which chance, [B]: each row by its own draws of this step."""
        shape, device = batch.words_BW.shape, batch.words_BW.device
        if not self.training:
            return torch.ones(shape, dtype=torch.bool, device=device), torch.ones(shape[0], device=device)
        names = [f"{Path(sample.where).name} words" for sample in batch.samples]
        drawn = [draw_words(shape[1], self.least_hidden, row_stream(self.seed, name, self.step)) for name in names]
        hidden_BW = torch.stack([hidden_W for hidden_W, _ in drawn]).to(device)
        return hidden_BW, torch.tensor([chance for _, chance in drawn], device=device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """LLaDA's loss of hidden words; the room behind the end is hidden, too, and learnt if asked for.

        Raises:
            ValueError: a row says nothing; names it.
        """
        if batch.text is None or not (says_B := batch.said_BW.any(1)).all():
            silent = batch.samples[0 if batch.text is None else int((~says_B).nonzero()[0])]
            raise ValueError(
                f"{silent.where}: no plan, so there are no words to learn; give plans, or stage=mmact/action"
            )
        prompts, batch = batch.text, self.see(batch)
        hidden_BW, chance_B = self.hide_words(batch)
        asked_BW = hidden_BW if self.learn_ends else hidden_BW & batch.said_BW
        span = self.net.vocab.words
        ids_BL = self.fill(batch, prompts, torch.where(hidden_BW, HIDDEN, batch.words_BW), span)
        logits_nV = self.read(prompts, ids_BL, asked_BW, span)
        each_n, rows_n = SlotLoss("single")(logits_nV, batch.words_BW[asked_BW]), asked_BW.nonzero()[:, 0]
        room_B = torch.full_like(chance_B, batch.words_BW.shape[1])
        return {"text": average_words(each_n, rows_n, chance_B, room_B)}

    @torch.no_grad()
    def write_plans(self, batch: Batch, decode: Decoder) -> list[list[int]]:
        """Ids of what comes next, ends included.

        Raises:
            ValueError: this model was not trained to say anything.
        """
        if batch.text is None:
            raise ValueError("text_slots is null, so this run has no room for words; train it with text_slots=16")
        plans: list[list[int]] = self.fill_in(batch, batch.text, self.net.vocab.words, decode).ids_BN.tolist()
        return plans
