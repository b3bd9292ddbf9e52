"""What learns: the transformer, and what turns numbers into its tokens and back. Shapes: ``backbone``, ``bins``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mirage_pl.mmact.model.backbone import Ask, Backbone, Kept, Sizes
from mirage_pl.mmact.model.bins import Bins, Normalizer
from mirage_pl.mmact.model.coder import Coder
from mirage_pl.mmact.model.ordinal import OrdinalBackbone
from mirage_pl.mmact.model.places import Places
from mirage_pl.mmact.model.released import load_released
from mirage_pl.mmact.model.vocabulary import Vocab


class Scales(nn.Module):
    """The normalizers of states and of actions, fitted to the training data once.

    Args:
        numbers: how many a ``state`` and an ``action`` have.
        state: options of :class:`Normalizer` for states.
        action: for actions.
    """

    def __init__(self, numbers: Mapping[str, int], state: Mapping[str, Any], action: Mapping[str, Any]) -> None:
        super().__init__()
        self.state = Normalizer(numbers["state"], **state, key="scales.state")
        self.action = Normalizer(numbers["action"], **action, key="scales.action")

    @property
    def fitted(self) -> bool:
        """Whether both are."""
        return bool(self.state.fitted) and bool(self.action.fitted)

    def fit(self, states_NS: Tensor, actions_NA: Tensor) -> None:
        """Fit those that aren't."""
        for scale, values in ((self.state, states_NS), (self.action, actions_NA)):
            if not scale.fitted:
                scale.fit(values)


class Network(nn.Module):
    """The transformer with its vocabulary and its scales.

    Args:
        vocab: where ids are.
        sizes: of the transformer.
        bins: ``plain``: each is a class of its own; ``ordinal``: its number's features are in its vectors, too.
        scales: of states and actions.
        checkpointing: keep each block's input alone, and compute the rest again for the gradient.
        path: folder of a released checkpoint; ``None``: random weights.
        coder: of pictures, which doesn't learn here; ``None``: no picture is read.
        places: behind each control token that have a learnt vector; ``None``, as released: places are angles alone.

    Raises:
        ValueError: the coder's codes aren't as many as the vocabulary's.
    """

    def __init__(
        self,
        vocab: Vocab,
        sizes: Sizes,
        bins: Literal["plain", "ordinal"],
        scales: Scales,
        checkpointing: bool,
        path: str | None,
        coder: Coder | None = None,
        places: int | None = None,
    ) -> None:
        super().__init__()
        if coder is not None and coder.sizes.codes != vocab.images.size:
            raise ValueError(
                f"model.coder has {coder.sizes.codes} codes, and the vocabulary {vocab.images.size}; set "
                "model.vocabulary.codes"
            )
        self.coder = None if coder is None else coder.requires_grad_(False)
        if bins not in ("plain", "ordinal"):
            raise ValueError(f"bins={bins} is unknown; choose plain or ordinal")
        self.vocab, self.bins, self.scales = vocab, Bins(vocab.bins.size), scales
        with torch.device("meta" if path and bins == "plain" else "cpu"):  # what is loaded isn't drawn first
            self.backbone: Backbone = (
                OrdinalBackbone(sizes, vocab, checkpointing)
                if bins == "ordinal"
                else Backbone(sizes, vocab.size, checkpointing)
            )
        self.backbone.places = None if places is None else Places(vocab, places, sizes.width)
        if path:
            load_released(self.backbone, Path(path), vocab)

    def forward(
        self,
        ids_BL: Tensor,
        keys_BL: Tensor | None,
        asks: Sequence[Ask],
        added: bool = False,
        kept: Kept | None = None,
    ) -> list[Tensor]:
        """Logits for each ask, see :meth:`Backbone.forward`."""
        logits: list[Tensor] = self.backbone(ids_BL, keys_BL, asks, added, kept)
        return logits

    def code_state(self, states: Tensor) -> Tensor:
        """Ids of the numbers of states, of any shape."""
        return self.bins.encode(self.scales.state(states)) + self.vocab.bins.first

    def code_actions(self, actions: Tensor) -> Tensor:
        """Bins of the numbers of actions, counted from 0."""
        return self.bins.encode(self.scales.action(actions))

    def read_actions(self, bins: Tensor) -> Tensor:
        """Actions of bins, in the data's own units; a bin may be a mean of several."""
        return self.scales.action.invert(self.bins.decode(bins))
