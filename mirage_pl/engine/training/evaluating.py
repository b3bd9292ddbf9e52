"""A time in which a network is used, not trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """A time without dropout and without gradients; then everything is as it was."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
