"""Random numbers that depend on what they are drawn for, not on earlier draws."""

import random
from functools import cache
from hashlib import blake2b

import numpy as np
import torch


def stream_seed(*names: object) -> int:
    """Seed of the stream of random numbers with these names, such as a seed, a row's place and a step."""
    return int.from_bytes(blake2b("/".join(map(str, names)).encode(), digest_size=7).digest())


def reseed(*names: object) -> None:
    """Seed Python's, NumPy's and PyTorch's generators, on all devices, by these names."""
    seed = stream_seed(*names)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    if has_accelerator():
        torch.manual_seed(seed)
    else:  # torch.manual_seed writes three stack traces for devices that aren't there, a millisecond each time
        torch.default_generator.manual_seed(seed)


@cache
def has_accelerator() -> bool:
    """Whether there is a device with generators of its own."""
    return torch.accelerator.is_available()
