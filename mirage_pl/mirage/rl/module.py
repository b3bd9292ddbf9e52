"""What stages that learn from sampled answers have in common."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mirage_pl.engine.rl.acting import Acting
from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.mirage.module import MirageModule


class AnsweringModule(Acting, MirageModule):
    """Batches of answers beside batches of rows.

    Args:
        bottleneck: must be ``None``: answers are sampled without.
        options: for its bases.

    Raises:
        ValueError: there is a bottleneck.
    """

    def __init__(self, bottleneck: None = None, **options: Any) -> None:
        if bottleneck is not None:
            raise ValueError(
                "a bottleneck hides images in training, but answers are sampled with them; drop bottleneck="
            )
        super().__init__(**options)

    def alike(self, batch: Any, most: Callable[[Sequence[int]], list[int]]) -> Any:
        """Match the rank with the most latent columns, as in other stages."""
        if not isinstance(batch, RolloutBatch):
            return super().alike(batch, most)
        inputs: Any = batch.inputs
        return replace(batch, inputs=replace(inputs, batch=super().alike(inputs.batch, most)))

    def flops(self, batch: Any) -> float:
        """Floating-point operations of a training step on this batch, without those of its rollouts."""
        inputs: Any = batch.inputs if isinstance(batch, RolloutBatch) else None
        return super().flops(batch if inputs is None else inputs.batch)
