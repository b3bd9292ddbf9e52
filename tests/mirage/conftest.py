"""Answers whose latents are known to come: a net that enters blocks, and questions for it."""

from dataclasses import replace

import pytest
import torch

from data_modules.samples import Latent, Text
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.model.latents import LatentVLM


@pytest.fixture
def decoder(processor):
    return Decoder(processor, latent_size=3)


@pytest.fixture
def collator(processor):
    return Collator(processor, latent_size=3, latents=True, helpers=False)


class Scripted(LatentVLM):
    """The random net, but it says ``word`` wherever one number of its hidden state is above ``level``, and only there.

    So rows enter blocks at different times, some more often than others.
    """

    word, level = -1, 0.0

    def logits(self, hidden_MD):
        logits = super().logits(hidden_MD).clone()
        logits[..., self.word] = torch.where(hidden_MD[..., 0] > self.level, 1e9, -1e9)
        return logits


@pytest.fixture
def talkative(random_net, decoder):
    """A net that enters a block about every third token."""
    net = Scripted(random_net.backbone, random_net.compression, random_net.recurrence).eval()
    net.word, net.level = decoder.latent_start, 0.6
    return net


@pytest.fixture
def questions(samples):
    """Ragged prompts, some with a plan of their own for the sizes of their blocks."""
    helper = next(part for part in samples[0].answer if isinstance(part, Latent))
    planned = replace(samples[2], answer=(replace(helper, size=1), Text("a"), replace(helper, size=5)))
    return [*samples[:2], planned, replace(samples[3], question=(*samples[3].question, Text(" Read the map.")))]
