"""The columns of answers that are being decoded: padding and positions of every row.

Shapes: B rows, T columns so far, S new columns, D width.
"""

import torch
from torch import Tensor

from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.columns import Columns, Embeds
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.stock.places import Places


class AnswerColumns:
    """Columns of a batch of answers; a row that writes nothing in a column has padding there.

    Args:
        net: the model.
        prompts: the questions.
    """

    def __init__(self, net: LatentVLM, prompts: Batch) -> None:
        self.columns: Columns = net.columns(prompts, net.embed(prompts))
        self.position_B = prompts.positions_3BT.amax((0, 2)) + 1
        self.order_B = prompts.real_BT.sum(1)

    def prefill(self) -> Tensor:
        """Run the prompts; return hidden states ``[B, D]`` of their last columns."""
        hidden_BD = self._advance(self.columns.embeds.inputs_BTD)[:, -1].clone()
        self.columns.embeds = Embeds(hidden_BD.new_empty(0))  # has their dtype and device, not their memory
        return hidden_BD

    def append(self, embeds_BSD: Tensor, written_BS: Tensor) -> Tensor:
        """Run and keep S new columns; return their hidden states ``[B, S, D]``."""
        self.columns.extend(self._places(written_BS))
        self.position_B, self.order_B = self.position_B + written_BS.sum(1), self.order_B + written_BS.sum(1)
        return self._advance(embeds_BSD)

    def tentative(self, written_BS: Tensor) -> "Tentative":
        """The next columns, which a recurrence may run without keeping them."""
        return Tentative(self, self._places(written_BS))

    def _advance(self, embeds_BSD: Tensor) -> Tensor:
        """Run and keep columns, but not their hidden states: an answer reads them once."""
        hidden_BSD = self.columns.advance(embeds_BSD)
        self.columns.hidden.clear()
        return hidden_BSD

    def _places(self, written_BS: Tensor) -> Places:
        """Where the next columns stand."""
        before_BS = written_BS.cumsum(1) - written_BS.long()
        positions_BS = self.position_B.unsqueeze(1) + before_BS
        order_BS = self.order_B.unsqueeze(1) + before_BS
        return Places(written_BS, order_BS, positions_BS.expand(3, -1, -1), torch.full_like(order_BS, -1))


class Tentative:
    """The next columns of an answer, run to find latents and then taken back."""

    def __init__(self, answer: AnswerColumns, places: Places) -> None:
        self.answer, self.places = answer, places

    def advance(self, embeds_BSD: Tensor) -> Tensor:
        """Refuse: nothing is kept."""
        raise NotImplementedError

    def peek(self, embeds_BSD: Tensor) -> Tensor:
        """Run the columns and return their hidden states ``[B, S, D]``."""
        columns, before = self.answer.columns, self.answer.columns.places
        columns.extend(self.places)
        hidden_BSD = columns.peek(embeds_BSD)
        columns.places = before
        return hidden_BSD
