"""The columns of answers that are being decoded: keys and values, padding and positions of every row.

Shapes: B rows, T columns so far, S new columns, D width.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.latents import LatentVLM, visible


class AnswerColumns:
    """Columns of a batch of answers; a row that writes nothing in a column has padding there.

    Args:
        net: the model.
        prompts: the questions.
    """

    def __init__(self, net: LatentVLM, prompts: Batch) -> None:
        self.net, self.decoder, self.cache = net, net.decoder, DynamicCache()
        self.real_BT = prompts.real_BT
        self.position_B = prompts.positions_3BT.amax((0, 2)) + 1

    def prefill(self, prompts: Batch) -> Tensor:
        """Run the prompts; return hidden states ``[B, D]`` of their last columns."""
        return self._run(self.net.embed(prompts), prompts.positions_3BT, visible(prompts.real_BT))[:, -1]

    def append(self, embeds_BSD: Tensor, written_BS: Tensor) -> Tensor:
        """Run and keep S new columns; return their hidden states ``[B, S, D]``."""
        hidden_BSD = self.look(embeds_BSD, written_BS)
        self.real_BT = torch.cat([self.real_BT, written_BS], dim=1)
        self.position_B = self.position_B + written_BS.sum(1)
        return hidden_BSD

    def tentative(self, written_BS: Tensor) -> Any:
        """Return the next columns, which a recurrence may run without keeping them."""
        return Tentative(self, written_BS)

    def look(self, embeds_BSD: Tensor, written_BS: Tensor) -> Tensor:
        """Run S columns after those so far, without counting them as written; keys and values go into the cache."""
        positions_BS = self.position_B.unsqueeze(1) + written_BS.cumsum(1) - written_BS.long()
        before_BST = self.real_BT.unsqueeze(1).expand(-1, written_BS.shape[1], -1)
        mask_BST = torch.cat([before_BST, visible(written_BS)], dim=2)
        return self._run(embeds_BSD, positions_BS.expand(3, -1, -1), mask_BST)

    def _run(self, embeds_BSD: Tensor, positions_3BS: Tensor, mask_BST: Tensor) -> Tensor:
        hidden_BSD: Tensor = self.decoder(
            inputs_embeds=embeds_BSD,
            position_ids=positions_3BS,
            attention_mask={"full_attention": mask_BST.unsqueeze(1)},
            past_key_values=self.cache,
            use_cache=True,
        ).last_hidden_state
        return hidden_BSD


class Tentative:
    """The next columns of an answer, run to find latents and then taken back."""

    def __init__(self, columns: AnswerColumns, written_BS: Tensor) -> None:
        self.columns, self.written_BS = columns, written_BS

    def peek(self, embeds_BSD: Tensor) -> Tensor:
        """Run the columns, return their hidden states ``[B, S, D]``, and take them out of the cache."""
        hidden_BSD = self.columns.look(embeds_BSD, self.written_BS)
        self.columns.cache.crop(-embeds_BSD.shape[1])
        return hidden_BSD
