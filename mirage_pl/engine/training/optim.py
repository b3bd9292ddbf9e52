"""Optimizer groups and learning-rate schedules: pure functions."""

from collections.abc import Iterable
from math import cos, pi
from typing import Any

from torch.nn import Embedding, Module, Parameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mirage_pl.engine.checkpoints.parts import whole_shape


def parameter_groups(module: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Split trainable parameters into those that decay (matrices) and those that don't (norms, biases, embeddings).

    Raises:
        ValueError: nothing is trainable.
    """
    embeddings = {id(p) for m in module.modules() if isinstance(m, Embedding) for p in m.parameters()}
    trainable: Iterable[Parameter] = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in trainable if len(whole_shape(p)) > 1 and id(p) not in embeddings]
    rest = [p for p in trainable if len(whole_shape(p)) <= 1 or id(p) in embeddings]
    if not (decayed or rest):
        raise ValueError("nothing is trainable; check stage.freeze")
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def warmup(optimizer: Optimizer, total_steps: int, warmup_steps: int, shape: str, final: float) -> LambdaLR:
    """Linear warm-up, then ``cosine``, ``linear`` or ``constant`` decay to ``final`` times the learning rate.

    Args:
        optimizer: what is scheduled.
        total_steps: optimizer steps of the run.
        warmup_steps: steps until the full learning rate.
        shape: of the decay.
        final: share of the learning rate that is left at the end.

    Raises:
        ValueError: unknown shape.
    """
    shapes = {"cosine": lambda x: (1 + cos(pi * x)) / 2, "linear": lambda x: 1 - x, "constant": lambda x: 1.0}
    if shape not in shapes:
        raise ValueError(f"stage.schedule.shape={shape} is unknown; choose one of {', '.join(shapes)}")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final + (1 - final) * shapes[shape](done)

    return LambdaLR(optimizer, factor)
