"""A model without its adapter, for a while: what it is trained beside, without a second model in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from mirage_pl.engine.adapters.rows import Rows
from mirage_pl.engine.checkpoints.parts import whole


class AdapterOff:
    """``reference`` of a stage that trains an adapter: the model without it."""

    @contextmanager
    def __call__(self, net: nn.Module) -> Iterator[None]:
        """A time in which a network computes what it would without its adapter and trained rows."""
        layers, rows = list_adapters(net), [each for each in net.modules() if isinstance(each, Rows)]
        try:
            for layer in layers:
                layer._disable_adapters = True  # disable_adapters() would also stop their gradients for good
            for each in rows:
                each.off = True
            yield
        finally:
            for layer in layers:
                layer._disable_adapters = False
            for each in rows:
                each.off = False


def list_adapters(net: nn.Module) -> list[Any]:
    """peft's layers in a network."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [each for each in net.modules() if isinstance(each, BaseTunerLayer)]


def check_new_adapter(module: Any) -> None:
    """Refuse a stage that is no other without its adapter, or another than it began with.

    Args:
        module: a stage before its first step; all ranks enter together.

    Raises:
        ValueError: there is no adapter; or it isn't new; or parts of the model are trained themselves.
    """
    if not module.base:
        raise ValueError(
            "reference=adapter_off is the model without its adapter, and this run has none; set lora=lora, or "
            "reference=copy"
        )
    beside = "reference=adapter_off is the model without its adapter, which isn't what this run starts from"
    if any(has_learnt(layer) for layer in list_adapters(module)):
        raise ValueError(
            f"{beside}: the adapter of its start is trained on; change a value of lora=, such as lora.alpha, so that a "
            "new one begins beside the merged weights, or set reference=copy"
        )
    if whole_parts := list_whole(module.net):
        raise ValueError(
            f"{beside} either, once {whole_parts[0]} has learnt, which lora.whole trains itself; set lora.whole=[], or "
            "reference=copy"
        )


def list_whole(net: nn.Module) -> list[str]:
    """Names of the weights that are trained themselves, beside adapters and rows."""
    owners = [*list_adapters(net), *(each for each in net.modules() if isinstance(each, Rows))]
    added = {id(weight) for owner in owners for weight in owner.parameters()}
    return [name for name, weight in net.named_parameters() if weight.requires_grad and id(weight) not in added]


def has_learnt(layer: Any) -> bool:
    """Whether a low-rank adapter adds anything; a new one doesn't."""
    for factor in layer.lora_B.values():
        with whole(factor.weight) as weight:
            if weight.abs().max() > 0:
                return True
    return False
