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
    decoder: Callable[[Sequence[int], int], int],
    tower_forward: Callable[[Sequence[Grid]], int],
    lengths: Sequence[int],
    supervised: int,
    patch_grids: Sequence[Grid],
    tower_trained: bool = False,
) -> int:
    """Operations of forward and backward over one batch.

    Args:
        decoder: operations of forward and backward of the language model on rows of these lengths, and of its head.
        tower_forward: operations of one forward pass of the tower over images of these patch grids.
        lengths: real columns of each row, image and latent tokens included.
        supervised: positions that reach the vocabulary.
        patch_grids: of every image the tower sees, helper images included.
        tower_trained: whether the tower has a backward pass, too.
    """
    tower = tower_forward(patch_grids)
    return decoder(lengths, supervised) + tower * (3 if tower_trained else 1)


def decoder_flops(text_config: Any, lengths: Sequence[int], supervised: int) -> int:
    """Operations of forward and backward of the language model and its head.

    Each row attends causally to itself, in some layers within a window. That an image's columns also attend to later
    ones (Gemma 3) isn't counted.
    """
    width, layers = text_config.hidden_size, text_config.num_hidden_layers
    sliding = list(getattr(text_config, "layer_types", None) or ()).count("sliding_attention")
    window = text_config.sliding_window if sliding else None
    matrices = 6 * decoder_parameters(text_config) * sum(lengths)
    squares = (layers - sliding) * sum(twice_pairs(length) for length in lengths)
    squares += sliding * sum(twice_pairs(length, window) for length in lengths)
    attention = 12 * heads_width(text_config) * squares // 2
    return matrices + attention + 6 * width * text_config.vocab_size * supervised


def twice_pairs(length: int, window: int | None = None) -> int:
    """Twice the pairs of columns of which the earlier is attended to, less than ``window`` columns back."""
    beyond = max(0, length - (window or length))
    return length**2 - beyond**2


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


def delta_decoder_flops(text_config: Any, lengths: Sequence[int], supervised: int) -> int:
    """As :func:`decoder_flops`, for Qwen3.5: where a layer keeps a state, each column reads, corrects and writes it."""
    kinds, heads = list(text_config.layer_types), text_config.linear_num_value_heads
    attending = kinds.count("full_attention")
    matrices = 6 * delta_decoder_parameters(text_config) * sum(lengths)
    attention = 12 * attending * heads_width(text_config) * sum(length**2 for length in lengths) // 2
    state = heads * text_config.linear_key_head_dim * text_config.linear_value_head_dim
    states = 18 * (len(kinds) - attending) * state * sum(lengths)
    return matrices + attention + states + 6 * text_config.hidden_size * text_config.vocab_size * supervised


def delta_decoder_parameters(text_config: Any) -> int:
    """As :func:`decoder_parameters`, for Qwen3.5: attention has an output gate, other layers a convolution."""
    c, width = text_config, text_config.hidden_size
    query_width = heads_width(c)
    key_width = query_width // c.num_attention_heads * c.num_key_value_heads
    values = c.linear_num_value_heads * c.linear_value_head_dim
    mixed = 2 * c.linear_num_key_heads * c.linear_key_head_dim + values
    linear = width * (mixed + 2 * values + 2 * c.linear_num_value_heads) + mixed * c.linear_conv_kernel_dim
    mixers = {"full_attention": width * (3 * query_width + 2 * key_width), "linear_attention": linear}
    return sum(mixers[kind] + 3 * width * c.intermediate_size for kind in c.layer_types)


def whole_tower_flops(vision_config: Any, patch_grids: Sequence[Grid], mergers: int = 1) -> int:
    """Operations of one forward pass of a tower whose images attend as wholes, with an MLP of two matrices."""
    c, width, merged = vision_config, vision_config.hidden_size, vision_config.spatial_merge_size**2
    embedding = width * c.in_channels * c.temporal_patch_size * c.patch_size**2
    blocks = c.depth * (4 * width**2 + 2 * width * c.intermediate_size)
    weights = embedding + blocks + mergers * (merged * width**2 + width * c.out_hidden_size)
    patches = [(frames, rows * columns) for frames, rows, columns in patch_grids]
    pairs = sum(frames * count**2 for frames, count in patches)
    return 2 * weights * sum(frames * count for frames, count in patches) + 4 * width * c.depth * pairs


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
