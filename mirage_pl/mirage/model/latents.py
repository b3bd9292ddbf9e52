"""The latent engine: one teacher-forced pass (stage 1), or the recurrence in which hidden states become latents.

Input embeddings and rotary positions are computed once for the whole batch, then the stock decoder's layers run on
ranges of columns (``columns``). ``reference`` computes the same slowly, row by row.

Shapes: B rows, T columns, S columns of one call, D width, N latent slots of the whole batch, M chosen positions or
image features, n features of one image, V vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.engine.adapters.rows import copy_rows
from mirage_pl.mirage.batch import Batch, Images
from mirage_pl.mirage.model.added import build_added, list_added, touch
from mirage_pl.mirage.model.columns import Columns, Embeds
from mirage_pl.mirage.model.encoder import Encoder
from mirage_pl.mirage.model.feedback import FedBack, Raw
from mirage_pl.mirage.model.recurrence import Recurrence, Runs
from mirage_pl.mirage.stock.find import find_architecture
from mirage_pl.mirage.stock.places import find_places

Compression = Callable[[Tensor, tuple[int, int], int], Tensor]


class LatentVLM(nn.Module):
    """A vision-language model whose sequence may hold latent blocks.

    Args:
        backbone: a stock ``…ForConditionalGeneration`` of one of ``mirage_pl.mirage.architectures``.
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
        self.architecture = find_architecture(backbone)
        self.compression, self.recurrence = compression, recurrence
        self.checkpointing = checkpointing
        self.feedback = feedback or Raw()
        build_added((self.recurrence, self.feedback, self.compression), self.width, next(self.backbone.parameters()))

    @property
    def decoder(self) -> Any:
        """The inner language model: embeddings and positions in, hidden states after the last norm out."""
        return self.architecture.decoder

    @property
    def tower(self) -> nn.ModuleList:
        """The modules that make features of pixels."""
        return nn.ModuleList(self.architecture.tower)

    @property
    def width(self) -> int:
        """D: width of a hidden state, and so of a latent."""
        return int(self.architecture.text_config.hidden_size)

    @property
    def tower_trained(self) -> bool:
        """Whether any weight of the tower learns."""
        return any(p.requires_grad for p in self.tower.parameters())

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Next-token logits ``[M, V]``."""
        logits_MV: Tensor = self.architecture.head(hidden_MD)
        return logits_MV

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Embeddings of token ids."""
        return self.backbone.get_input_embeddings()(tokens)

    def words(self) -> Tensor:
        """A copy of the embeddings ``[V, D]`` of all tokens, without gradient."""
        return copy_rows(self.backbone.get_input_embeddings()) * self.architecture.word_scale

    def image_features(self, images: Images) -> list[Tensor]:
        """Merged features ``[n, D]`` of every image, in raster order; the tower runs only on unknown images.

        An architecture with ``deep`` features has them behind: ``[n, D (1 + deep)]``.
        """
        merge = self.architecture.merge**2
        sizes = [t * h * w // merge for (t, h, w), known in zip(images.grids, images.known, strict=True) if known]
        known = [] if images.features_MD is None else list(images.features_MD.split(sizes))
        computed = list(self._run_tower(images))
        return [(known if is_known else computed).pop(0) for is_known in images.known]

    def _run_tower(self, images: Images) -> list[Tensor]:
        if images.pixels_PF is None:
            return []
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tower_trained):
            return self.architecture.image_features(images.pixels_PF, images.unknown_grids())

    def embed(self, batch: Batch) -> Embeds:
        """Input embeddings of a batch, with the input images in place."""
        embeds_BTD = self.embed_tokens(batch.tokens_BT)
        images = batch.images or (self.blank_image() if self.tower_trained else None)
        if images is None:
            return Embeds(embeds_BTD)
        features_MD, *deep = torch.cat(self.image_features(images)).to(embeds_BTD.dtype).split(self.width, dim=-1)
        image_BT = batch.tokens_BT == self.architecture.image_id
        if batch.shared is not None:
            asks_first_B = torch.zeros_like(image_BT[:, 0]).index_fill(0, batch.shared.first_Q, True)
            image_BT = image_BT & asks_first_B.unsqueeze(1)
        inputs_BTD = embeds_BTD.masked_scatter(image_BT.unsqueeze(-1), features_MD)
        if not deep:
            return Embeds(inputs_BTD)
        row_BT = torch.where(image_BT, image_BT.flatten().cumsum(0).view_as(batch.tokens_BT), 0)
        tables = tuple(torch.cat([torch.zeros_like(level_MD[:1]), level_MD]) for level_MD in deep)
        return Embeds(inputs_BTD, tables, row_BT, batch.segments[0].stop)

    def blank_image(self) -> Images:
        """The smallest possible image, for a batch without images: in no column, it gives the tower zero gradients.

        Other ranks' batches may have images, and every rank must have gradients, in the same order: DeepSpeed reduces
        them as they come.
        """
        grid, pixels_PF = self.architecture.blank()
        weight = next(self.tower.parameters())
        return Images((grid,), (False,), pixels_PF.to(weight.device, weight.dtype), blank=True)

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
        """Compressed helper-image features ``[N, D]``, in the order of the batch's latent slots, as they are read.

        Raises:
            ValueError: there are latent blocks but no helper images.
        """
        sizes = [size for row in batch.sizes for size in row]
        if batch.helpers is None:
            if sizes:
                raise ValueError("stage 1 needs helper images; give image_output in the rows, or train stage=sft")
            none_0D = torch.zeros(0, self.width, device=batch.tokens_BT.device)
            return torch.cat([none_0D, *self._compress_features([], [], [], none_0D)])
        targets_ND = torch.cat(self._compress(batch.helpers, sizes))
        self.feedback.observe(targets_ND)
        return self.feedback.encode(targets_ND)

    def compress(self, helpers: Images, sizes: Sequence[int]) -> list[Tensor]:
        """Compressed features ``[k, D]`` of every helper image as they are read, each with its own k; none of a blank.

        What is read of them says ``feedback``.
        """
        return [self.feedback.encode(latents_kD) for latents_kD in self._compress(helpers, sizes)]

    def _compress(self, helpers: Images, sizes: Sequence[int]) -> list[Tensor]:
        merge = self.architecture.merge
        grids = [(tiles * rows // merge, columns // merge) for tiles, rows, columns in helpers.grids]
        features = [feature[:, : self.width] for feature in self.image_features(helpers)]
        sizes = [*sizes, *[0] * helpers.blank]
        return self._compress_features(features, grids, sizes, features[0])

    def _compress_features(
        self, features: Sequence[Tensor], grids: Sequence[tuple[int, int]], sizes: Sequence[int], like: Tensor
    ) -> list[Tensor]:
        if isinstance(self.compression, Encoder):
            return self.compression.together(features, grids, sizes, like)
        return [self.compression(f, g, k) if k else f[:0] for f, g, k in zip(features, grids, sizes, strict=True)]

    def teacher_forced(
        self, batch: Batch, taught_BT: Tensor | None = None, through: bool = True
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Stage 1: compressed helper features are the latents.

        Args:
            batch: with helper images.
            taught_BT: the slots that hold them, all by default. Others hold what the model writes if its recurrence is
                ``apart``, and else the embedding of ``<|latent_pad|>``.
            through: let gradients run through what the model writes.

        Returns:
            Hidden states ``[B, T, D]``, those that should predict each latent, ``[N, D]``, and the latents ``[N, D]``.
        """
        embeds = self.embed(batch)  # first, so that its gradients come last, as they do without latents
        targets_ND = self.latent_targets(batch)
        taught_BT = batch.latent_BT if taught_BT is None else taught_BT & batch.latent_BT
        inputs_BTD = embeds.inputs_BTD
        true_BTD = inputs_BTD.masked_scatter(batch.latent_BT.unsqueeze(-1), targets_ND.to(inputs_BTD.dtype))
        if self.recurrence.apart:
            return *self.run_blocks(batch, embeds, through, true_BTD, taught_BT), targets_ND
        true_BTD = torch.where(taught_BT.unsqueeze(-1), true_BTD, inputs_BTD)
        hidden_BTD = self.touch_added(batch, self.columns(batch, embeds).finish(true_BTD))
        return hidden_BTD, hidden_BTD[batch.before_BT], targets_ND

    def with_latents(self, batch: Batch, embeds: Embeds, latents_ND: Tensor) -> Tensor:
        """Hidden states ``[B, T, D]`` of one pass in which the slots hold these latents, in the order of the slots."""
        inputs_BTD = embeds.inputs_BTD
        inputs_BTD = inputs_BTD.masked_scatter(batch.latent_BT.unsqueeze(-1), latents_ND.to(inputs_BTD.dtype))
        return self.columns(batch, embeds).finish(inputs_BTD)

    def recycled(self, batch: Batch, through: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """Run the recurrence, and compute what its latents should be.

        Args:
            batch: with helper images.
            through: let gradients run through latents.

        Returns:
            As :meth:`teacher_forced`, with recycled latents.
        """
        return *self.written(batch, through), self.latent_targets(batch)

    def recurrent(self, batch: Batch) -> Tensor:
        """Stage 2 and evaluation: every latent is a hidden state, fed back; gradients flow through all.

        All rows run together, in few calls: the columns up to the first block, those of the recurrence, the columns up
        to the next block, and so on. Without latent blocks it is one call.

        Returns:
            Hidden states ``[B, T, D]``.
        """
        return self.written(batch)[0]

    def written(self, batch: Batch, through: bool = True) -> tuple[Tensor, Tensor]:
        """:meth:`recurrent`, with the hidden states ``[N, D]`` that are fed back, in the order of the slots."""
        return self.run_blocks(batch, self.embed(batch), through)

    def run_blocks(
        self,
        batch: Batch,
        embeds: Embeds,
        through: bool = True,
        true_BTD: Tensor | None = None,
        taught_BT: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Run the recurrence block by block.

        Args:
            batch: its columns.
            embeds: of the batch.
            through: let gradients run through latents.
            true_BTD: what the slots in ``taught_BT`` hold in place of what is written, for a recurrence that is
                ``apart``.
            taught_BT: bools.

        Returns:
            As :meth:`written`.
        """
        columns, embeds_BTD, states = self.columns(batch, embeds), embeds.inputs_BTD, list[Tensor]()
        latents_BkD = embeds_BTD[:, :0]
        for block in batch.blocks:
            text_BSD = embeds_BTD[:, columns.start + latents_BkD.shape[1] : block.start]
            state_B1D = columns.advance(torch.cat([latents_BkD, text_BSD], dim=1))[:, -1:]
            run = FedBack(columns, self.feedback, through)
            latents_BkD = self.recurrence(run, run.feed(state_B1D), block.stop - block.start)
            states += [run.latest_BSD] if self.recurrence.apart else []
            if true_BTD is not None and taught_BT is not None:
                taught_Bk1, true_BkD = (each[:, block.start : block.stop] for each in (taught_BT[..., None], true_BTD))
                latents_BkD = torch.where(taught_Bk1, true_BkD, latents_BkD)
        text_BSD = embeds_BTD[:, columns.start + latents_BkD.shape[1] :]
        last_BSD = columns.peek(torch.cat([latents_BkD, text_BSD], dim=1))
        hidden_BTD = self.touch_added(batch, torch.cat([*columns.hidden, last_BSD], dim=1))
        if not states:
            return hidden_BTD, hidden_BTD[batch.before_BT]
        slots_BK = torch.cat([batch.latent_BT[:, block.start : block.stop] for block in batch.blocks], dim=1)
        return hidden_BTD, torch.cat(states, dim=1)[slots_BK]

    @property
    def added(self) -> list[nn.Module]:
        """The modules that aren't the backbone's: queries, and what feedback and compression learn, if any."""
        return list_added(self.recurrence, self.feedback, self.compression)

    def touch_added(self, batch: Batch, hidden_BTD: Tensor) -> Tensor:
        """Give what a batch without blocks doesn't use zero gradients: every rank must have some."""
        return hidden_BTD if batch.blocks else touch(self.added, hidden_BTD)

    def columns(self, batch: Batch, embeds: Embeds) -> Columns:
        """Begin a pass over a batch's columns; questions that rows share have been run."""
        places = find_places(batch, self.architecture.image_id)
        columns = Columns(self.architecture, places, embeds, self.checkpointing)
        if batch.shared is not None:
            columns.share(batch.shared)
        return columns

    def recur(self, columns: Runs, state_B1D: Tensor, k: int) -> Tensor:
        """Run a block of k latents after a hidden state; return those not yet run, ``[B, k or fewer, D]``."""
        return self.recurrence(FedBack(columns, self.feedback), self.feedback(state_B1D), k)
