"""What a run takes: ``python -m launch plan model=qwen2_5_vl_72b strategy=deepspeed_zero3``. Imports no torch.

The model is sized in ``architecture.py`` and shared out in ``layouts.py``. Left out are what a stage adds to the model
(a head of ``stage=auxiliary``), the vision tower's own activations, and the loader.
"""

from dataclasses import replace
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Column, Table

from launch.architecture import MODULES, Architecture, read_architecture
from launch.layouts import LAYOUTS, Cluster, Layout, Load, share
from mirage_pl.engine.cli import verb

GIB = 2**30
DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
SHOWN = ("weights", "gradients", "states", "buffers", "activations", "gpu", "host", "disk", "sent")


def run(cfg: DictConfig) -> dict[str, Any]:
    """Print the plan of a run's config and return it.

    Returns:
        ``parameters`` by part; ``trained`` parts; ``layouts`` by name, each with bytes on one of ``gpus`` GPUs, bytes
        sent and the ``smallest`` number of GPUs that it fits on, or ``None``; ``chosen``, that of the run's strategy.

    Raises:
        ValueError: the model isn't known, or a setting is none that can be reckoned with.
    """
    architecture = read_architecture(cfg.model.path, cfg.architectures)
    parts, trained = architecture.parameters(), trained_parts(list(cfg.stage.freeze), architecture.tied)
    cluster, chosen = read_cluster(cfg), read_layout(cfg)
    rows = {layout.name: layout for layout in (*LAYOUTS, chosen)}
    plan: dict[str, Any] = {"parameters": parts, "trained": trained, "gpus": cfg.gpus, "chosen": chosen.name}
    plan["layouts"] = {}
    for name, layout in rows.items():
        load = read_load(cfg, architecture, trained, deepspeed=layout.deepspeed)
        one = share(layout, load, cfg.gpus)
        plan["layouts"][name] = {key: getattr(one, key) for key in SHOWN}
        plan["layouts"][name] |= {"fits": cluster.fits(one, cfg.gpus), "smallest": cluster.smallest(layout, load)}
    show(plan, cfg)
    return plan


def trained_parts(frozen: list[str], tied: bool) -> list[str]:
    """Parts of the model that learn.

    Args:
        frozen: ``stage.freeze``.
        tied: the head is the embedding.

    Raises:
        ValueError: a name is none of a whole part.
    """
    for name in frozen:
        if not any(module == name or module.startswith(name + ".") for module in MODULES.values()):
            raise ValueError(
                f"stage.freeze={name} is no whole part of the model; plan knows {sorted(MODULES.values())}"
            )
    still = {part for part, module in MODULES.items() if any(f"{module}.".startswith(f"{name}.") for name in frozen)}
    return [part for part in MODULES if part not in still and not (part == "head" and tied)]


def read_load(cfg: DictConfig, architecture: Architecture, trained: list[str], deepspeed: bool) -> Load:
    """Put a run's config into numbers.

    A run that recycles hidden states calls the decoder once more for every latent.
    """
    parts, tokens = architecture.parameters(), cfg.loader.max_tokens or cfg.loader.batch_size * cfg.tokens
    weight, activation = widths(cfg, deepspeed)
    positions = min(tokens, cfg.memory.ce_chunk or tokens)
    columns = min(tokens, cfg.tokens)
    kept = architecture.activations(tokens, columns, activation, cfg.memory.checkpointing)
    recycled = cfg.stage.collator.latents and cfg.stage.name != "stage1"
    return Load(
        parameters=sum(parts.values()),
        trained=sum(parts[part] for part in trained),
        unit=max(architecture.layer, parts["embedding"]),
        gathered=parts["layers"] * (cfg.latent_size + 1 if recycled else 1) + parts["embedding"] + parts["head"],
        weight_bytes=weight,
        activation_bytes=kept + architecture.logits(positions, activation),
        accumulate=cfg.trainer.accumulate_grad_batches,
    )


def widths(cfg: DictConfig, deepspeed: bool) -> tuple[int, int]:
    """Bytes of a weight and of an activation.

    ``32-true`` leaves weights as ``model.dtype`` has them. With ``bf16-mixed`` weights are float32, but for DeepSpeed,
    which keeps float32 copies of its own.

    Raises:
        ValueError: another precision.
    """
    given = str(cfg.trainer.precision)
    if given in ("32-true", "32"):
        return DTYPES[cfg.model.dtype], DTYPES[cfg.model.dtype]
    if given in ("bf16-true", "16-true"):
        return 2, 2
    if given in ("bf16-mixed", "16-mixed"):
        return (2 if deepspeed else 4), 2
    raise ValueError(f"trainer.precision={given}: plan knows 32-true, bf16-true, 16-true, bf16-mixed and 16-mixed")


def read_cluster(cfg: DictConfig) -> Cluster:
    """Check what is asked of, and put it in bytes.

    Raises:
        ValueError: a number makes no sense, or the optimizer is no Adam.
    """
    numbers = {"gpus": cfg.gpus, "tokens": cfg.tokens, **{f"cluster.{key}": cfg.cluster[key] for key in cfg.cluster}}
    for name, given in numbers.items():
        if not isinstance(given, int | float) or given <= 0:
            raise ValueError(f"{name}={given} must be a number above 0")
    if "adam" not in (optimizer := str(cfg.stage.module.optimizer._target_)).lower():
        raise ValueError(f"stage.module.optimizer={optimizer}: plan knows the states of Adam and AdamW alone")
    c = cfg.cluster
    gpu, node, disk = c.gpu_gib * c.usable * GIB, c.node_gib * GIB, c.disk_gib * GIB
    return Cluster(gpu, node, disk, int(c.gpus_per_node), int(c.max_nodes))


def read_layout(cfg: DictConfig) -> Layout:
    """Find the layout of ``strategy``; one that isn't listed is named by its numbers.

    Raises:
        ValueError: the strategy is none of those that are known.
    """
    use = cfg.strategy.use
    options: dict[str, Any] = dict(use) if OmegaConf.is_config(use) else {"_target_": use}
    target = str(options["_target_"]).lower()
    offload = [bool(options.get(f"offload_{what}", False)) for what in ("optimizer", "parameters")]
    if "deepspeed" in target:
        disk = "nvme" in (options.get("offload_optimizer_device"), options.get("offload_params_device"))
        wanted = Layout("deepspeed", int(options.get("stage", 2)), True, offload[0], offload[1], disk)
    elif "fsdp" in target or "modelparallel" in target:
        wanted = Layout("fsdp2", 3, deepspeed=False)
    elif target == "auto" or "ddp" in target:
        wanted = Layout("ddp", 0, deepspeed=False)
    else:
        raise ValueError(f"strategy.use={target}: plan knows auto, ddp, fsdp2 and DeepSpeed's ZeRO")
    same = [known for known in LAYOUTS if replace(known, name=wanted.name) == wanted]
    name = f"deepspeed_zero{wanted.stage}" + "".join("_offload" for on in offload[:1] if on)
    return same[0] if same else replace(wanted, name=name + "_other")


def show(plan: dict[str, Any], cfg: DictConfig) -> None:
    """Print parameters, the table, and what it means for the strategy that was chosen."""
    parts, console = plan["parameters"], Console()
    console = Console(width=max(console.width, 144), highlight=False)
    total, trained = sum(parts.values()), sum(parts[part] for part in plan["trained"])
    named = ", ".join(f"{part} {size:,}" for part, size in parts.items() if size)
    console.print(f"{cfg.model.name}: {total:,} parameters ({named}); {trained:,} are trained")
    batch = f"{cfg.loader.max_tokens}" if cfg.loader.max_tokens else f"{cfg.loader.batch_size} x {cfg.tokens}"
    again = ", layers recomputed" if cfg.memory.checkpointing else ""
    unit, name_of_unit = (GIB, "GiB") if total > 1e8 else (2**20, "MiB")
    title = f"{name_of_unit} on each of {cfg.gpus} GPUs, {cfg.trainer.precision}, a batch of {batch} tokens{again}"
    table = Table(Column("layout", no_wrap=True), *SHOWN, "smallest cluster", title=title)
    for name, row in plan["layouts"].items():
        numbers = [f"{row[key] / unit:,.1f}" for key in SHOWN]
        table.add_row(name, *numbers, count(row["smallest"]), style="bold" if name == plan["chosen"] else None)
    console.print(table)
    print(verdict(plan, cfg))


def count(gpus: int | None) -> str:
    """A number of GPUs in words."""
    return "none" if gpus is None else f"{gpus} GPU{'s' if gpus > 1 else ''}"


def verdict(plan: dict[str, Any], cfg: DictConfig) -> str:
    """Say in one line whether the run's own strategy fits."""
    row, cluster, here = plan["layouts"][plan["chosen"]], cfg.cluster, count(cfg.gpus)
    said = f"{plan['chosen']} {'fits' if row['fits'] else 'does not fit'} on {here} of {cluster.gpu_gib:g} GiB"
    if row["smallest"] is None:
        return f"{said}, nor on any number of GPUs in up to {cluster.max_nodes} nodes"
    nodes = -(-row["smallest"] // cluster.gpus_per_node)
    return f"{said}; the smallest cluster that does has {count(row['smallest'])} in {nodes} node{'s' * (nodes > 1)}"


main = verb("plan", "launch.plan.run")
