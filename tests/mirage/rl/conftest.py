"""A policy that opens blocks now and then, in the precision that a test needs."""

from copy import deepcopy

import pytest
import torch

from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.rl.actions import VLPO, Recompute, Replay, Sampled
from mirage_pl.mirage.rl.collator import RolloutCollator
from mirage_pl.mirage.rl.policy import Answering, AnswerPolicy

VARIANTS = {
    "recompute": Recompute(),
    "replay": Replay(),
    "sampled": Sampled(0.2),
    "vlpo": VLPO(10.0, noise=False),
    "vlpo with noise": VLPO(0.5, noise=True),
}


class Eager(LatentVLM):
    """The random net, which opens a block about every third token."""

    word = -1

    def logits(self, hidden_MD):
        logits = super().logits(hidden_MD).clone()
        logits[..., self.word] += 4.5
        return logits


@pytest.fixture(scope="session")
def rollout_collator(processor):
    return RolloutCollator(processor=processor, latent_size=3, latents=True, helpers=False)


@pytest.fixture
def make_policy(random_net, decoder):
    """(variant, dtype, options of answering) -> a policy with random weights."""

    def make(variant, dtype=torch.float64, **options):
        backbone = deepcopy(random_net.backbone).to(dtype)
        net = Eager(backbone, random_net.compression, random_net.recurrence).to(dtype).eval()
        net.word = decoder.latent_start
        return AnswerPolicy(net, None, decoder, VARIANTS[variant], Answering(**({"max_new_tokens": 20} | options)), 7)

    return make


@pytest.fixture
def prompts(questions):
    return dict(enumerate(questions))
