"""Optimizer groups and learning-rate schedules: pure functions."""

from collections.abc import Mapping, Sequence
from math import cos, pi
from typing import Annotated, Any, Literal

from annotated_types import Ge
from torch.nn import Embedding, Module
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mirage_pl.engine.adapters.parts import locate_parts, part_of
from mirage_pl.engine.checkpoints.parts import whole_shape
from mirage_pl.engine.runs.identity import is_below

REST = "rest"
"""The group of weights that no option of a part is for."""


def parameter_groups(
    module: Module,
    weight_decay: float,
    parts: Mapping[str, Any] | None = None,
    of: Sequence[str] = ("",),
    rates: Mapping[str, float | None] | None = None,
) -> list[dict[str, Any]]:
    """Split trainable parameters into those that decay (matrices) and those that don't (norms, biases, embeddings).

    Args:
        module: whose parameters; a stage's ``parts()`` are known by name.
        weight_decay: of those that decay.
        parts: part of the model, or dotted prefix -> options of an optimizer group, such as ``lr``, for the weights
            below; the longest prefix counts, and ``None`` is no option. ``weight_decay`` applies to matrices, or with
            ``decay_all: true`` to all weights of the part.
        of: dotted prefixes of the weights to return.
        rates: part of the model -> learning rate, as ``lr`` in ``parts``.

    Returns:
        Groups with a ``name``: that of the part, or ``rest``.

    Raises:
        ValueError: no weight is trainable, or none of a part.
    """
    embeddings = {id(p) for m in module.modules() if isinstance(m, Embedding) for p in m.parameters()}
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad and is_below(name, of)}
    if not trainable:
        raise ValueError("nothing is trainable; check stage.freeze")
    places = locate_parts(module) if hasattr(module, "parts") else {}
    options = read_options(parts or {}, rates or {})
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, weight in trainable.items():
        part = choose_options(name, places, options)
        chosen = dict(options.get(part, {}))
        decays = chosen.pop("decay_all", False) or (len(whole_shape(weight)) > 1 and id(weight) not in embeddings)
        decay = chosen.pop("weight_decay", weight_decay) if decays else 0.0
        group = {"params": [], "weight_decay": decay, "name": part, **chosen}
        groups.setdefault((part, decays), group)["params"].append(weight)
    for part in options:
        if of == ("",) and not any((part, decays) in groups for decays in (True, False)):
            key = "parts" if part in (parts or {}) else "lr_by_part"
            there = ", ".join(sorted({part_of(name, places) or REST for name in trainable}))
            raise ValueError(
                f"stage.module.{key}.{part} names nothing that is trained; check it and stage.freeze; what is trained "
                f"belongs to {there}"
            )
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0] != REST, key[0], not key[1]))]


def choose_options(name: str, places: Mapping[str, str], options: Mapping[str, Any]) -> str:
    """The key whose options are for a weight: its own part's, or the longest dotted prefix if that is longer."""
    inner = max((prefix for prefix in places if is_below(name, [prefix])), key=len, default=None)
    keys = {key: key for key in options if key not in places.values() and is_below(name, [key])}
    if inner is not None and places[inner] in options:
        keys[inner] = places[inner]
    return keys[max(keys, key=len)] if keys else REST


def read_options(parts: Mapping[str, Any], rates: Mapping[str, float | None]) -> dict[str, dict[str, Any]]:
    """Part -> options that have a value, for parts with any.

    Raises:
        ValueError: a value isn't a mapping of options.
    """
    given: dict[str, Any] = {str(part): {"lr": rate} for part, rate in rates.items()}
    for part, options in parts.items():
        if not isinstance(options, Mapping):
            raise ValueError(f"stage.module.parts.{part}={options} must be options, such as {{lr: 1.0e-5}}")
        given[str(part)] = {**given.get(str(part), {}), **options}
    chosen = {part: {name: value for name, value in each.items() if value is not None} for part, each in given.items()}
    return {part: options for part, options in chosen.items() if options}


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
