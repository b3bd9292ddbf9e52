"""How devices share the work: DeepSpeed, on GPUs or on CPU processes, and what a machine is refused for."""

import argparse
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.seed import reset_seed
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.functional import linear

from mirage_pl.recut import count_ranks, recut
from mirage_pl.saving import beside, replace
from mirage_pl.weights import ZERO3, checkpoint_of, load_weights
from mirage_pl.zero3 import read_part

log = logging.getLogger(__name__)


class DeepSpeed(DeepSpeedStrategy):
    """Lightning's DeepSpeed strategy, which also runs on CPU, and in which an accumulated loss is averaged once.

    Lightning refuses CPUs, though DeepSpeed runs on them. What is overridden for that does on GPUs what it always did.

    Args:
        more: of DeepSpeed's own config, what Lightning's options don't give, under DeepSpeed's names.
        options: those of Lightning's strategy.
    """

    def __init__(self, more: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.config: dict[str, Any] = OmegaConf.to_container(OmegaConf.merge(self.config, more or {}))  # type: ignore

    @contextmanager
    def splitting(self) -> Iterator[None]:
        """Whatever transformers loads within comes in parts: no rank ever holds all of it.

        Transformers asks a ``HfDeepSpeedConfig`` for that, which it refers to weakly; here the strategy itself
        answers, in this context alone, so that what is loaded later, to be evaluated, is whole.
        """
        from transformers.integrations import deepspeed

        self.set_up_ranks()
        self._format_config()  # of it only the precision can be known yet
        deepspeed.set_hf_deepspeed_config(self)
        try:
            yield
        finally:
            deepspeed.unset_hf_deepspeed_config()

    def is_zero3(self) -> bool:
        """What transformers asks."""
        return bool(self.zero_stage_3)

    def set_up_ranks(self) -> None:
        """Start the other processes, if nobody has, and connect all; Lightning finds it done when the fit begins."""
        if self.launcher is None:
            self.setup_environment()
        else:
            self.launcher.launch(self.setup_environment)

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

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a folder beside the checkpoint's; when all ranks have written, rank 0 renames it.

        Raises:
            ValueError: it can't be written, because the disk is full, say.
        """
        path = Path(filepath)
        with beside(path) as partial:
            super().save_checkpoint(checkpoint, partial, storage_options)
            self.barrier()
            if self.is_global_zero:
                replace(partial, path)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Continue, also what another number of ranks has written: each takes what is its part now."""
        checkpoint, engine = Path(checkpoint_path), self.deepspeed_engine
        num_written = count_ranks(checkpoint)
        if num_written == self.world_size:
            return super().load_checkpoint(checkpoint, weights_only)
        if self.is_global_zero:
            log.info("the optimizer's state was written by %d processes: cut anew for %d", num_written, self.world_size)
        if self.zero_stage_3:
            engine.optimizer.checkpoint_event_prologue()
        load_weights(engine.module, checkpoint_of(checkpoint))
        mine = recut(checkpoint, engine, self.global_rank, self.world_size)
        engine.optimizer.load_state_dict([mine] * self.world_size, load_from_fp32_weights=True)
        if self.zero_stage_3:
            engine.optimizer.checkpoint_event_epilogue()
        state = read_part(checkpoint_of(checkpoint))
        for name in ("global_steps", "global_samples", "skipped_steps"):
            setattr(engine, name, state.pop(name))
        return {name: value for name, value in state.items() if name != "module"}


class FSDP2(ModelParallelStrategy):
    """PyTorch's FSDP2: weights, gradients and optimizer states in parts, fetched module by module.

    A checkpoint is one file, as of a single process, that rank 0 puts together.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Start the processes; all of them share the rows, none the columns, of a weight."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def split(self, units: Iterable[nn.Module]) -> None:
        """Leave each rank its part of the modules' weights; a module is made whole when it is called.

        Args:
            units: inner ones before those that they are in, and embeddings before a head that has their weight.
        """
        words: dict[Any, nn.Module] = {}
        for unit in units:
            if isinstance(unit, nn.Embedding):
                words[unit.weight] = unit
            if isinstance(unit, nn.Linear) and unit.weight in words:
                tie(unit, words[unit.weight])
            else:
                fully_shard(unit, mesh=self.device_mesh["data_parallel"], reshard_after_forward=True)


def tie(head: Any, words: Any) -> None:
    """Have a head whose weight is the embeddings' be called by way of them: only what is called is made whole.

    Args:
        head: an ``nn.Linear`` without bias.
        words: an ``nn.Embedding`` that FSDP2 has split.
    """
    words.project = lambda hidden: linear(hidden, words.weight)
    register_fsdp_forward_method(words, "project")
    head.weight, head.forward = words.weight, words.project


def splitting(strategy: Any) -> AbstractContextManager[None]:
    """A context in which a model is loaded in parts, if that is how the strategy trains it."""
    return strategy.splitting() if isinstance(strategy, DeepSpeed) and strategy.is_zero3() else nullcontext()


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
    if cfg.strategy.name == "deepspeed_zero_infinity" and find_library("aio") is None:
        raise ValueError(
            "strategy=deepspeed_zero_infinity uses the disk by way of libaio, which isn't on this machine; install "
            "libaio-dev (apt) or libaio-devel (yum), or choose strategy=deepspeed_zero3_offload"
        )


def check_resume(cfg: DictConfig, last: Path) -> None:
    """Refuse to continue from a checkpoint that this strategy can't read.

    DeepSpeed's checkpoint is a folder in which every process keeps its share of the optimizer's state; ZeRO-Infinity's
    lies on disks of the nodes.

    Raises:
        ValueError: says with what the run was trained.
    """
    instead = f"or start a new run with init_from={cfg.run_dir} and another run_dir, whose optimizer begins anew"
    stage = OmegaConf.select(cfg, "strategy.use.stage") or 0
    was, now = how_written(last), "ZeRO-3" if stage == 3 else "ZeRO-1 or ZeRO-2" if stage else "one file"
    if was != now:
        raise ValueError(
            f"run_dir={cfg.run_dir} has a checkpoint of {was}, and strategy={cfg.strategy.name}, which writes {now}, "
            f"can't continue it; set strategy to what it was, {instead}"
        )
    saved, devices = count_ranks(last), num_devices(cfg.trainer.devices)
    if cfg.strategy.name == "deepspeed_zero_infinity" and devices and saved != devices * cfg.trainer.num_nodes:
        raise ValueError(
            f"run_dir={cfg.run_dir} was trained by {saved} process(es), each with its disk, and trainer.devices="
            f"{cfg.trainer.devices} with trainer.num_nodes={cfg.trainer.num_nodes} can't continue it; make it {saved} "
            f"again, {instead}"
        )
    check_harmless(last)


def check_harmless(checkpoint: Path) -> None:
    """Read the files of DeepSpeed's checkpoint, which DeepSpeed itself unpickles, and so runs what code is in them.

    Raises:
        ValueError: one is damaged, or holds anything but what DeepSpeed writes.
    """
    for file in sorted(checkpoint.glob("checkpoint/*.pt")):
        try:
            read_part(file)
        except Exception as error:
            raise ValueError(
                f"{file} is damaged, or not DeepSpeed's alone ({type(error).__name__}); to begin anew, delete "
                f"{checkpoint}"
            ) from error


def how_written(checkpoint: Path) -> str:
    """What kind of strategy wrote a checkpoint."""
    if not checkpoint.is_dir():
        return "one file"
    return "ZeRO-3" if (checkpoint / ZERO3).is_file() else "ZeRO-1 or ZeRO-2"


def num_devices(devices: Any) -> int | None:
    """Count the devices of a node that ``trainer.devices`` asks for; ``None``: Lightning finds out."""
    if isinstance(devices, int) and devices >= 0:
        return devices
    return None if isinstance(devices, int | str) else len(devices)
