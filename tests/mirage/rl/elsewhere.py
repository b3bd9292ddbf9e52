"""An engine that answers with a model of its own, as one behind a server would."""

from dataclasses import replace
from pathlib import Path

import torch
from hydra.utils import instantiate

from tests.contract.stages import Stage


class Elsewhere:
    """Another process in spirit: it knows of the policy what it was given, names and weights.

    Args:
        data: data folder of its config.
        likely: say how likely its answers are.
        most: weights that it takes; ``None``: all.
    """

    def __init__(self, data, likely=False, most=None):
        self.policy = instantiate(Stage("grpo").compose(Path(data)).stage.module).eval().policy
        self.likely, self.most, self.loaded, self.rolled = likely, most, 0, []

    def load(self, weights):
        own = dict(self.policy.net.named_parameters())
        for number, (name, weight) in enumerate(weights, start=1):
            with torch.no_grad():
                own[name].copy_(weight)
            if number == self.most:
                break
        self.loaded += 1

    def roll(self, collate, prompts, group, seed, step):
        self.rolled.append((step, list(prompts)))
        rollouts = self.policy.roll(collate, prompts, group, seed, step)
        return rollouts if self.likely else [replace(rollout, old={}) for rollout in rollouts]
