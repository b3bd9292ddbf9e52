"""The columns of a batch, run from left to right: the decoder's layers, on one range of columns after another.

Shapes: B rows, T columns so far, S columns of one call, D width, M image features.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Dropout
from torch.nn.functional import embedding
from torch.utils.checkpoint import checkpoint

from mirage_pl.mirage.batch import Shared
from mirage_pl.mirage.stock.architecture import Architecture, Rotary
from mirage_pl.mirage.stock.cache import State
from mirage_pl.mirage.stock.places import Places


class Embeds(NamedTuple):
    """Inputs of a batch.

    Attributes:
        inputs_BTD: embeddings, with image features in place; latent slots are still placeholders.
        deep: further features of its images, added after the first layers: a table ``[1 + M, D]`` for each, whose first
            row is zeros.
        row_BT: each column's row in these tables.
        images_end: the column after the last one that shows an image.
    """

    inputs_BTD: Tensor
    deep: tuple[Tensor, ...] = ()
    row_BT: Tensor | None = None
    images_end: int = 0

    def take(self, rows_b: Tensor) -> "Embeds":
        """Those of some rows."""
        row_bT = None if self.row_BT is None else self.row_BT[rows_b]
        return self._replace(inputs_BTD=self.inputs_BTD[rows_b], row_BT=row_bT)


class Columns:
    """A pass over columns; every call attends to the columns run before.

    Args:
        architecture: how its layers are run.
        places: where the batch's columns stand.
        embeds: of the batch.
        checkpointing: keep only each layer's input and state, and recompute the rest in the backward pass.

    Attributes:
        start: the first column that hasn't been run.
        hidden: hidden states ``[B, S, D]`` of the calls so far.
    """

    def __init__(self, architecture: Architecture, places: Places, embeds: Embeds, checkpointing: bool = False) -> None:
        self.architecture, self.places, self.embeds, self.checkpointing = architecture, places, embeds, checkpointing
        self.rotary, self.rotary_start = architecture.rotary(embeds.inputs_BTD, places.positions_3BT), 0
        self.states: list[State] = [() for _ in architecture.decoder.layers]
        self.start, self.hidden = 0, list[Tensor]()

    def extend(self, places: Places) -> None:
        """Put new columns after those so far, all of which have been run."""
        self.places, self.rotary_start = self.places.join(places), self.start
        self.rotary = self.architecture.rotary(self.embeds.inputs_BTD, places.positions_3BT)

    def share(self, shared: Shared) -> None:
        """Run the questions that rows share, once each."""
        embeds, places = self.embeds.take(shared.first_Q), self.places.take(shared.first_Q).cut(0, shared.stop)
        questions = Columns(self.architecture, places, embeds, self.checkpointing)
        hidden_QSD = questions.advance(embeds.inputs_BTD[:, : shared.stop])
        self.states, self.start = take_states(questions.states, shared.question_B), shared.stop
        self.hidden = [hidden_QSD[shared.question_B]]

    def take(self, rows_b: Tensor) -> None:
        """Let the other rows leave, once all columns so far have been run."""
        self.places, self.states = self.places.take(rows_b), take_states(self.states, rows_b)

    @property
    def state_bytes(self) -> int:
        """What the state of all columns so far takes."""
        return sum(each.nbytes for state in self.states for piece in state for each in piece)

    def advance(self, embeds_BSD: Tensor) -> Tensor:
        """Run and keep the next S columns; return their hidden states ``[B, S, D]``."""
        hidden_BSD, self.states = self._run(embeds_BSD)
        self.start += embeds_BSD.shape[1]
        self.hidden.append(hidden_BSD)
        return hidden_BSD

    def peek(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns without keeping them."""
        return self._run(embeds_BSD)[0]

    def finish(self, embeds_BTD: Tensor) -> Tensor:
        """Run those columns of a batch that haven't been run; return hidden states ``[B, T, D]`` of all."""
        return torch.cat([*self.hidden, self.peek(embeds_BTD[:, self.start :])], dim=1)

    def _run(self, embeds_BSD: Tensor) -> tuple[Tensor, list[State]]:
        architecture, stop = self.architecture, self.start + embeds_BSD.shape[1]
        first, last = self.start - self.rotary_start, stop - self.rotary_start
        rotary = {kind: (cos[:, first:last], sin[:, first:last]) for kind, (cos, sin) in self.rotary.items()}
        masks = architecture.masks(self.places.cut(0, stop), self.start, embeds_BSD.dtype)
        hidden_BSD, states = embeds_BSD, list[State]()
        for number, (layer, kind) in enumerate(zip(architecture.decoder.layers, architecture.kinds, strict=True)):
            inputs = (layer, hidden_BSD, rotary[kind], masks[kind])
            hidden_BSD, state = self._run_layer(number, inputs)
            if number < len(self.embeds.deep) and self.start < self.embeds.images_end:
                hidden_BSD = hidden_BSD + self._deep(number, stop)
            states.append(state)
        return architecture.decoder.norm(hidden_BSD), states

    def _run_layer(self, number: int, inputs: tuple[Any, Tensor, Rotary, Any]) -> tuple[Tensor, State]:
        """Run one layer; return its hidden states and its state."""
        cache = self.architecture.open_cache(number, self.states[number])

        def run(layer: Any, hidden_BSD: Tensor, rotary: Rotary, mask: Any, *earlier: Any) -> tuple[Tensor, ...]:
            used = self.architecture.open_cache(number, earlier)
            hidden_BSD = layer(
                hidden_BSD, attention_mask=mask, position_embeddings=rotary, past_key_values=used, use_cache=True
            )
            return hidden_BSD, *used.new

        call: Callable[..., tuple[Tensor, ...]] = run
        if self.checkpointing and torch.is_grad_enabled():
            dropped = any(isinstance(each, Dropout) and each.p > 0 for each in inputs[0].modules())  # an adapter's
            random = dropped or getattr(self.architecture.text_config, "attention_dropout", 0) > 0
            outputs = checkpoint(call, *inputs, *self.states[number], use_reentrant=False, preserve_rng_state=random)
        else:
            outputs = call(*inputs, *self.states[number])
        hidden_BSD, *new = outputs
        cache.new = tuple(new)
        return hidden_BSD, cache.keep()

    def _deep(self, number: int, stop: int) -> Tensor:
        """What a layer's hidden states of these columns have added, ``[B, S, D]``: zeros where no image is."""
        assert self.embeds.row_BT is not None
        return embedding(self.embeds.row_BT[:, self.start : stop], self.embeds.deep[number])


def take_states(states: Sequence[State], rows_b: Tensor) -> list[State]:
    """States of all layers, of some rows; a row may be taken several times."""
    return [tuple(tuple(each[rows_b] for each in piece) for piece in state) for state in states]
