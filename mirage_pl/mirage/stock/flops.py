"""Floating-point operations of one training step, computed from the architecture's numbers (for MFU).

Counted is what the model needs, not what the hardware does: no padding, no recomputation by activation checkpointing,
and half of a causal attention matrix. A multiplication with its addition counts as two operations, a backward pass as
two forward passes. Norms, activations, rotations and biases are left out: they aren't matrix products.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Grid = tuple[int, int, int]
"""Frames, patch rows and patch columns of one image, before patches are merged."""


def step_flops(
    text_config: Any,
    tower_forward: Callable[[Sequence[Grid]], int],
    lengths: Sequence[int],
    supervised: int,
    patch_grids: Sequence[Grid],
    tower_trained: bool = False,
) -> int:
    """Operations of forward and backward over one batch.

    Args:
        text_config: of the language model.
        tower_forward: operations of one forward pass of the tower over images of these patch grids.
        lengths: real columns of each row, image and latent tokens included.
        supervised: positions that reach the vocabulary.
        patch_grids: of every image the tower sees, helper images included.
        tower_trained: whether the tower has a backward pass, too.
    """
    tower = tower_forward(patch_grids)
    return decoder_flops(text_config, lengths, supervised) + tower * (3 if tower_trained else 1)


def decoder_flops(text_config: Any, lengths: Sequence[int], supervised: int) -> int:
    """Operations of forward and backward of the language model and its head; each row attends causally to itself."""
    width, layers = text_config.hidden_size, text_config.num_hidden_layers
    matrices = 6 * decoder_parameters(text_config) * sum(lengths)
    attention = 12 * layers * heads_width(text_config) * sum(length**2 for length in lengths) // 2
    return matrices + attention + 6 * width * text_config.vocab_size * supervised


def decoder_parameters(text_config: Any) -> int:
    """Number of weights in the matrices of all decoder layers, without embedding and head."""
    width = text_config.hidden_size
    query_width = heads_width(text_config)
    key_width = query_width // text_config.num_attention_heads * text_config.num_key_value_heads
    one_layer = 2 * width * (query_width + key_width) + 3 * width * text_config.intermediate_size
    return one_layer * text_config.num_hidden_layers


def heads_width(text_config: Any) -> int:
    """Width of all query heads together."""
    head_width = getattr(text_config, "head_dim", None) or text_config.hidden_size // text_config.num_attention_heads
    return int(head_width * text_config.num_attention_heads)


def tower_forward_flops(vision_config: Any, patch_grids: Sequence[Grid]) -> int:
    """Operations of one forward pass of the vision tower: patch embedding, blocks, merger."""
    blocks, width = range(vision_config.depth), vision_config.hidden_size
    full = sum(block in vision_config.fullatt_block_indexes for block in blocks)
    merge = vision_config.spatial_merge_size
    side = vision_config.window_size // vision_config.patch_size // merge * merge
    flops = 0
    for frames, rows, columns in patch_grids:
        whole = (rows * columns) ** 2
        windowed = squares(rows, side) * squares(columns, side)
        pairs = frames * (full * whole + (len(blocks) - full) * windowed)
        flops += 2 * tower_weights_per_patch(vision_config) * frames * rows * columns + 4 * width * pairs
    return flops


def tower_weights_per_patch(vision_config: Any) -> int:
    """Weights that a patch is multiplied with; the merger's serve ``spatial_merge_size**2`` patches at once."""
    width, merged = vision_config.hidden_size, vision_config.spatial_merge_size**2
    embedding = width * vision_config.in_channels * vision_config.temporal_patch_size * vision_config.patch_size**2
    block = 4 * width**2 + 3 * width * vision_config.intermediate_size
    merger = merged * width**2 + width * vision_config.out_hidden_size
    return embedding + block * vision_config.depth + merger


class ViT(NamedTuple):
    """A vision transformer: its width, that of its MLPs, its layers, and the numbers of a patch."""

    width: int
    inner: int
    layers: int
    pixels: int


def vit_flops(vit: ViT, patches: int, classes: int = 0) -> int:
    """Operations on patches that all attend to each other, and to further columns that stand for none."""
    columns, block = patches + classes, 4 * vit.width**2 + 2 * vit.width * vit.inner
    products = vit.width * vit.pixels * patches + block * vit.layers * columns
    return 2 * products + 4 * vit.width * vit.layers * columns**2


def squares(length: int, side: int) -> int:
    """Sum of squared lengths of the pieces that ``length`` patches are cut into, each of at most ``side``."""
    return length // side * side**2 + (length % side) ** 2
