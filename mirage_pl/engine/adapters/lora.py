"""Low-rank adapters through peft, put into a module in place: its classes, and who calls what, stay as they are."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from mirage_pl.engine.adapters.bits import quantize_layers
from mirage_pl.engine.adapters.parts import locate_parts, part_of
from mirage_pl.engine.adapters.rows import merge_rows, train_rows

ALL = "all-linear"


@dataclass(frozen=True)
class Lora:
    """What is trained beside a frozen model: ``conf/lora``. Two that are equal give the same weights the same meaning.

    Attributes:
        rank: width of the product that is added to a layer's weight.
        alpha: what is added is multiplied by ``alpha / rank``.
        parts: the parts of the model whose layers get adapters, by the family's names.
        layers: ``all-linear``, or patterns of the names of linear layers or of their ends, such as ``q_proj``.
        rows: train the rows of the family's added tokens in embedding and head.
        whole: parts that are trained themselves.
        dora: learn the length of each column of a weight apart from its direction (arXiv 2402.09353).
        bits: 4: store the linear layers of ``parts`` in four bits; ``None``: as loaded.
        dropout: of what goes into an adapter, in training.
        name: of the config.
    """

    rank: int
    alpha: float
    parts: Sequence[str]
    layers: str | Sequence[str] = ALL
    rows: bool = True
    whole: Sequence[str] = ()
    dora: bool = False
    bits: int | None = None
    dropout: float = field(default=0.0, compare=False)
    name: str = field(default="lora", compare=False)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"lora.rank={self.rank} must be 1 or more; 16 is usual")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"lora.dropout={self.dropout} must be from 0 to below 1")
        if self.bits not in (None, 4):
            raise ValueError(f"lora.bits={self.bits} must be 4, or null for weights as they were loaded")
        if isinstance(self.layers, str) and self.layers != ALL:
            raise ValueError(f"lora.layers={self.layers} must be {ALL}, or a list: lora.layers=[{self.layers}]")

    def list_frozen(self, module: Any) -> list[str]:
        """Names of the weights that an adapter leaves as they are: those of all parts but ``whole``.

        Args:
            module: a stage, before :meth:`inject`.

        Raises:
            ValueError: a part that the model doesn't have.
        """
        places = locate_parts(module)
        for key, parts in (("parts", self.parts), ("whole", self.whole)):
            for part in parts:
                if part not in places.values():
                    there = ", ".join(sorted(set(places.values()))) or "none, so lora can't be used"
                    raise ValueError(f"lora.{key}={list(parts)}: the model has no part {part}; its parts are {there}")
        parameters = module.named_parameters(remove_duplicate=False)
        return [name for name, _ in parameters if part_of(name, places) not in (None, *self.whole)]

    def inject(self, module: Any, seed: int = 0, plain: bool = False) -> None:
        """Freeze the model and put adapters in, in place.

        Args:
            module: a stage with its own weights loaded.
            seed: of the adapters' first weights.
            plain: give what :meth:`merge` can merge exactly: layers of four bits are plain ones of the same values.

        Raises:
            ValueError: nothing to train is found.
        """
        frozen = self.list_frozen(module)
        linear = list_layers(module, self.parts)
        chosen = choose_layers(linear, self.layers, self.parts)
        for name in frozen:
            module.get_parameter(name).requires_grad_(False)
        trained = {id(weight) for weight in module.parameters() if weight.requires_grad}
        if self.bits == 4:
            quantize_layers(module, linear, back=plain)
        own = {id(weight) for weight in module.parameters()}
        if chosen:
            self._inject_layers(module, chosen, seed)
        for weight in module.parameters():
            if id(weight) not in own:  # in bfloat16 small steps would be lost
                weight.data = weight.data.to(torch.promote_types(weight.dtype, torch.float32))
            weight.requires_grad_(id(weight) in trained or id(weight) not in own)
        if self.rows and (vocabulary := module.vocabulary()):
            train_rows(*vocabulary)
        if not any(weight.requires_grad for weight in module.parameters()):
            raise ValueError("lora.layers=[] with lora.rows=false and no lora.whole trains nothing; set one of them")

    def _inject_layers(self, module: nn.Module, names: Sequence[str], seed: int) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        options = {"r": self.rank, "lora_alpha": self.alpha, "lora_dropout": self.dropout, "use_dora": self.dora}
        config = LoraConfig(target_modules=list(names), **options)
        with torch.random.fork_rng(devices=[]):  # as ZeRO-3 draws less than others before
            torch.manual_seed(seed)
            inject_adapter_in_model(config, module)

    @torch.no_grad()
    def merge(self, module: Any) -> None:
        """Add adapters to the weights that they stand beside, and take them away: a plain model again, in place.

        Args:
            module: after :meth:`inject` with ``plain``.
        """
        from peft.tuners.tuners_utils import BaseTunerLayer

        for name, layer in list(module.named_modules()):
            if isinstance(layer, BaseTunerLayer):
                base: Any = layer.get_base_layer()
                dtype = base.weight.dtype
                base.to(torch.promote_types(dtype, torch.float32))  # rounded once
                layer.merge()
                parent, _, leaf = name.rpartition(".")
                setattr(module.get_submodule(parent), leaf, base.to(dtype))
        merge_rows(module)
        vars(module).pop("peft_config", None)


def list_layers(module: Any, parts: Collection[str]) -> list[str]:
    """Names of the linear layers of some parts of a stage's model, without its head."""
    places, vocabulary = locate_parts(module), module.vocabulary()
    head = vocabulary[1] if vocabulary else None
    return [
        name
        for name, layer in module.named_modules()
        if type(layer) is nn.Linear and layer is not head and part_of(name, places) in parts
    ]


def choose_layers(names: Sequence[str], patterns: str | Sequence[str], parts: Collection[str]) -> list[str]:
    """The layers that match a pattern.

    Raises:
        ValueError: a pattern matches none; lists what could be matched.
    """
    if patterns == ALL:
        if not names:
            raise ValueError(f"lora.layers={ALL}: {', '.join(parts) or 'no part'} has no linear layer; see lora.parts")
        return list(names)
    matches = {pattern: [name for name in names if is_match(name, pattern)] for pattern in patterns}
    for pattern, matched in matches.items():
        if not matched:
            there = ", ".join(sorted({name.rpartition(".")[2] for name in names})) or "none"
            raise ValueError(
                f"lora.layers: {pattern} matches no linear layer of {', '.join(parts)}; their names end in {there}"
            )
    return sorted({name for matched in matches.values() for name in matched}, key=list(names).index)


def is_match(name: str, pattern: str) -> bool:
    """Whether a pattern is that of a dotted name, or of its end."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")
