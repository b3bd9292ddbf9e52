"""Parameters and activations of a run of Mirage, computed from the ``config.json`` of its Qwen2.5-VL.

Imports no torch. Not counted: what a stage adds to the model (the head of ``stage=auxiliary``), and the activations of
the vision tower. Tests compare with counts on the real model.

Symbols: h width, i inner width of the MLP, n query heads, kv width of all keys
of a token, L layers, V vocabulary, e bytes of an activation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mirage_pl.engine.seams import Footprint

MODULES = {
    "tower": "net.backbone.model.visual",
    "embedding": "net.backbone.model.language_model.embed_tokens",
    "layers": "net.backbone.model.language_model.layers",
    "head": "net.backbone.lm_head",
}
"""Part of the model -> how the names of its parameters begin. The last norm is counted among the layers."""
ROWS = 3
"""Latent tokens, whose rows are trained beside adapters."""
WHOLE = {"language": ["embedding", "layers", "head"], "vision": ["tower"], "merger": ["tower"]}
"""Part that ``lora.whole`` names -> parts that are counted as trained; a merger isn't counted apart from its tower."""


@dataclass(frozen=True)
class Architecture:
    """The sizes of a Qwen2.5-VL.

    Attributes:
        text: ``text_config``.
        vision: ``vision_config``.
        tied: the head is the embedding.
    """

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    tied: bool

    @property
    def key_width(self) -> int:
        """kv: width of the keys of one token, all heads together."""
        width, heads = self.text["hidden_size"], self.text["num_attention_heads"]
        return int(width // heads * self.text["num_key_value_heads"])

    @property
    def layer(self) -> int:
        """Parameters of one decoder layer: four projections, of which three have a bias, the MLP, two norms."""
        h, kv, i = self.text["hidden_size"], self.key_width, self.text["intermediate_size"]
        return int((h * h + h) + 2 * (h * kv + kv) + h * h + 3 * h * i + 2 * h)

    def parameters(self) -> dict[str, int]:
        """Part -> parameters; a head tied to the embedding has none of its own."""
        h, vocabulary = self.text["hidden_size"], self.text["vocab_size"] * self.text["hidden_size"]
        layers = self.layer * self.text["num_hidden_layers"] + h
        return {
            "tower": self.tower,
            "embedding": vocabulary,
            "layers": layers,
            "head": 0 if self.tied else vocabulary,
        }

    def linear(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Part that may get adapters -> name of each of its linear layers -> widths of its input and output."""
        h, kv, i, v = self.text["hidden_size"], self.key_width, self.text["intermediate_size"], self.vision
        w, j, merged = v["hidden_size"], v["intermediate_size"], v["hidden_size"] * v["spatial_merge_size"] ** 2
        layer = {"self_attn.q_proj": (h, h), "self_attn.k_proj": (h, kv), "self_attn.v_proj": (h, kv)}
        layer |= {"self_attn.o_proj": (h, h), "mlp.gate_proj": (h, i), "mlp.up_proj": (h, i), "mlp.down_proj": (i, h)}
        block = {"attn.qkv": (w, 3 * w), "attn.proj": (w, w)}
        block |= {"mlp.gate_proj": (w, j), "mlp.up_proj": (w, j), "mlp.down_proj": (j, w)}
        layers, blocks = range(self.text["num_hidden_layers"]), range(v["depth"])
        return {
            "language": {f"layers.{at}.{name}": sizes for at in layers for name, sizes in layer.items()},
            "vision": {f"blocks.{at}.{name}": sizes for at in blocks for name, sizes in block.items()},
            "merger": {"merger.mlp.0": (merged, merged), "merger.mlp.2": (merged, v["out_hidden_size"])},
        }

    def adapter(self, lora: Mapping[str, Any]) -> int:
        """Parameters that ``lora`` adds: two matrices for each layer, with DoRA a length for each column, rows."""
        layers = {name: sizes for part in lora["parts"] for name, sizes in self.linear().get(part, {}).items()}
        patterns = ["*"] if lora["layers"] == "all-linear" else lora["layers"]
        chosen = [sizes for name, sizes in layers.items() if any(fnmatchcase(f".{name}", f"*.{p}") for p in patterns)]
        rows = (1 if self.tied else 2) * ROWS * self.text["hidden_size"] if lora["rows"] else 0
        return rows + sum(lora["rank"] * (i + o) + (o if lora["dora"] else 0) for i, o in chosen)

    @property
    def tower(self) -> int:
        """Parameters of the vision tower: patch embedding, blocks, merger."""
        v = self.vision
        w, i, merged = v["hidden_size"], v["intermediate_size"], v["hidden_size"] * v["spatial_merge_size"] ** 2
        patches = w * v["in_channels"] * v["temporal_patch_size"] * v["patch_size"] ** 2
        block = (3 * w * w + 3 * w) + (w * w + w) + (3 * w * i + 2 * i + w) + 2 * w
        merger = w + (merged * merged + merged) + (merged * v["out_hidden_size"] + v["out_hidden_size"])
        return int(patches + block * v["depth"] + merger)

    def layer_activations(self, columns: int, bytes_each: int) -> int:
        """Bytes that one decoder layer keeps for its gradient, per token.

        Two norms work in float32 and keep their input (4h), its scale (4), and their result twice (2eh). Attention
        keeps query, keys and values repeated for all heads, and its output (4eh), one logarithm per head (4n) and a row
        of the mask (e per column). The MLP keeps gate, activated gate, up and their product (4ei).

        Args:
            columns: padded length of a row.
            bytes_each: e.
        """
        h, i, n = (self.text[name] for name in ("hidden_size", "intermediate_size", "num_attention_heads"))
        norms = 2 * (4 * h + 4 + 2 * bytes_each * h)
        return int(norms + bytes_each * (4 * h + columns) + 4 * n + 4 * bytes_each * i)

    def activations(self, tokens: int, columns: int, bytes_each: int, checkpointing: bool) -> int:
        """Bytes that the decoder keeps for the gradient of one batch.

        With checkpointing each layer keeps its input, keys and values, and one layer at a time keeps everything.

        Args:
            tokens: of the batch, padding included.
            columns: padded length of a row.
            bytes_each: of an activation.
            checkpointing: ``memory.checkpointing``.
        """
        layers, whole = self.text["num_hidden_layers"], self.layer_activations(columns, bytes_each)
        if not checkpointing:
            return int(tokens * whole * layers)
        checkpointed = bytes_each * (self.text["hidden_size"] + 2 * self.key_width)
        return int(tokens * (checkpointed * layers + whole))

    def logits(self, positions: int, bytes_each: int) -> int:
        """Bytes of the logits of some positions: as computed, in float32, and their gradient in float32."""
        return int(positions * self.text["vocab_size"] * (bytes_each + 8))


def read_footprint(cfg: DictConfig, activation_bytes: int) -> Footprint:
    """Compute the footprint of a run; one that recycles hidden states calls the decoder once more for every latent.

    Args:
        cfg: the run's config, with ``row_tokens``, the padded tokens of a row.
        activation_bytes: bytes of one activation.

    Raises:
        ValueError: the model isn't known, a size can't be, or ``stage.freeze`` names something else than a whole part.
    """
    check_sizes(cfg)
    architecture = read_architecture(cfg.model.path, cfg.model.sizes)
    parts, tokens = architecture.parameters(), cfg.loader.max_tokens or cfg.loader.batch_size * cfg.row_tokens
    positions = min(tokens, cfg.memory.ce_chunk or tokens)
    activation = architecture.activations(
        tokens, min(tokens, cfg.row_tokens), activation_bytes, cfg.memory.checkpointing
    )
    passes = cfg.latent_size + 1 if cfg.stage.recycles else 1
    trained = trained_parts(list(cfg.stage.freeze), architecture.tied)
    if cfg.lora:
        parts["adapter"] = architecture.adapter(cfg.lora)
        trained = ["adapter", *dict.fromkeys(part for name in cfg.lora.whole for part in WHOLE.get(name, []))]
    return Footprint(
        parameters=parts,
        trained=trained,
        unit=max(architecture.layer, parts["embedding"]),
        gathered=parts["layers"] * passes + parts["embedding"] + parts["head"],
        activation_bytes=activation + architecture.logits(positions, activation_bytes),
        batch=f"{tokens if cfg.loader.max_tokens else f'{cfg.loader.batch_size} x {cfg.row_tokens}'} tokens",
    )


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


def trained_parts(frozen: Sequence[str], tied: bool) -> list[str]:
    """List the parts of the model that learn.

    Args:
        frozen: ``stage.freeze``.
        tied: the head is the embedding.

    Raises:
        ValueError: a name isn't that of a whole part.
    """
    for name in frozen:
        if not any(module == name or module.startswith(name + ".") for module in MODULES.values()):
            raise ValueError(
                f"stage.freeze={name} is no whole part of the model; plan knows {sorted(MODULES.values())}"
            )
    fixed = {part for part, module in MODULES.items() if any(f"{module}.".startswith(f"{name}.") for name in frozen)}
    return [part for part in MODULES if part not in fixed and not (part == "head" and tied)]


def read_architecture(path: str, sizes: Mapping[str, Any] | None) -> Architecture:
    """Read a model's sizes from the ``config.json`` in its folder, else from the run's config.

    Args:
        path: ``model.path``.
        sizes: ``model.sizes``.

    Raises:
        ValueError: neither has them.
    """
    file = Path(path) / "config.json"
    if not file.is_file() and sizes is None:
        raise ValueError(
            f"model.path={path} is no folder with a config.json, and model.sizes doesn't say what is in it; give one"
        )
    config: Any = json.loads(file.read_text()) if file.is_file() else sizes
    text, vision = config.get("text_config", config), config.get("vision_config")
    if vision is None or "hidden_size" not in text:
        raise ValueError(f"{file} is no config of a Qwen2.5-VL: it has no vision_config or no hidden_size")
    return Architecture(text, vision, bool(config.get("tie_word_embeddings", False)))
