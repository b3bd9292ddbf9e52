"""Gemma 3: an image's columns see the whole image, and most layers see a window, with rotary positions of their own.

Embeddings of tokens are scaled by the root of their width, in the embedding itself; features of images and latents
aren't. Source: arXiv 2503.19786. Shapes: B rows, S columns of one call.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers.models.gemma3.modeling_gemma3 import create_masks_for_vision_model, get_block_sequence_ids_for_mask

from mirage_pl.mirage.stock.architecture import Grid, Rotary
from mirage_pl.mirage.stock.tiles import TileInputs, Tiles


class Network(Tiles):
    """Run a ``Gemma3ForConditionalGeneration``."""

    whole_images = True

    @property
    def word_scale(self) -> float:  # type: ignore[override]
        """What embeddings are multiplied with."""
        return float(self.decoder.embed_tokens.scalar_embed_scale)

    @property
    def num_features(self) -> int:
        """Features of an image, whatever its size."""
        return int(self.model.config.mm_tokens_per_image)

    @property
    def projector_weights(self) -> int:
        """Of its matrix."""
        return int(self.vision.hidden_size * self.text_config.hidden_size)

    def rotary(self, embeds: Tensor, positions_3BS: Tensor) -> dict[str, Rotary]:
        """Cosines and sines, which differ between kinds of layers."""
        return {kind: self.decoder.rotary_emb(embeds, positions_3BS[0], kind) for kind in set(self.kinds)}

    def stock_hidden(self, embeds_1TD: Tensor, tokens_1T: Tensor, grids: Sequence[Grid], deep: list[Tensor]) -> Tensor:
        """Hidden states of a row, with the model's own masks."""
        masks = create_masks_for_vision_model(
            config=self.text_config,
            inputs_embeds=embeds_1TD,
            attention_mask=None,
            past_key_values=None,
            position_ids=None,
            block_sequence_ids=get_block_sequence_ids_for_mask(tokens_1T == self.image_id),
        )
        decoded = self.decoder(inputs_embeds=embeds_1TD, attention_mask=masks, use_cache=False)
        hidden_1TD: Tensor = decoded.last_hidden_state
        return hidden_1TD


class Inputs(TileInputs):
    """Read questions by a ``Gemma3Processor``; its pan and scan is left off, as it is by default."""

    end_token = "<end_of_turn>"

    def __init__(self, processor: Any) -> None:
        super().__init__(processor)
        self.image_id = int(self.tokenizer.image_token_id)  # the processor's own is that before an image

    def expand(self, rendered: str) -> str:
        """Write the tokens and newlines around each image."""
        start, image, end = (getattr(self.tokenizer, f"{name}_token") for name in ("boi", "image", "eoi"))
        return rendered.replace(start, f"\n\n{start}{image}{end}\n\n")
