"""Optimizer groups and learning-rate schedules: pure functions."""

from collections.abc import Mapping, Sequence
from math import cos, pi
from typing import Any

from torch.nn import Embedding, Module
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mirage_pl.engine.checkpoints.parts import whole_shape


def parameter_groups(
    module: Module, weight_decay: float, parts: Mapping[str, Mapping[str, Any]] | None = None, of: Sequence[str] = ("",)
) -> list[dict[str, Any]]:
    """Split trainable parameters into those that decay (matrices) and those that don't (norms, biases, embeddings).

    Args:
        module: whose parameters.
        weight_decay: of those that decay.
        parts: dotted prefix -> options of an optimizer's group, such as ``lr``, for what lies below; the longest prefix
            counts. ``weight_decay`` is that of its matrices, and of all its weights with ``decay_all: true``.
        of: dotted prefixes of what is asked for.

    Raises:
        ValueError: nothing is trainable, or nothing below the prefix of a part is.
    """
    embeddings = {id(p) for m in module.modules() if isinstance(m, Embedding) for p in m.parameters()}
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad and below(name, of)}
    if not trainable:
        raise ValueError("nothing is trainable; check stage.freeze")
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    options = {"": {}, **(parts or {})}
    for name, weight in trainable.items():
        prefix = max((prefix for prefix in options if below(name, [prefix])), key=len)
        chosen = dict(options[prefix])
        decays = chosen.pop("decay_all", False) or (len(whole_shape(weight)) > 1 and id(weight) not in embeddings)
        decay = chosen.pop("weight_decay", weight_decay) if decays else 0.0
        group = {"params": [], "weight_decay": decay, **chosen}
        groups.setdefault((prefix, decays), group)["params"].append(weight)
    for prefix in parts or {}:
        if of == ("",) and not any((prefix, decays) in groups for decays in (True, False)):
            raise ValueError(f"stage.module.parts.{prefix} names nothing that is trained; check it and stage.freeze")
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0], not key[1]))]


def below(name: str, prefixes: Sequence[str]) -> bool:
    """Whether a dotted name is one of these or lies below one; everything lies below the empty one."""
    return any(not prefix or f"{name}.".startswith(f"{prefix}.") for prefix in prefixes)


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
