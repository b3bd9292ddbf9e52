"""Linear layers whose weights are stored in four bits, by bitsandbytes, an extra."""

import os
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn


def need_bitsandbytes(key: str) -> None:
    """Refuse a choice that bitsandbytes is for, where it isn't installed.

    Raises:
        ValueError: says how to install it.
    """
    if find_spec("bitsandbytes") is None:
        raise ValueError(
            f"{key} needs the package bitsandbytes, which isn't installed; pip install 'mirage_pl[bitsandbytes]'"
        )


def quantize_layers(module: nn.Module, names: Iterable[str], back: bool = False) -> None:
    """Store linear layers in four bits (NF4, double quantization), in place.

    Args:
        module: that holds them.
        names: dotted names of linear layers.
        back: make them plain layers again, of the values that four bits give.
    """
    need_bitsandbytes("lora.bits=4")
    for name in list(names):
        parent, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(parent), leaf, quantize(module.get_submodule(name), back))


def quantize(layer: Any, back: bool) -> nn.Module:
    """One linear layer in four bits, or what that makes of it. A GPU does it where there is one, and it comes back."""
    import bitsandbytes as bnb

    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else "cpu"
    weight = bnb.nn.Params4bit(
        layer.weight.detach().clone(), requires_grad=False, compress_statistics=True, quant_type="nf4"
    ).to(device)
    if back:
        values = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
        layer.weight.data.copy_(values)
        return layer
    dtype, bias = layer.weight.dtype, layer.bias is not None
    small = bnb.nn.Linear4bit(layer.in_features, layer.out_features, bias, dtype, quant_type="nf4", device="meta")
    small.weight, small.bias = weight.to("cpu"), layer.bias
    small.support_avx512bf16_for_cpu = False  # it would round what is learnt with, and not all shapes fit
    return small
