"""Parameters and activations of a run of Mirage: its model is built without weights, by its config alone, and counted.

Not counted: what a stage adds to the model (the head of ``stage=auxiliary``), the rows that an embedding grows by for
latent tokens, and the activations of the vision tower. Activations are those of layers that attend; a layer that keeps
a state (Qwen3.5) is taken for one.

Symbols: h width, i inner width of the MLP, n query heads, d head width, L layers, V vocabulary, e bytes of an
activation.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText

from mirage_pl.engine.adapters.lora import choose_layers, list_layers
from mirage_pl.engine.seams import Footprint
from mirage_pl.mirage.stock.find import find_architecture, list_architectures
from mirage_pl.mirage.stock.flops import heads_width

ROWS = 3
"""Latent tokens, whose rows are trained beside adapters."""
WHOLE = {"language": ["embedding", "layers", "head"], "vision": ["tower"], "merger": ["merger"]}
"""Part that ``lora`` names -> parts that are counted."""


class Skeleton(nn.Module):
    """A model without weights, named as in a stage's module.

    Args:
        config: of the stock model.
    """

    def __init__(self, config: Any) -> None:
        super().__init__()
        with torch.device("meta"):
            self.net = nn.ModuleDict({"backbone": AutoModelForImageTextToText.from_config(config)})
        self.stock = find_architecture(self.net["backbone"])

    @property
    def text(self) -> Any:
        """Config of the language model."""
        return self.stock.text_config

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """As those of a stage."""
        return self.stock.parts

    def vocabulary(self) -> tuple[nn.Module, nn.Module, Sequence[int]]:
        """Embedding and head; the latent tokens have no ids here."""
        return self.net["backbone"].get_input_embeddings(), self.stock.head, ()  # type: ignore[operator]

    @cached_property
    def weights(self) -> dict[str, dict[str, int]]:
        """Part -> name of each of its weights -> how many numbers; a head tied to the embedding has none of its own."""
        embedding, head, _ = self.vocabulary()
        modules = {"embedding": [embedding], "head": [head], "merger": self.stock.merger, "tower": self.stock.tower}
        part_of = {id(p): part for part in reversed(modules) for module in modules[part] for p in module.parameters()}
        part_of |= {id(p): "embedding" for p in embedding.parameters()}
        weights: dict[str, dict[str, int]] = {part: {} for part in ("tower", "merger", "embedding", "layers", "head")}
        for name, weight in self.named_parameters():
            weights[part_of.get(id(weight), "layers")][name] = weight.numel()
        return weights

    def parameters_by_part(self) -> dict[str, int]:
        """Part -> parameters; the last norm is counted among the layers."""
        return {part: sum(weights.values()) for part, weights in self.weights.items()}

    @property
    def layer(self) -> int:
        """Parameters of the largest decoder layer."""
        return max(sum(weight.numel() for weight in layer.parameters()) for layer in self.stock.decoder.layers)

    def adapter(self, lora: Mapping[str, Any]) -> int:
        """Parameters that ``lora`` adds: two matrices for each layer, with DoRA a length for each column, rows."""
        names = list_layers(self, lora["parts"])
        chosen: list[Any] = [self.get_submodule(name) for name in choose_layers(names, lora["layers"], lora["parts"])]
        tied = not self.weights["head"]
        rows = (1 if tied else 2) * ROWS * self.text.hidden_size if lora["rows"] else 0
        sizes = [(layer.in_features, layer.out_features) for layer in chosen]
        return rows + sum(lora["rank"] * (i + o) + (o if lora["dora"] else 0) for i, o in sizes)

    def layer_activations(self, columns: int, bytes_each: int) -> int:
        """Bytes that one decoder layer keeps for its gradient, per token.

        Norms work in float32 and keep their input (4 bytes a number), its scale (4), and their result twice (2e).
        Attention keeps query, keys and values repeated for all heads, and its output (4end), one logarithm per head
        (4n) and a row of the mask (e per column). The MLP keeps gate, activated gate, up and their product (4ei).

        Args:
            columns: padded length of a row.
            bytes_each: e.
        """
        text, heads = self.text, self.text.num_attention_heads
        width = heads_width(text)
        norms = [(name, w.numel()) for name, w in self.stock.decoder.layers[-1].named_parameters() if "norm" in name]
        times = {"q_norm": heads, "k_norm": text.num_key_value_heads}  # once for each head
        kept = sum(times.get(name.split(".")[-2], 1) * (4 * size + 4 + 2 * bytes_each * size) for name, size in norms)
        attention = bytes_each * (4 * width + columns) + 4 * heads
        return int(kept + attention + 4 * bytes_each * text.intermediate_size)

    def activations(self, tokens: int, columns: int, bytes_each: int, checkpointing: bool) -> int:
        """Bytes that the decoder keeps for the gradient of one batch.

        With checkpointing each layer keeps its input, keys and values, and one layer at a time keeps everything.

        Args:
            tokens: of the batch, padding included.
            columns: padded length of a row.
            bytes_each: of an activation.
            checkpointing: ``memory.checkpointing``.
        """
        layers, whole = self.text.num_hidden_layers, self.layer_activations(columns, bytes_each)
        if not checkpointing:
            return int(tokens * whole * layers)
        keys = heads_width(self.text) // self.text.num_attention_heads * self.text.num_key_value_heads
        return int(tokens * (bytes_each * (self.text.hidden_size + 2 * keys) * layers + whole))

    def logits(self, positions: int, bytes_each: int) -> int:
        """Bytes of the logits of some positions: as computed, in float32, and their gradient in float32."""
        return int(positions * self.text.vocab_size * (bytes_each + 8))

    def trained_parts(self, frozen: Sequence[str]) -> list[str]:
        """List the parts of the model that learn.

        Args:
            frozen: ``stage.freeze``.

        Raises:
            ValueError: a name isn't that of a whole part.
        """
        trained = []
        for part, weights in self.weights.items():
            still = [name for name in weights if name.startswith(tuple(f"{prefix}." for prefix in frozen))]
            if still and len(still) < len(weights):
                prefix = next(each for each in frozen if still[0].startswith(f"{each}."))
                raise ValueError(f"stage.freeze={prefix} is no whole part of the model, but a piece of its {part}")
            if weights and not still:
                trained.append(part)
        for prefix in frozen:
            if not any(name.startswith(f"{prefix}.") for weights in self.weights.values() for name in weights):
                raise ValueError(f"stage.freeze={prefix} is no whole part of the model; it has no weights of that name")
        return trained


def read_footprint(cfg: DictConfig, activation_bytes: int) -> Footprint:
    """Compute the footprint of a run; one that recycles hidden states calls the decoder as its recurrence does.

    Args:
        cfg: the run's config, with ``row_tokens``, the padded tokens of a row.
        activation_bytes: bytes of one activation.

    Raises:
        ValueError: the model isn't known, a size can't be, or ``stage.freeze`` names something else than a whole part.
    """
    check_sizes(cfg)
    skeleton = build_skeleton(cfg.model.path, cfg.model.sizes)
    parts, tokens = skeleton.parameters_by_part(), cfg.loader.max_tokens or cfg.loader.batch_size * cfg.row_tokens
    positions = min(tokens, cfg.memory.ce_chunk or tokens)
    activation = skeleton.activations(tokens, min(tokens, cfg.row_tokens), activation_bytes, cfg.memory.checkpointing)
    passes = count_passes(cfg) if cfg.stage.recycles else 1
    if cfg.lora:
        parts["adapter"] = skeleton.adapter(cfg.lora)
        trained = ["adapter", *dict.fromkeys(part for name in cfg.lora.whole for part in WHOLE.get(name, []))]
    else:
        trained = skeleton.trained_parts(list(cfg.stage.freeze))
    return Footprint(
        parameters=parts,
        trained=trained,
        unit=max(skeleton.layer, parts["embedding"]),
        gathered=parts["layers"] * passes + parts["embedding"] + parts["head"],
        activation_bytes=activation + skeleton.logits(positions, activation_bytes),
        batch=f"{tokens if cfg.loader.max_tokens else f'{cfg.loader.batch_size} x {cfg.row_tokens}'} tokens",
    )


def count_passes(cfg: DictConfig) -> int:
    """How often a row with one block calls the decoder: before it, for it, and after it."""
    k, recurrence = int(cfg.latent_size), cfg.recurrence
    if "count" in recurrence:  # queries
        return 3
    return min(int(recurrence.get("sweeps", k)), k) + 1


def check_sizes(cfg: DictConfig) -> None:
    """Refuse latents that fill more than a row, and chunks without a position.

    Raises:
        ValueError: names the key.
    """
    if not isinstance(cfg.latent_size, int) or not 1 <= cfg.latent_size < cfg.row_tokens:
        raise ValueError(
            f"latent_size={cfg.latent_size} must be from 1 to {cfg.row_tokens - 1}: latents are part of a row, of "
            f"row_tokens={cfg.row_tokens}"
        )
    if cfg.memory.ce_chunk is not None and cfg.memory.ce_chunk < 1:
        raise ValueError(f"memory.ce_chunk={cfg.memory.ce_chunk} must be 1 or more, or null for all positions at once")


def build_skeleton(path: str, sizes: Mapping[str, Any] | None) -> Skeleton:
    """Build a model by the ``config.json`` in its folder, else by the run's config.

    Args:
        path: ``model.path``.
        sizes: ``model.sizes``.

    Raises:
        ValueError: neither has it, or it is of an architecture that the engine doesn't run.
    """
    file = Path(path) / "config.json"
    if not file.is_file() and sizes is None:
        raise ValueError(
            f"model.path={path} is no folder with a config.json, and model.sizes doesn't say what is in it; give one"
        )
    numbers = OmegaConf.to_container(sizes) if isinstance(sizes, DictConfig) else sizes
    return read_skeleton(file.read_text() if file.is_file() else json.dumps(numbers), str(file))


@lru_cache(2)
def read_skeleton(text: str, file: str) -> Skeleton:
    """Build the model that a text in JSON describes; ``file`` is for the error."""
    content = json.loads(text)
    architecture, known = content.pop("model_type", None), list_architectures()
    if architecture not in known:
        raise ValueError(f"{file} is of another architecture, {architecture}; plan knows {', '.join(known)}")
    return Skeleton(AutoConfig.for_model(architecture, **content))
