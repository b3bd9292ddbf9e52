"""What the benchmarks run: Qwen2.5-VL of a given shape with random weights, and rows of a given length.

Image features are given, as the feature cache gives them, so that a step is the language model alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

from mirage_pl.mirage.batch import IGNORE, Batch, Images
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.losses import latent_cosine, text_ce
from mirage_pl.mirage.model.backbone import load_processor
from mirage_pl.mirage.model.compression import Average
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Recurrence, Sequential
from mirage_pl.mirage.placing import Row, place

TINY = Path(__file__).resolve().parents[1] / "assets" / "tiny"
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "vocab_size": 32000,
        "mrope_section": [8, 12, 12],
    },
    "3b": {
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "mrope_section": [16, 24, 24],
    },
    "7b": {
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "mrope_section": [16, 24, 24],
    },
}
"""Text models; ``small`` is a 3B's proportions at a size that a CPU can bear."""


@dataclass
class Workload:
    """A model and its rows.

    Args:
        shape: a key of :data:`SHAPES`.
        device: ``cpu`` or ``cuda``.
        dtype: of weights and activations.
        k: latents of a block.
    """

    shape: str
    device: str
    dtype: torch.dtype
    k: int = 4

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.processor = load_processor(str(TINY))
        config = AutoConfig.from_pretrained(TINY)
        numbers = dict(SHAPES[self.shape])
        rope = config.text_config.rope_parameters | {"mrope_section": numbers.pop("mrope_section", [4, 6, 6])}
        for name, value in numbers.items():
            setattr(config.text_config, name, value)
        config.text_config.rope_parameters = rope
        config.text_config.layer_types = ["full_attention"] * config.text_config.num_hidden_layers
        config.vision_config.out_hidden_size = self.width = config.text_config.hidden_size
        with torch.device(self.device):
            self.backbone: Any = Qwen2_5_VLForConditionalGeneration._from_config(
                config, dtype=self.dtype, attn_implementation="sdpa"
            )
        self.backbone.model.visual.requires_grad_(False)
        self.ids = dict(self.processor.tokenizer.get_vocab())

    def net(self, recurrence: Recurrence | None = None, checkpointing: bool = False) -> LatentVLM:
        """The engine around the model."""
        return LatentVLM(self.backbone, Average(), recurrence or Sequential(), checkpointing)

    def decoder(self) -> Decoder:
        """Answers prompts."""
        return Decoder(self.processor, self.k)

    def rows(self, count: int, length: int, seed: int = 0, answer: float = 0.15) -> list[Row]:
        """Rows of about ``length`` tokens: a third of it an image, a question, a block, and the answer's text.

        Args:
            count: how many.
            length: tokens of a row; single rows differ by up to a tenth, as in a batch of similar ones.
            seed: of the words and lengths.
            answer: the share of the answer.
        """
        random, rows = Random(seed), []
        for _ in range(count):
            total = round(length * random.uniform(0.9, 1.1))
            side = max(2, round((total / 3) ** 0.5))
            said = round(total * answer)
            asked = [random.randrange(256) for _ in range(total - said - side * side - self.k - 2)]
            words = [random.randrange(256) for _ in range(said)]
            block = [
                self.ids["<|latent_start|>"],
                *[self.ids["<|latent_pad|>"]] * self.k,
                self.ids["<|latent_end|>"],
            ]
            image = [self.ids["<|image_pad|>"]] * side * side
            labels = [IGNORE if token == self.ids["<|latent_pad|>"] else token for token in block]
            rows.append(Row(image + asked + block + words, [IGNORE] * (side * side + len(asked)) + labels + words))
        return rows

    def batch(self, rows: Sequence[Row], prompt: bool = False) -> Batch:
        """Place rows; every image and helper image is given by random features."""
        if prompt:
            cuts = [row.tokens.index(self.ids["<|latent_start|>"]) for row in rows]
            rows = [Row(row.tokens[:c], row.labels[:c]) for row, c in zip(rows, cuts, strict=True)]
        image = self.ids["<|image_pad|>"]
        sides = [round(row.tokens.count(image) ** 0.5) for row in rows]
        pad = self.ids["<|endoftext|>"]
        batch = place(rows, self.ids["<|latent_pad|>"], pad, image, [(1, side, side) for side in sides])
        images, helpers = self.images(sides), None if prompt else self.images(sides)
        moved: Batch = replace(batch, images=images, helpers=helpers).to(self.device)
        return moved

    def images(self, sides: Sequence[int]) -> Images:
        """Square images, known already."""
        grids = tuple((1, 2 * side, 2 * side) for side in sides)
        features_MD = torch.randn(sum(side * side for side in sides), self.width, dtype=self.dtype)
        return Images(grids, (True,) * len(sides), None, features_MD)


def losses(net: LatentVLM, batch: Batch, stage: int, chunk: int | None = 256) -> Tensor:
    """The loss of a stage, as its module weighs it."""
    latent: Tensor | float = 0.0
    if stage == 1:
        hidden_BTD, predicted_ND, targets_ND = net.teacher_forced(batch)
        latent = latent_cosine(predicted_ND, targets_ND)
    else:
        hidden_BTD = net.recurrent(batch)
    asked_BT = batch.targets_BT != IGNORE
    text = text_ce(hidden_BTD[asked_BT], net.backbone.lm_head, batch.targets_BT[asked_BT], chunk)
    return (0.1 if stage == 1 else 1.0) * text + latent


def step(net: LatentVLM, batches: Sequence[Batch], stage: int, chunk: int | None = 256) -> None:
    """Forward and backward over some batches whose gradients add up; no optimizer."""
    net.zero_grad(set_to_none=True)
    for batch in batches:
        losses(net, batch, stage, chunk).backward()
