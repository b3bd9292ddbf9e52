"""Freeze parts of a module."""

from collections.abc import Sequence

import pytorch_lightning as pl


class Freeze(pl.Callback):
    """Stop the gradient of every parameter whose name starts with one of ``prefixes``.

    Args:
        prefixes: dotted names within the LightningModule.

    Raises:
        ValueError: a prefix matches no parameter.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        self.prefixes = tuple(prefixes)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Freeze before the optimizer is built."""
        names = [name for name, _ in pl_module.named_parameters()]
        for prefix in self.prefixes:
            if not any(name.startswith(prefix + ".") for name in names):
                raise ValueError(f"stage.freeze={prefix} matches no parameter; names start like {names[0]}")
        for name, parameter in pl_module.named_parameters():
            if name.startswith(tuple(prefix + "." for prefix in self.prefixes)):
                parameter.requires_grad_(False)
