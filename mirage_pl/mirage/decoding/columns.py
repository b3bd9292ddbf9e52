"""The columns of answers that are being decoded: padding and positions of every row.

Shapes: B rows, R of them that are run, T columns so far, S new columns, D width.
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

    Attributes:
        most_bytes: the largest state of all layers so far.
    """

    def __init__(self, net: LatentVLM, prompts: Batch) -> None:
        self.columns: Columns = net.columns(prompts, net.embed(prompts))
        self.position_R = prompts.positions_3BT.amax((0, 2)) + 1
        self.order_R = prompts.real_BT.sum(1)
        self.num_rows, self.most_bytes = len(prompts), 0
        self.run_R = torch.arange(len(prompts), device=prompts.tokens_BT.device)

    def prefill(self) -> Tensor:
        """Run the prompts, unless they are shared and have been run; return hidden states ``[B, D]`` of their last
        columns.
        """
        asked = self.columns.hidden or [self._advance(self.columns.embeds.inputs_BTD)]
        hidden_BD = asked[-1][:, -1].clone()
        self._forget()
        self.columns.embeds = Embeds(hidden_BD.new_empty(0))  # has their dtype and device, not their memory
        return hidden_BD

    def leave(self, alive_B: Tensor) -> None:
        """Run rows no further that write nothing any more, once they are half of those that are run: copies cost."""
        alive_R = alive_B[self.run_R]
        if 2 * int(alive_R.sum()) > len(alive_R):
            return
        rows_r = alive_R.nonzero().flatten()
        self.columns.take(rows_r)
        self.run_R, self.position_R, self.order_R = self.run_R[rows_r], self.position_R[rows_r], self.order_R[rows_r]

    def append(self, embeds_BSD: Tensor, written_BS: Tensor) -> Tensor:
        """Run and keep S new columns; return their hidden states ``[B, S, D]``, zeros of rows that have left."""
        places, written_R = self._places(written_BS), written_BS[self.run_R].sum(1)
        self.columns.extend(places)
        self.position_R, self.order_R = self.position_R + written_R, self.order_R + written_R
        return self.spread(self._advance(embeds_BSD[self.run_R]))

    def tentative(self, written_BS: Tensor) -> "Tentative":
        """The next columns, which a recurrence may run without keeping them."""
        return Tentative(self, self._places(written_BS))

    def spread(self, hidden_RSD: Tensor) -> Tensor:
        """Hidden states of all rows, ``[B, S, D]``."""
        if len(hidden_RSD) == self.num_rows:
            return hidden_RSD
        return hidden_RSD.new_zeros(self.num_rows, *hidden_RSD.shape[1:]).index_copy(0, self.run_R, hidden_RSD)

    def _advance(self, embeds_RSD: Tensor) -> Tensor:
        """Run and keep columns, but not their hidden states: an answer reads them once."""
        hidden_RSD = self.columns.advance(embeds_RSD)
        self._forget()
        return hidden_RSD

    def _forget(self) -> None:
        """Keep the states of the columns so far, and no hidden states."""
        self.columns.hidden.clear()
        self.most_bytes = max(self.most_bytes, self.columns.state_bytes)

    def _places(self, written_BS: Tensor) -> Places:
        """Where the next columns of the rows that are run stand."""
        written_RS = written_BS[self.run_R]
        before_RS = written_RS.cumsum(1) - written_RS.long()
        positions_RS = self.position_R.unsqueeze(1) + before_RS
        order_RS = self.order_R.unsqueeze(1) + before_RS
        none_RS, sees_RS = torch.full_like(order_RS, -1), torch.zeros_like(written_RS)
        return Places(written_RS, order_RS, positions_RS.expand(3, -1, -1), none_RS, sees_RS)


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
        hidden_RSD = columns.peek(embeds_BSD[self.answer.run_R])
        columns.places = before
        return self.answer.spread(hidden_RSD)
