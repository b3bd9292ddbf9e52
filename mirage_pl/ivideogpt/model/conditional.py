"""Encoder and decoder of frames that attend to the context, so that their few latents say only what moved.

Shapes: B clips, T context frames, F other frames of a clip, C channels, H rows, W columns, P = H W places.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.ivideogpt.model.coders import RGB, Attend, Decoder, Encoder, Sizes

HEADS = 4


class Attention(nn.Module):
    """Attention of several heads, with the weights of ``torch.nn.MultiheadAttention``.

    That one uses weights of a layer that it doesn't call, which are missing where ZeRO-3 has them in parts.

    Args:
        channels: C.
        dropout: of the attention weights in training.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, queries_BQC: Tensor, keys_BKC: Tensor) -> Tensor:
        """Attend; values are taken from where keys are. [B, Q, C]."""
        channels = keys_BKC.shape[2]
        queries = F.linear(queries_BQC, self.in_proj_weight[:channels], self.in_proj_bias[:channels])
        both = F.linear(keys_BKC, self.in_proj_weight[channels:], self.in_proj_bias[channels:])
        q, k, v = (each.unflatten(2, (HEADS, -1)).transpose(1, 2) for each in (queries, *both.chunk(2, dim=2)))
        attended = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        attended_BQC: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return attended_BQC


class CrossAttention(nn.Module):
    """Attention of a clip's frames to features of its context; SiLU of the sum.

    All frames of a clip are queries of one attention, so that keys and values are computed once a clip.

    Args:
        channels: of both.
        side: height and width of both.
        sizes: of the tokenizer.
    """

    def __init__(self, channels: int, side: int, sizes: Sizes) -> None:
        super().__init__()
        places = side**2
        self.kv_pos_emb = nn.Parameter(torch.zeros(sizes.context_length * places, channels))
        self.q_pos_emb = nn.Parameter(torch.zeros(places, channels))
        self.att = Attention(channels, sizes.dropout)
        self.kv_norm = nn.GroupNorm(sizes.norm_num_groups, channels)
        self.q_norm = nn.GroupNorm(sizes.norm_num_groups, channels)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, hidden_BFCHW: Tensor, context_BTCHW: Tensor) -> Tensor:
        """Attend.

        Args:
            hidden_BFCHW: features of the frames.
            context_BTCHW: of the context; a clip's are normalized together.

        Returns:
            Features of the frames, as many.
        """
        queries_BFPC = self.q_norm(hidden_BFCHW.flatten(0, 1)).flatten(2).mT.unflatten(0, hidden_BFCHW.shape[:2])
        queries_BFPC = queries_BFPC + self.q_pos_emb
        stacked_BCTP = context_BTCHW.transpose(1, 2).flatten(3)
        keys_BKC = self.kv_norm(stacked_BCTP).flatten(2).mT + self.kv_pos_emb
        queries_BQC = queries_BFPC.flatten(1, 2)
        attended_BQC = self.att(queries_BQC, keys_BKC)
        attended_BFCHW = attended_BQC.view_as(queries_BFPC).mT.reshape(hidden_BFCHW.shape)
        return F.silu(hidden_BFCHW + self.dropout(attended_BFCHW))


def build_attention(sides: Sequence[int], channels: Sequence[int], sizes: Sizes) -> tuple[nn.ModuleList, list[int]]:
    """Build the attention of all places whose features are small enough.

    Args:
        sides: of the features at places 1 and on.
        channels: theirs.
        sizes: of the tokenizer.

    Returns:
        The modules, and the place of each.
    """
    places = [place for place, side in enumerate(sides, start=1) if side <= sizes.max_att_resolution]
    blocks = [CrossAttention(channels[place - 1], sides[place - 1], sizes) for place in places]
    return nn.ModuleList(blocks), places


def attend_to(blocks: nn.ModuleList, places: Sequence[int], context: Sequence[Tensor], num_clips: int) -> Attend:
    """What a conditional coder does at each place.

    Args:
        blocks: the attention modules.
        places: of each.
        context: features of the context's coder at all places, [B T, C, H, W].
        num_clips: B.
    """

    def attend(place: int, hidden_MCHW: Tensor) -> Tensor:
        if place not in places:
            return hidden_MCHW
        shown_BTCHW, hidden_BFCHW = (each.unflatten(0, (num_clips, -1)) for each in (context[place], hidden_MCHW))
        out_BFCHW: Tensor = blocks[places.index(place)](hidden_BFCHW, shown_BTCHW)
        return out_BFCHW.flatten(0, 1)

    return attend


class Sight(nn.Module):
    """How a conditional coder is shown the pixels of the newest context frame: by one convolution.

    Args:
        fold: each ``fold`` x ``fold`` pixels become channels of one place.
        channels: of what it returns.
    """

    def __init__(self, fold: int, channels: int) -> None:
        super().__init__()
        self.fold, self.conv = fold, nn.Conv2d(RGB * fold**2, channels, 3, padding=1)

    def forward(self, newest_BCHW: Tensor, num_frames: int) -> Tensor:
        """Return features of the frame, [B F, channels, H / fold, W / fold], for each of a clip's F frames."""
        features_BCHW: Tensor = self.conv(F.pixel_unshuffle(newest_BCHW, self.fold))
        return features_BCHW.repeat_interleave(num_frames, 0)


class ConditionalEncoder(Encoder):
    """Frames and the context encoder's features -> latents.

    Args:
        sizes: of the tokenizer.
        gated: whether it is also shown the pixels of the newest context frame.
    """

    def __init__(self, sizes: Sizes, gated: bool) -> None:
        super().__init__(sizes, attention=True)
        first, stages = sizes.resolution // sizes.fold, len(sizes.block_out_channels)
        sides = [first // 2 ** min(stage, stages - 1) for stage in range(1, stages + 1)]
        self.cross_att_blocks, self.places = build_attention(sides, sizes.block_out_channels, sizes)
        self.sight = Sight(sizes.fold, sizes.block_out_channels[0]) if gated else None

    def encode(self, frames_BFCHW: Tensor, context: Sequence[Tensor], newest_BCHW: Tensor) -> Tensor:
        """Return latents, [B F, latent_channels, G, G]."""
        num_clips, num_frames = frames_BFCHW.shape[:2]
        added = self.sight(newest_BCHW, num_frames) if self.sight is not None else 0.0
        attend = attend_to(self.cross_att_blocks, self.places, context, num_clips)
        latents_MCGG: Tensor = self(frames_BFCHW.flatten(0, 1), attend, added)[0]
        return latents_MCGG


class ConditionalDecoder(Decoder):
    """Latents and the context decoder's features -> frames.

    Args:
        sizes: of the tokenizer.
        gated: whether it also shows where its frame covers the newest context frame, whose pixels it is then shown.
    """

    def __init__(self, sizes: Sizes, gated: bool) -> None:
        super().__init__(sizes, attention=True, out_channels=RGB + gated)
        widths, last = list(sizes.block_out_channels)[::-1], len(sizes.block_out_channels) - 1
        sides = [sizes.grid, *(sizes.grid * 2 ** min(stage, last) for stage in range(1, last + 2))]
        self.cross_att_blocks, self.places = build_attention(sides, [widths[0], *widths], sizes)
        self.sight = Sight(sizes.resolution // sizes.grid, widths[0]) if gated else None

    def decode(self, latents_MCGG: Tensor, context: Sequence[Tensor], newest_BCHW: Tensor) -> Tensor:
        """Return what is made of the latents, [B, F, RGB or RGB and gate, H, W]."""
        num_clips = len(newest_BCHW)
        num_frames = len(latents_MCGG) // num_clips
        added = self.sight(newest_BCHW, num_frames) if self.sight is not None else 0.0
        attend = attend_to(self.cross_att_blocks, self.places, context, num_clips)
        out_MCHW: Tensor = self(latents_MCGG, attend, added)[0]
        return out_MCHW.unflatten(0, (num_clips, num_frames))
