"""Optimizers whose states take eight bits, by bitsandbytes, an extra."""

from typing import Any

from torch.optim import Optimizer

from mirage_pl.engine.adapters.bits import need_bitsandbytes


def adamw_8bit(groups: list[dict[str, Any]], paged: bool = False, **options: Any) -> Optimizer:
    """AdamW with block-wise states of eight bits.

    Args:
        groups: of parameters.
        paged: keep states in memory that a GPU takes from the host as it needs it.
        options: of ``bitsandbytes.optim.AdamW8bit``: ``lr``, ``betas``, ``eps``, ``min_8bit_size``.

    Raises:
        ValueError: bitsandbytes isn't installed; says how to.
    """
    need_bitsandbytes("optimizer=adamw_8bit")
    import bitsandbytes as bnb

    plain = {name: tuple(value) if name == "betas" else value for name, value in options.items()}
    optimizer: Optimizer = bnb.optim.AdamW8bit(groups, is_paged=paged, **plain)
    return optimizer
