"""What a run takes: ``python -m launch plan model=qwen2_5_vl_72b strategy=deepspeed_zero3``.

The model is sized by its family (the config key ``footprint``), which may need torch, and shared out in ``layouts.py``.
"""

from dataclasses import replace
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from launch.layouts import LAYOUTS, Cluster, Layout, Load, share
from mirage_pl.engine.cli import verb
from mirage_pl.engine.console import Grid, print_grid
from mirage_pl.engine.keys import check_keys
from mirage_pl.engine.seams import Footprint
from mirage_pl.engine.value_types import write_value

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
    check_keys(cfg, "plan")
    cluster, chosen = read_cluster(cfg), read_layout(cfg)
    rows = {layout.name: layout for layout in (*LAYOUTS, chosen)}
    layouts = {}
    for name, layout in rows.items():
        weight, activation = widths(cfg, layout.deepspeed)
        footprint: Footprint = get_method(cfg.footprint)(cfg, activation)
        load = read_load(footprint, weight, cfg.trainer.accumulate_grad_batches)
        one = share(layout, load, cfg.gpus)
        fits = {"fits": cluster.fits(one, cfg.gpus), "smallest": cluster.smallest(layout, load)}
        layouts[name] = {key: getattr(one, key) for key in SHOWN} | fits
    model = {"parameters": dict(footprint.parameters), "trained": list(footprint.trained)}
    plan = {**model, "gpus": cfg.gpus, "chosen": chosen.name, "layouts": layouts}
    print_plan(plan, cfg, footprint.batch)
    return plan


def read_load(footprint: Footprint, weight_bytes: int, accumulate: int) -> Load:
    """What is to be shared out."""
    return Load(
        parameters=sum(footprint.parameters.values()),
        trained=sum(footprint.parameters[part] for part in footprint.trained),
        unit=footprint.unit,
        gathered=footprint.gathered,
        weight_bytes=weight_bytes,
        activation_bytes=footprint.activation_bytes,
        accumulate=accumulate,
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
    raise ValueError(
        f"trainer.precision={write_value(cfg.trainer.precision)}: plan knows 32-true, bf16-true, 16-true, bf16-mixed "
        "and 16-mixed"
    )


def read_cluster(cfg: DictConfig) -> Cluster:
    """Read what is asked of, in bytes.

    Raises:
        ValueError: the optimizer is no Adam.
    """
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


def print_plan(plan: dict[str, Any], cfg: DictConfig, batch: str) -> None:
    """Print parameters, the table, and what it means for the strategy that was chosen."""
    parts = plan["parameters"]
    total, trained = sum(parts.values()), sum(parts[part] for part in plan["trained"])
    named = ", ".join(f"{part} {size:,}" for part, size in parts.items() if size)
    print(f"{cfg.model.name}: {total:,} parameters ({named}); {trained:,} are trained")
    again = ", layers recomputed" if cfg.memory.checkpointing else ""
    unit, name_of_unit = (GIB, "GiB") if total > 1e8 else (2**20, "MiB")
    title = f"{name_of_unit} on each of {cfg.gpus} GPUs, {cfg.trainer.precision}, a batch of {batch}{again}"
    rows = []
    for name, row in plan["layouts"].items():
        chosen = "\n(chosen)" if name == plan["chosen"] else ""
        rows.append([name + chosen, *(f"{row[key] / unit:,.1f}" for key in SHOWN), count(row["smallest"])])
    print_grid(Grid(["layout", *SHOWN, "smallest cluster"], rows), title)
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
