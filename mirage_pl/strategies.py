"""How devices share the work: DeepSpeed, on GPUs or on CPU processes, and what a machine is refused for."""

import argparse
import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.seed import reset_seed
from omegaconf import DictConfig
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor, nn


class DeepSpeed(DeepSpeedStrategy):
    """Lightning's DeepSpeed strategy, which also runs on CPU, and in which an accumulated loss is averaged once.

    Lightning refuses CPUs, though DeepSpeed runs on them. What is overridden for that does on GPUs what it always did.
    """

    @property
    def on_cpu(self) -> bool:
        """Whether the processes have no GPU each, but gloo between them."""
        return bool(self.root_device.type == "cpu")

    def setup_environment(self) -> None:
        """Start the processes, whatever they run on."""
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """Connect the processes; CPUs have no indices that could be checked."""
        if not self.on_cpu:
            super().setup_distributed()
            return
        reset_seed()
        self.set_world_ranks()
        self._init_deepspeed_distributed()

    def _setup_model_and_optimizer(self, model: nn.Module, optimizer: Any, lr_scheduler: Any = None) -> tuple[Any, Any]:
        if not self.on_cpu:
            return super()._setup_model_and_optimizer(model, optimizer, lr_scheduler)
        import deepspeed

        engine, wrapped, _, _ = deepspeed.initialize(
            args=argparse.Namespace(device_rank=self.local_rank),  # a CPU's own index is None, which DeepSpeed compares
            config=self.config,
            model=model,
            model_parameters=[p for p in model.parameters() if p.requires_grad],
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            dist_init_required=False,
        )
        return engine, wrapped

    def backward(self, closure_loss: Tensor, optimizer: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Take gradients; Lightning has divided by ``accumulate_grad_batches``, so DeepSpeed mustn't do it again."""
        return super().backward(closure_loss, optimizer, *args, scale_wrt_gas=False, **kwargs)


def ready(cfg: DictConfig) -> None:
    """Refuse what this machine can't run, before anything is made; tell DeepSpeed if it is to run on CPUs.

    Raises:
        ValueError: names the key.
    """
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
    wanted = num_devices(trainer.devices)
    if wanted and trainer.accelerator != "cpu" and gpus and wanted > gpus:
        raise ValueError(
            f"trainer.devices={trainer.devices}, but this machine has {gpus} GPU(s); ask for at most {gpus}"
        )
    given, launched = os.environ.get("WORLD_SIZE"), wanted and wanted * trainer.num_nodes
    if given and launched and given != str(launched):
        raise ValueError(
            f"WORLD_SIZE={given} in the environment, but trainer.devices={trainer.devices} and trainer.num_nodes="
            f"{trainer.num_nodes} make {launched} process(es); unset WORLD_SIZE, RANK and LOCAL_RANK if they are left "
            "over, or set both keys as the launcher does"
        )
    if deepspeed and trainer.accelerator == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"


def check_resume(cfg: DictConfig, last: Path) -> None:
    """Refuse to continue from a checkpoint that this strategy, or this number of processes, can't read.

    DeepSpeed's checkpoint is a folder in which every process keeps its share of the optimizer's state.

    Raises:
        ValueError: says with what the run was trained.
    """
    deepspeed = cfg.strategy.name.startswith("deepspeed")
    instead = f"or start a new run with init_from={cfg.run_dir} and another run_dir"
    if last.is_dir() != deepspeed:
        was = "DeepSpeed" if last.is_dir() else "a strategy other than DeepSpeed's"
        raise ValueError(
            f"run_dir={cfg.run_dir} was trained with {was}, and strategy={cfg.strategy.name} can't continue it; "
            f"set strategy to what it was, {instead}"
        )
    saved = len(list(last.glob("checkpoint/*_optim_states.pt")))
    devices = num_devices(cfg.trainer.devices)
    if deepspeed and devices and saved != devices * cfg.trainer.num_nodes:
        raise ValueError(
            f"run_dir={cfg.run_dir} was trained by {saved} process(es), and trainer.devices={cfg.trainer.devices} with "
            f"trainer.num_nodes={cfg.trainer.num_nodes} can't continue it; make it {saved} again, {instead}"
        )


def num_devices(devices: Any) -> int | None:
    """Count the devices of a node that ``trainer.devices`` asks for; ``None``: Lightning finds out."""
    if isinstance(devices, int) and devices >= 0:
        return devices
    return None if isinstance(devices, int | str) else len(devices)
