"""The latent engine: one teacher-forced pass (stage 1), or the recurrence in which hidden states become latents.

Stock transformers is enough: input embeddings and rotary positions are computed once for the whole batch, then the
inner language model is called on column ranges with a key-value cache.

Shapes: B rows, T columns, D width, k latents, N latent slots of the whole batch, M chosen positions, V vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from mirage_pl.mirage.batch import Batch

Compression = Callable[[Tensor, tuple[int, int], int], Tensor]


class LatentVLM(nn.Module):
    """A vision-language model whose sequence may hold latent blocks.

    Args:
        backbone: a ``Qwen2_5_VLForConditionalGeneration``.
        compression: helper-image features -> latents, see ``mirage_pl.mirage.compression``.
        latent_size: latents a block.
    """

    def __init__(self, backbone: nn.Module, compression: Compression, latent_size: int) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.compression, self.latent_size = compression, latent_size

    @property
    def language_model(self) -> Any:
        """The decoder: embeddings and positions in, hidden states after the last norm out."""
        return self.backbone.model.language_model

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Next-token logits ``[M, V]``."""
        return self.backbone.lm_head(hidden_MD)

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Embeddings of token ids."""
        return self.backbone.get_input_embeddings()(tokens)

    def image_features(self, pixels_PF: Tensor, grids_N3: Tensor) -> list[Tensor]:
        """Merged features ``[n, D]`` of every image, in raster order."""
        return list(self.backbone.model.get_image_features(pixels_PF, grids_N3).pooler_output)

    def embed(self, batch: Batch) -> Tensor:
        """Input embeddings ``[B, T, D]`` with the input images in place; latent slots are still placeholders."""
        embeds_BTD = self.embed_tokens(batch.tokens_BT)
        if batch.pixels_PF is None or batch.grids_N3 is None:
            return embeds_BTD
        features_nD = torch.cat(self.image_features(batch.pixels_PF, batch.grids_N3)).to(embeds_BTD.dtype)
        image_BT1 = (batch.tokens_BT == self.backbone.config.image_token_id).unsqueeze(-1)
        return embeds_BTD.masked_scatter(image_BT1, features_nD)

    def positions(self, batch: Batch) -> Tensor:
        """Rotary positions ``[3, B, T]`` (time, height, width), counted over real columns; latents count as text."""
        grids_N3 = batch.grids_N3
        if grids_N3 is None:
            grids_N3 = batch.tokens_BT.new_empty(0, 3)
        merge = self.backbone.config.vision_config.spatial_merge_size
        return rotary_positions(
            batch.tokens_BT == self.backbone.config.image_token_id, batch.real_BT, grids_N3 // merge
        )

    def latent_targets(self, batch: Batch) -> Tensor:
        """Compressed helper-image features ``[N, D]``, in the order of the batch's latent slots.

        Raises:
            ValueError: a row has a helper image smaller than a block, or there is no helper image for each block.
        """
        if batch.helper_pixels_PF is None or batch.helper_grids_N3 is None:
            raise ValueError("stage 1 needs helper images; give image_output in the rows, or train stage=sft")
        merge = self.backbone.config.vision_config.spatial_merge_size
        grids = [(rows // merge, columns // merge) for _, rows, columns in batch.helper_grids_N3.tolist()]
        features = self.image_features(batch.helper_pixels_PF, batch.helper_grids_N3)
        blocks = [self.compression(f, g, self.latent_size) for f, g in zip(features, grids, strict=True)]
        return torch.cat(blocks)

    def run(self, embeds_BSD: Tensor, positions_3BS: Tensor, mask_BST: Tensor, cache: Any = None) -> Tensor:
        """Call the decoder on S columns that see the T columns ``mask_BST`` allows; hidden states ``[B, S, D]``."""
        return self.language_model(
            inputs_embeds=embeds_BSD,
            position_ids=positions_3BS,
            attention_mask={"full_attention": mask_BST.unsqueeze(1)},
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state

    def teacher_forced(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Stage 1: one pass with the compressed helper features as latents.

        Returns:
            Hidden states ``[B, T, D]``, those that should predict each latent ``[N, D]``, and the latents ``[N, D]``.
        """
        targets_ND = self.latent_targets(batch)
        embeds_BTD = self.embed(batch)
        embeds_BTD = embeds_BTD.masked_scatter(batch.latent_BT.unsqueeze(-1), targets_ND.to(embeds_BTD.dtype))
        hidden_BTD = self.run(embeds_BTD, self.positions(batch), visible(batch.real_BT))
        before_BT = batch.latent_BT.roll(-1, 1)  # the column before a latent slot is always real: place() sees to it
        return hidden_BTD, hidden_BTD[before_BT], targets_ND

    def recurrent(self, batch: Batch) -> Tensor:
        """Stage 2 and decoding: every latent is the hidden state before it. One pass without latent blocks.

        The columns are run in few calls: up to the first latent, then one call a latent for all rows together, then
        on to the next block; gradients flow back through all of them.

        Returns:
            Hidden states ``[B, T, D]``.
        """
        embeds_BTD, positions_3BT, mask_BTT = self.embed(batch), self.positions(batch), visible(batch.real_BT)
        cuts = [column for s in batch.segments if s.latent for column in range(s.start, s.stop)]
        if not cuts:
            return self.run(embeds_BTD, positions_3BT, mask_BTT)
        cache, hidden = DynamicCache(), [embeds_BTD[:, :0]]
        for start, stop in zip([0, *cuts], [*cuts, embeds_BTD.shape[1]], strict=True):
            piece_BSD = embeds_BTD[:, start:stop]
            if start:
                piece_BSD = torch.cat([hidden[-1][:, -1:], piece_BSD[:, 1:]], dim=1)
            positions_3BS, mask_BST = positions_3BT[:, :, start:stop], mask_BTT[:, start:stop, :stop]
            hidden.append(self.run(piece_BSD, positions_3BS, mask_BST, cache))
        return torch.cat(hidden, dim=1)


def visible(real_BT: Tensor) -> Tensor:
    """Which columns each column may look at, ``[B, T, T]``: real ones up to itself; padding sees itself alone."""
    T = real_BT.shape[1]
    causal_TT = torch.ones(T, T, dtype=torch.bool, device=real_BT.device).tril()
    itself_TT = torch.eye(T, dtype=torch.bool, device=real_BT.device)
    return (causal_TT & real_BT.unsqueeze(1)) | itself_TT


def rotary_positions(image_BT: Tensor, real_BT: Tensor, grids_N3: Tensor) -> Tensor:
    """Qwen2.5-VL's rotary positions, for all rows at once.

    Text counts on by one a token. An image's tokens share one time, add their row and column to it, and the text after
    it goes on from the larger side of the image. Stock ``get_rope_index`` computes the same in a loop over rows.

    Args:
        image_BT: true on image tokens; two images never touch.
        real_BT: false on padding, whose positions mean nothing.
        grids_N3: merged grid (frames, rows, columns) of every image, row after row; one frame each.

    Returns:
        ``[3, B, T]``: time, height, width.
    """
    text_BT = (real_BT & ~image_BT).long()
    first_BT = image_BT & ~image_BT.roll(1, 1)
    image_of_BT = first_BT.flatten().cumsum(0).view_as(text_BT) - 1
    sides_BT = torch.zeros_like(text_BT)
    sides_BT[first_BT] = grids_N3[:, 1:].amax(1)
    base_BT = text_BT.cumsum(1) - text_BT + sides_BT.cumsum(1)
    positions_3BT = base_BT.expand(3, -1, -1).clone()
    if len(grids_N3):
        number_n = image_of_BT[image_BT]
        place_n = image_BT.flatten().nonzero().squeeze(1)
        offset_n = place_n - first_BT.flatten().nonzero().squeeze(1)[number_n]
        start_n = base_BT[image_BT] - grids_N3[number_n, 1:].amax(1)
        columns_n = grids_N3[number_n, 2]
        positions_3BT[:, image_BT] = torch.stack(
            [start_n, start_n + offset_n // columns_n, start_n + offset_n % columns_n]
        )
    return positions_3BT
