"""Checks of the machine, and of the checkpoint to resume from."""

import logging
import os
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from mirage_pl.engine.adapters.bits import need_bitsandbytes
from mirage_pl.engine.checkpoints.recut import count_ranks
from mirage_pl.engine.checkpoints.weights import ZERO, ZERO3, read_checkpoint
from mirage_pl.engine.checkpoints.zero3 import read_part
from mirage_pl.engine.value_types import write_value

NEEDED = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step")
"""Keys of a checkpoint that resuming needs."""

MUON = "mirage_pl.engine.training.muon.Muon"
"""An optimizer of whole matrices."""

log = logging.getLogger(__name__)


def check_machine(cfg: DictConfig) -> None:
    """Refuse a config that this machine can't run; set DeepSpeed's environment for CPUs.

    Raises:
        ValueError: names the key.
    """
    check_optimizers(cfg)
    check_adapter(cfg)
    trainer, gpus = cfg.trainer, torch.cuda.device_count()
    deepspeed = cfg.strategy.name.startswith("deepspeed")
    if trainer.accelerator in ("gpu", "cuda") and not gpus:
        raise ValueError(
            f"trainer.accelerator={trainer.accelerator}, but this machine has no GPU; set it to cpu or auto"
        )
    if deepspeed and trainer.accelerator != "cpu" and not gpus:
        raise ValueError(
            f"strategy={cfg.strategy.name} is for GPUs and this machine has none; choose strategy=ddp, or try it on "
            "CPU processes with trainer.accelerator=cpu"
        )
    if (trainer.accelerator == "cpu" or not gpus) and not is_count(trainer.devices):
        raise ValueError(
            f"trainer.devices={write_value(trainer.devices)} picks out devices, and CPUs can't be; give a number of "
            "processes, as trainer.devices=2"
        )
    devices = count_devices(trainer.devices)
    if devices and trainer.accelerator != "cpu" and gpus and devices > gpus:
        raise ValueError(
            f"trainer.devices={trainer.devices}, but this machine has {gpus} GPU(s); ask for at most {gpus}"
        )
    world_size, launched = os.environ.get("WORLD_SIZE"), devices and devices * trainer.num_nodes
    if world_size and launched and world_size != str(launched):
        raise ValueError(
            f"WORLD_SIZE={world_size} in the environment, but trainer.devices={trainer.devices} and trainer.num_nodes="
            f"{trainer.num_nodes} make {launched} process(es); unset WORLD_SIZE, RANK and LOCAL_RANK if they are left "
            "over, or set both keys as the launcher does"
        )
    if deepspeed and trainer.accelerator == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    if cfg.strategy.name == "deepspeed_zero_infinity" and find_library("aio") is None:
        raise ValueError(
            "strategy=deepspeed_zero_infinity uses the disk by way of libaio, which isn't on this machine; install "
            "libaio-dev (apt) or libaio-devel (yum), or choose strategy=deepspeed_zero3_offload"
        )


def check_optimizers(cfg: DictConfig) -> None:
    """Refuse optimizers that a strategy can't step: several, or one of whole matrices where weights are flattened.

    Raises:
        ValueError: names the key.
    """
    deepspeed = cfg.strategy.name.startswith("deepspeed")
    if deepspeed and OmegaConf.select(cfg, "stage.module.optimizer._target_") == MUON:
        raise ValueError(
            f"strategy={cfg.strategy.name} flattens weights, and optimizer=muon updates whole matrices; choose "
            "optimizer=adamw, or strategy=ddp or strategy=fsdp2"
        )
    if not getattr(get_class(cfg.stage.module._target_), "several_optimizers", False):
        return
    if deepspeed or cfg.strategy.name == "fsdp2":
        raise ValueError(
            f"strategy={cfg.strategy.name} takes one optimizer and stage={cfg.stage.name} has several; choose "
            "strategy=auto or strategy=ddp"
        )


def check_adapter(cfg: DictConfig) -> None:
    """Refuse an adapter that a strategy can't train, and extras that aren't installed.

    Raises:
        ValueError: names the key.
    """
    if str(OmegaConf.select(cfg, "stage.module.optimizer._target_")).startswith("mirage_pl.engine.training.eight_bits"):
        need_bitsandbytes("optimizer=adamw_8bit")
        if cfg.strategy.name == "fsdp2":
            raise ValueError(
                "strategy=fsdp2 lays weights out in parts, which optimizer=adamw_8bit can't update; choose "
                "optimizer=adamw, or strategy=ddp or strategy=deepspeed_zero2"
            )
    if not (lora := OmegaConf.select(cfg, "lora")):
        return
    if lora.bits:
        need_bitsandbytes(f"lora.bits={lora.bits}")
    if OmegaConf.select(cfg, "model.random_weights"):
        raise ValueError(
            f"lora={lora.name} trains beside weights that must be there again when the run is read, and "
            "model.random_weights=true draws them anew; leave out one of them"
        )
    splits = cfg.strategy.name == "fsdp2" or OmegaConf.select(cfg, "strategy.use.stage") == 3
    if splits and (lora.bits or (lora.dora and cfg.strategy.name != "fsdp2")):
        what = "weights of four bits" if lora.bits else "DoRA, which reads whole weights,"
        raise ValueError(
            f"strategy={cfg.strategy.name} lays weights out in parts, and {what} can't be; choose strategy=ddp or "
            "strategy=deepspeed_zero2, or lora=lora"
        )


def check_resume(cfg: DictConfig, last: Path) -> None:
    """Refuse to resume from a checkpoint that this strategy can't read.

    DeepSpeed's checkpoint is a folder with each process's part of the optimizer's state; ZeRO-Infinity's is on the
    nodes' own disks.

    Raises:
        ValueError: says what the run was trained with.
    """
    instead = f"or start a new run with init_from={cfg.run_dir} and another run_dir, whose optimizer begins anew"
    stage = OmegaConf.select(cfg, "strategy.use.stage") or 0
    was, now = name_format(last), "ZeRO-3" if stage == 3 else "ZeRO-1 or ZeRO-2" if stage else "one file"
    if was != now:
        raise ValueError(
            f"run_dir={cfg.run_dir} has a checkpoint of {was}, and strategy={cfg.strategy.name}, which writes {now}, "
            f"can't continue it; set strategy to what it was, {instead}"
        )
    saved_by, devices = count_ranks(last), count_devices(cfg.trainer.devices)
    if cfg.strategy.name == "deepspeed_zero_infinity" and devices and saved_by != devices * cfg.trainer.num_nodes:
        raise ValueError(
            f"run_dir={cfg.run_dir} was trained by {saved_by} process(es), each with its disk, and trainer.devices="
            f"{cfg.trainer.devices} with trainer.num_nodes={cfg.trainer.num_nodes} can't continue it; make it "
            f"{saved_by} again, {instead}"
        )
    check_harmless(last)


def check_whole(last: Path) -> None:
    """Refuse a checkpoint that is damaged or incomplete.

    Raises:
        ValueError: names the file, what is wrong with it, and what to do.
    """
    best = last.with_name("best.ckpt")
    instead = f", or to go on from the best so far choose another run_dir and init_from={best}" if best.exists() else ""
    remedy = f"to begin anew with the same command delete it{instead}"
    if last.is_dir():
        if not (last / ZERO.parent).is_dir():
            raise ValueError(f"{last} is a folder, and no checkpoint of DeepSpeed's, so the run can't go on; {remedy}")
        return
    try:
        held = read_checkpoint(last)
    except ValueError as error:
        raise ValueError(f"{error}; {remedy}") from error
    if lacking := [key for key in NEEDED if key not in held]:
        raise ValueError(f"ckpt {last} holds no {', '.join(lacking)}, so the run can't go on from it; {remedy}")


def check_harmless(checkpoint: Path) -> None:
    """Refuse a DeepSpeed checkpoint that holds code, which DeepSpeed would run in unpickling it.

    Raises:
        ValueError: a file is damaged, or holds anything that DeepSpeed doesn't write.
    """
    for file in sorted(checkpoint.glob("checkpoint/*.pt")):
        try:
            read_part(file)
        except Exception as error:
            raise ValueError(
                f"{file} is damaged, or not DeepSpeed's alone ({type(error).__name__}); to begin anew, delete "
                f"{checkpoint}"
            ) from error


def name_format(checkpoint: Path) -> str:
    """The format of a checkpoint, in words."""
    if not checkpoint.is_dir():
        return "one file"
    return "ZeRO-3" if (checkpoint / ZERO3).is_file() else "ZeRO-1 or ZeRO-2"


def is_count(devices: Any) -> bool:
    """Whether ``trainer.devices`` is a number of processes, or leaves it to Lightning."""
    return devices == "auto" or (isinstance(devices, int) and devices > 0)


def count_devices(devices: Any) -> int | None:
    """Number of devices per node in ``trainer.devices``; ``None`` if Lightning decides."""
    if isinstance(devices, int) and devices >= 0:
        return devices
    return None if isinstance(devices, int | str) else len(devices)
