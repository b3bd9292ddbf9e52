"""What the engine asks of an architecture, with answers that fit most of stock transformers.

Shapes: B rows, T columns so far, S columns of one call, D width, P patches, F numbers of a patch, n merged features of
one image, d head width.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.mirage.stock import flops
from mirage_pl.mirage.stock.cache import KeysValues, LayerCache, State
from mirage_pl.mirage.stock.places import Places, visible

Grid = tuple[int, int, int]
"""Frames or tiles, and the patch rows and columns of each, before patches are merged."""

Rotary = tuple[Tensor, Tensor]
"""Cosines and sines ``[B, S, d]`` of rotary positions."""


LINEAR = "linear_attention"
"""The kind of a layer that keeps a state of all columns before in place of their keys and values."""


class Architecture:
    """Run the parts of one stock model.

    The decoder's layers are called one by one, on any range of columns, so that a hidden state can become an input.

    Args:
        model: a ``…ForConditionalGeneration``.

    Attributes:
        merge: an image's features are its patches, merged in squares of this side.
        deep: further features of each image feature, which are added to hidden states after the first layers.
        whole_images: an image's columns attend to the whole image.
        word_scale: what the embedding multiplies its weights with.
    """

    merge: int = 1
    deep: int = 0
    whole_images: bool = False
    word_scale: float = 1.0

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def decoder(self) -> Any:
        """The language model: ``layers``, ``norm`` and ``rotary_emb``."""
        return self.model.model.language_model

    @property
    def tower(self) -> list[nn.Module]:
        """The modules that make features of pixels, in their order."""
        return [self.model.model.vision_tower, self.model.model.multi_modal_projector]

    @property
    def tower_blocks(self) -> list[nn.Module]:
        """The tower's layers: what strategies shard one by one."""
        return list(self.model.model.vision_tower.encoder.layers)

    @property
    def merger(self) -> list[nn.Module]:
        """The modules of the tower that make inputs of the language model of what its layers give."""
        return [self.tower[-1]]

    @property
    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """``vision`` without its ``merger``, and ``language``: embedding, decoder and head."""
        return {"vision": self.tower, "merger": self.merger, "language": [self.decoder, self.head]}

    @property
    def head(self) -> nn.Module:
        """Hidden states -> logits over the vocabulary."""
        head: nn.Module = self.model.lm_head
        return head

    @property
    def text_config(self) -> Any:
        """Config of the language model."""
        return self.model.config.get_text_config()

    @property
    def image_id(self) -> int:
        """Id of the token that stands for an image feature."""
        return int(self.model.config.image_token_id)

    @cached_property
    def kinds(self) -> Sequence[str]:
        """The kind of attention of each layer."""
        layers = len(self.decoder.layers)
        return list(getattr(self.text_config, "layer_types", None) or ["full_attention"] * layers)[:layers]

    @property
    def attending(self) -> list[int]:
        """Numbers of the layers that attend; the others keep a state."""
        return [number for number, kind in enumerate(self.kinds) if kind != LINEAR]

    def check_masks(self, name: str) -> None:
        """Check that a mask other than causal order and padding reaches every layer.

        Args:
            name: what hides columns from later ones, for the error.

        Raises:
            ValueError: a layer keeps a state of all columns before, from which none can be hidden.
        """
        if states := len(self.kinds) - len(self.attending):
            raise ValueError(
                f"{name} hides columns from later ones, but {states} of the {len(self.kinds)} layers of "
                f"{type(self.model).__name__} keep a state of all of them; choose a model whose layers all attend"
            )

    def streamline(self) -> None:
        """Replace stock modules by faster ones with the same weights, in place."""

    def rotary(self, embeds: Tensor, positions_3BS: Tensor) -> dict[str, Rotary]:
        """Cosines and sines for each kind of layer.

        Args:
            embeds: for dtype and device.
            positions_3BS: rotary positions.
        """
        rotary = self.decoder.rotary_emb(embeds, positions_3BS[0])
        return dict.fromkeys(self.kinds, rotary)

    def masks(self, places: Places, start: int, dtype: torch.dtype) -> dict[str, Any]:
        """What the columns from ``start`` attend to, for each kind of layer; as that kind takes it."""
        windows = {"full_attention": None, "sliding_attention": getattr(self.text_config, "sliding_window", None)}
        masks = {kind: visible(places, start, windows[kind], self.whole_images) for kind in set(self.kinds)}
        return {kind: self.as_taken(mask_BST.unsqueeze(1), dtype) for kind, mask_BST in masks.items()}

    def as_taken(self, mask_B1ST: Tensor, dtype: torch.dtype) -> Tensor:
        """The mask as attention takes it: eager attention adds it to its scores."""
        if self.decoder.config._attn_implementation != "eager":
            return mask_B1ST
        return torch.zeros_like(mask_B1ST, dtype=dtype).masked_fill(~mask_B1ST, torch.finfo(dtype).min)

    def open_cache(self, layer: int, earlier: State) -> LayerCache:
        """What a layer reads and writes in place of a cache, given what earlier columns left in it."""
        return KeysValues(earlier)

    def state_bytes(self, size: int) -> int:
        """Bytes that a column adds to the state of all layers, whose numbers take ``size`` bytes."""
        config = self.text_config
        width = flops.heads_width(config) // config.num_attention_heads * config.num_key_value_heads
        return 2 * width * len(self.attending) * size

    def image_features(self, pixels_PF: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Features ``[n, D (1 + deep)]`` of every image, in raster order, the deep ones behind the merged ones."""
        raise NotImplementedError

    def blank(self) -> tuple[Grid, Tensor]:
        """The grid and the pixels ``[P, F]`` of the smallest image, all zeros."""
        raise NotImplementedError

    def stock_hidden(self, embeds_1TD: Tensor, tokens_1T: Tensor, grids: Sequence[Grid], deep: list[Tensor]) -> Tensor:
        """Hidden states ``[1, T, D]`` of a whole row by the stock language model's own forward pass.

        Args:
            embeds_1TD: all inputs, images included.
            tokens_1T: its tokens.
            grids: of its images.
            deep: further features of its image columns, one ``[n, D]`` for each of the first layers.
        """
        hidden_1TD: Tensor = self.decoder(inputs_embeds=embeds_1TD, use_cache=False).last_hidden_state
        return hidden_1TD

    def decoder_flops(self, lengths: Sequence[int], supervised: int) -> int:
        """Operations of forward and backward of the language model and its head.

        Args:
            lengths: real columns of each row.
            supervised: positions that reach the vocabulary.
        """
        return flops.decoder_flops(self.text_config, lengths, supervised)

    def tower_flops(self, grids: Sequence[Grid]) -> int:
        """Operations of one forward pass of the tower."""
        raise NotImplementedError
