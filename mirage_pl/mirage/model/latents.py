"""The latent engine: one teacher-forced pass (stage 1), or the recurrence in which hidden states become latents.

Input embeddings and rotary positions are computed once for the whole batch, then the stock decoder's layers run on
ranges of columns. ``reference`` computes the same slowly, row by row.

Shapes: B rows, T columns, S columns of one call, D width, N latent slots of the whole batch, M chosen positions or
image features, n features of one image, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.engine.checkpoints.parts import whole
from mirage_pl.mirage.batch import Batch, Images
from mirage_pl.mirage.model.feedback import Raw
from mirage_pl.mirage.model.layers import KeysValues, run_layers
from mirage_pl.mirage.model.recurrence import Columns, Recurrence

Compression = Callable[[Tensor, tuple[int, int], int], Tensor]


class LatentVLM(nn.Module):
    """A vision-language model whose sequence may hold latent blocks.

    Args:
        backbone: a ``Qwen2_5_VLForConditionalGeneration``.
        compression: helper-image features -> latents, see ``mirage_pl.mirage.model.compression``.
        recurrence: how latents are computed, see ``mirage_pl.mirage.model.recurrence``.
        checkpointing: recompute each layer's activations when gradients are taken instead of keeping them.
        feedback: hidden state -> latent, see ``mirage_pl.mirage.model.feedback``; by default unchanged.
    """

    def __init__(
        self,
        backbone: nn.Module,
        compression: Compression,
        recurrence: Recurrence,
        checkpointing: bool = False,
        feedback: Raw | None = None,
    ) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.compression, self.recurrence = compression, recurrence
        self.checkpointing = checkpointing
        self.feedback = feedback or Raw()

    @property
    def decoder(self) -> Any:
        """The inner language model: embeddings and positions in, hidden states after the last norm out."""
        return self.backbone.model.language_model

    @property
    def tower(self) -> Any:
        """The vision tower."""
        return self.backbone.model.visual

    @property
    def tower_trained(self) -> bool:
        """Whether any weight of the tower learns."""
        return any(p.requires_grad for p in self.tower.parameters())

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Next-token logits ``[M, V]``."""
        return self.backbone.lm_head(hidden_MD)

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Embeddings of token ids."""
        return self.backbone.get_input_embeddings()(tokens)

    def words(self) -> Tensor:
        """A copy of the embeddings ``[V, D]`` of all tokens, without gradient."""
        with whole(self.backbone.get_input_embeddings().weight) as words_VD:
            return words_VD.detach().clone()

    def image_features(self, images: Images) -> list[Tensor]:
        """Merged features ``[n, D]`` of every image, in raster order; the tower runs only on unknown images."""
        merge = self.tower.spatial_merge_size**2
        sizes = [t * h * w // merge for (t, h, w), known in zip(images.grids, images.known, strict=True) if known]
        known = [] if images.features_MD is None else list(images.features_MD.split(sizes))
        computed = list(self._run_tower(images))
        return [(known if is_known else computed).pop(0) for is_known in images.known]

    def _run_tower(self, images: Images) -> tuple[Tensor, ...]:
        if images.pixels_PF is None:
            return ()
        grids_N3 = torch.tensor(images.unknown_grids(), device=images.pixels_PF.device)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tower_trained):
            features: tuple[Tensor, ...] = self.backbone.model.get_image_features(
                images.pixels_PF, grids_N3
            ).pooler_output
        return features

    def embed(self, batch: Batch) -> Tensor:
        """Input embeddings ``[B, T, D]`` with the input images in place; latent slots are still placeholders."""
        embeds_BTD = self.embed_tokens(batch.tokens_BT)
        images = batch.images or (self.blank_image() if self.tower_trained else None)
        if images is None:
            return embeds_BTD
        features_MD = torch.cat(self.image_features(images)).to(embeds_BTD.dtype)
        image_BT1 = (batch.tokens_BT == self.backbone.config.image_token_id).unsqueeze(-1)
        return embeds_BTD.masked_scatter(image_BT1, features_MD)

    def blank_image(self) -> Images:
        """The smallest possible image, for a batch without images: in no column, it gives the tower zero gradients.

        Other ranks' batches may have images, and every rank must have gradients, in the same order: DeepSpeed reduces
        them as they come.
        """
        side, config = self.tower.spatial_merge_size, self.tower.config
        width = config.in_channels * config.temporal_patch_size * config.patch_size**2
        pixels_PF = torch.zeros(side**2, width, device=self.tower.device, dtype=self.tower.dtype)
        return Images(((1, side, side),), (False,), pixels_PF, blank=True)

    def with_pixels(self, images: Images | None) -> Images:
        """The same images with something for the tower to encode: a blank one is added if there are no pixels."""
        if images is None:
            return self.blank_image()
        if images.pixels_PF is not None:
            return images
        blank = self.blank_image()
        grids, known = (*images.grids, *blank.grids), (*images.known, False)
        return replace(images, grids=grids, known=known, pixels_PF=blank.pixels_PF, blank=True)

    def latent_targets(self, batch: Batch) -> Tensor:
        """Compressed helper-image features ``[N, D]``, in the order of the batch's latent slots.

        Raises:
            ValueError: there are latent blocks but no helper images.
        """
        sizes = [size for row in batch.sizes for size in row]
        if batch.helpers is None:
            if sizes:
                raise ValueError("stage 1 needs helper images; give image_output in the rows, or train stage=sft")
            return torch.zeros(0, self.backbone.config.text_config.hidden_size, device=batch.tokens_BT.device)
        targets_ND = torch.cat(self.compress(batch.helpers, sizes))
        self.feedback.observe(targets_ND)
        return targets_ND

    def compress(self, helpers: Images, sizes: Sequence[int]) -> list[Tensor]:
        """Compressed features ``[k, D]`` of every helper image, each with its own k; empty for a blank one."""
        merge = self.tower.spatial_merge_size
        grids = [(rows // merge, columns // merge) for _, rows, columns in helpers.grids]
        features, sizes = self.image_features(helpers), [*sizes, *[0] * helpers.blank]
        return [self.compression(f, g, k) if k else f[:0] for f, g, k in zip(features, grids, sizes, strict=True)]

    def teacher_forced(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Stage 1: one pass with the compressed helper features as latents.

        Returns:
            Hidden states ``[B, T, D]``, those before each latent, which should predict it, ``[N, D]``, and the latents
            ``[N, D]``.
        """
        embeds_BTD = self.embed(batch)  # first, so that its gradients come last, as they do without latents
        targets_ND = self.latent_targets(batch)
        embeds_BTD = embeds_BTD.masked_scatter(batch.latent_BT.unsqueeze(-1), targets_ND.to(embeds_BTD.dtype))
        hidden_BTD = Pass(self, batch, embeds_BTD).peek(embeds_BTD)
        return hidden_BTD, hidden_BTD[batch.before_BT], targets_ND

    def recycled(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Run the recurrence, and compute what its latents should be.

        Returns:
            As :meth:`teacher_forced`, with recycled latents.
        """
        hidden_BTD = self.recurrent(batch)
        return hidden_BTD, hidden_BTD[batch.before_BT], self.latent_targets(batch)

    def recurrent(self, batch: Batch) -> Tensor:
        """Stage 2 and evaluation: every latent is the hidden state before it, fed back; gradients flow through all.

        All rows run together, in few calls: the columns up to the first block, those of the recurrence, the columns up
        to the next block, and so on. Without latent blocks it is one call.

        Returns:
            Hidden states ``[B, T, D]``.
        """
        embeds_BTD = self.embed(batch)
        columns = Pass(self, batch, embeds_BTD)
        latents_BkD = embeds_BTD[:, :0]
        for block in batch.blocks:
            text_BSD = embeds_BTD[:, columns.start + latents_BkD.shape[1] : block.start]
            state_B1D = columns.advance(torch.cat([latents_BkD, text_BSD], dim=1))[:, -1:]
            latents_BkD = self.recur(columns, state_B1D, block.stop - block.start)
        text_BSD = embeds_BTD[:, columns.start + latents_BkD.shape[1] :]
        last_BSD = columns.peek(torch.cat([latents_BkD, text_BSD], dim=1))
        return torch.cat([*columns.hidden, last_BSD], dim=1)

    def recur(self, columns: Columns, state_B1D: Tensor, k: int) -> Tensor:
        """Run a block of k latents after a hidden state; return those not yet run, ``[B, k or fewer, D]``."""
        return self.recurrence(FedBack(columns, self.feedback), self.feedback(state_B1D), k)


class FedBack:
    """Columns that return hidden states as latents."""

    def __init__(self, columns: Columns, feedback: Raw) -> None:
        self.columns, self.feedback = columns, feedback

    def advance(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns."""
        latents_BSD: Tensor = self.feedback(self.columns.advance(embeds_BSD))
        return latents_BSD

    def peek(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns without keeping them."""
        latents_BSD: Tensor = self.feedback(self.columns.peek(embeds_BSD))
        return latents_BSD


class Pass:
    """One pass over a batch's columns, from left to right; every call attends to the columns run before.

    Args:
        net: the model.
        batch: gives positions and padding.
        embeds_BTD: embeddings of the batch, for their dtype.

    Attributes:
        start: the first column that hasn't been run.
        hidden: hidden states ``[B, S, D]`` of the calls so far.
    """

    def __init__(self, net: LatentVLM, batch: Batch, embeds_BTD: Tensor) -> None:
        self.decoder, self.checkpointing = net.decoder, net.checkpointing
        self.rotary: KeysValues = self.decoder.rotary_emb(embeds_BTD, batch.positions_3BT)
        self.mask_BTT = visible(batch.real_BT)
        self.earlier: list[tuple[KeysValues, ...]] = [() for _ in self.decoder.layers]
        self.start, self.hidden = 0, list[Tensor]()

    def advance(self, embeds_BSD: Tensor) -> Tensor:
        """Run and keep the next S columns; return their hidden states ``[B, S, D]``."""
        hidden_BSD, new = self._run(embeds_BSD)
        self.earlier = [(*pieces, piece) for pieces, piece in zip(self.earlier, new, strict=True)]
        self.start += embeds_BSD.shape[1]
        self.hidden.append(hidden_BSD)
        return hidden_BSD

    def peek(self, embeds_BSD: Tensor) -> Tensor:
        """Run the next S columns without keeping them."""
        return self._run(embeds_BSD)[0]

    def _run(self, embeds_BSD: Tensor) -> tuple[Tensor, list[KeysValues]]:
        stop = self.start + embeds_BSD.shape[1]
        cos_BTd, sin_BTd = self.rotary
        rotary = cos_BTd[..., self.start : stop, :], sin_BTd[..., self.start : stop, :]
        mask_BST = self.mask_BTT[:, self.start : stop, :stop]
        return run_layers(self.decoder, embeds_BSD, rotary, mask_BST, self.earlier, self.checkpointing)


def visible(real_BT: Tensor) -> Tensor:
    """Attention mask ``[B, T, T]``: each column attends to real columns up to itself, padding only to itself."""
    T = real_BT.shape[1]
    causal_TT = torch.ones(T, T, dtype=torch.bool, device=real_BT.device).tril()
    itself_TT = torch.eye(T, dtype=torch.bool, device=real_BT.device)
    return (causal_TT & real_BT.unsqueeze(1)) | itself_TT
