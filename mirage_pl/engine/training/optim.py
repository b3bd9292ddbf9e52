"""Optimizer groups and learning-rate schedules: pure functions."""

from collections.abc import Mapping, Sequence
from math import cos, pi
from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch.nn import Embedding, Module
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mirage_pl.engine.checkpoints.parts import whole_shape
from mirage_pl.engine.runs.identity import is_below


def parameter_groups(
    module: Module, weight_decay: float, parts: Mapping[str, Mapping[str, Any]] | None = None, of: Sequence[str] = ("",)
) -> list[dict[str, Any]]:
    """Split trainable parameters into those that decay (matrices) and those that don't (norms, biases, embeddings).

    Args:
        module: whose parameters.
        weight_decay: of those that decay.
        parts: dotted prefix -> options of an optimizer group, such as ``lr``, for the weights below; the longest prefix
            counts. ``weight_decay`` applies to matrices, or with ``decay_all: true`` to all weights of the part.
        of: dotted prefixes of the weights to return.

    Raises:
        ValueError: no weight is trainable, or none below the prefix of a part.
    """
    embeddings = {id(p) for m in module.modules() if isinstance(m, Embedding) for p in m.parameters()}
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad and is_below(name, of)}
    if not trainable:
        raise ValueError("nothing is trainable; check stage.freeze")
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    options = {"": {}, **(parts or {})}
    for name, weight in trainable.items():
        prefix = max((prefix for prefix in options if is_below(name, [prefix])), key=len)
        chosen = dict(options[prefix])
        decays = chosen.pop("decay_all", False) or (len(whole_shape(weight)) > 1 and id(weight) not in embeddings)
        decay = chosen.pop("weight_decay", weight_decay) if decays else 0.0
        group = {"params": [], "weight_decay": decay, **chosen}
        groups.setdefault((prefix, decays), group)["params"].append(weight)
    for prefix in parts or {}:
        if of == ("",) and not any((prefix, decays) in groups for decays in (True, False)):
            raise ValueError(f"stage.module.parts.{prefix} names nothing that is trained; check it and stage.freeze")
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], not key[1]))]


def warmup(
    optimizer: Optimizer,
    total_steps: int,
    warmup_steps: Annotated[int, Ge(0)],
    shape: Literal["cosine", "linear", "constant"],
    final: Annotated[float, Ge(0)],
) -> LambdaLR:
    """Linear warm-up, then ``cosine``, ``linear`` or ``constant`` decay to ``final`` times the learning rate.

    Args:
        optimizer: what is scheduled.
        total_steps: optimizer steps of the run.
        warmup_steps: steps until the full learning rate.
        shape: of the decay.
        final: final learning rate as a fraction of the full one.
    """
    shapes = {"cosine": lambda x: (1 + cos(pi * x)) / 2, "linear": lambda x: 1 - x, "constant": lambda x: 1.0}

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final + (1 - final) * shapes[shape](done)

    return LambdaLR(optimizer, factor)
