"""Compare an exported folder, loaded as others load it, with the network that was written."""

from copy import copy
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import GenerationConfig

from data_modules.files.inline import InlineImage
from data_modules.samples import Latent, Picture, Sample, Text
from mirage_pl.mirage.batch import LATENT_START
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.export.mirage_generate import Choice, Mirage, Row
from mirage_pl.mirage.model.latents import LatentVLM

QUESTION, WORDS = "What is in this image?", "An image of noise."
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
"""Largest difference of logits, as a share of the largest logit; of shorter types ``ROUGH``."""
ROUGH = 0.05


class Dictated(Choice):
    """Choose the tokens of a given answer, and keep each column's logits."""

    def __init__(self, tokens: list[int]) -> None:
        super().__init__(1, len(tokens))
        self.tokens = tokens
        self.logits: list[Tensor] = []

    def __call__(self, logits_BV: Tensor, column: int) -> Tensor:
        """The given token."""
        self.logits.append(logits_BV[0])
        return torch.tensor(self.tokens[column : column + 1])


@torch.no_grad()
def check_answers(folder: Path, back: Mirage, net: LatentVLM, collator: Collator) -> None:
    """Have both write the same answer, with a block of latents, to a question about an image; compare all logits.

    Raises:
        ValueError: they read the question, or any column of the answer, differently.
    """
    picture = draw_noise()
    stream = BytesIO()
    picture.save(stream, "PNG")
    image = InlineImage(stream.getvalue())
    own = copy(collator)
    own.helpers = False
    asked = Sample("the check of an export", (Picture(image), Text(QUESTION)), (Latent(image), Text(WORDS)))
    batch, prompt = own([asked]), own.prompts([asked])
    tokens, start = batch.tokens_BT[0].tolist(), len(prompt.tokens_BT[0])
    inputs = back.prepare([QUESTION], [[picture]])
    if inputs["input_ids"][0].tolist() != tokens[:start]:
        raise ValueError(f"{folder}: its processor reads a question otherwise than the run's; nothing was kept")
    ours = net.logits(net.recurrent(batch.to(net.backbone.device)))[0, start - 1 : -1]
    theirs = dictate(back, inputs, tokens[start:])
    difference = float((ours.cpu() - theirs).abs().max() / ours.abs().max())
    if not difference <= TOLERANCE.get(theirs.dtype, ROUGH):
        where = "with latents" if LATENT_START in back.tokenizer.convert_ids_to_tokens(tokens) else "without latents"
        raise ValueError(
            f"{folder}: loaded back, an answer {where} has other logits than the run's (by {difference:.1%} of the "
            "largest); nothing was kept"
        )


def dictate(back: Mirage, inputs: Any, tokens: list[int]) -> Tensor:
    """Logits ``[S, V]`` before each of the tokens of an answer that is given."""
    given, rows = Dictated(tokens), [Row(back, (), ())]
    config = GenerationConfig(max_new_tokens=len(tokens), do_sample=False, pad_token_id=back.latent_pad)
    back.model.generate(**inputs, generation_config=config, custom_generate=partial(back.decode, rows, given))
    return torch.stack(given.logits)


def draw_noise() -> Image.Image:
    """A picture of which every patch differs."""
    pixels = np.random.default_rng(0).integers(0, 256, (84, 112, 3), dtype=np.uint8)
    return Image.fromarray(pixels)
