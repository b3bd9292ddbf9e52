"""DeepSpeed as a strategy: ZeRO, with checkpoints written beside and read without unpickling."""

import argparse
import logging
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.seed import reset_seed
from omegaconf import OmegaConf
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy
from torch import Tensor, nn

from mirage_pl.engine.checkpoints.recut import count_ranks, recut_state
from mirage_pl.engine.checkpoints.saving import replace_checkpoint, written_beside
from mirage_pl.engine.checkpoints.weights import checkpoint_of, load_weights
from mirage_pl.engine.checkpoints.zero3 import read_part

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

    def optimizer_step(self, optimizer: Any, closure: Any, model: Any = None, **kwargs: Any) -> Any:
        """Take a step and have the module look at the norm of its gradients, which no weight holds here.

        DeepSpeed leaves out, without a word, a step whose gradients aren't numbers; with float16 that is as it should
        be, for its loss is scaled anew.
        """
        result = super().optimizer_step(optimizer, closure, model, **kwargs)
        norm = self.deepspeed_engine.get_global_grad_norm()
        if norm is not None and not self.deepspeed_engine.fp16_enabled():
            module: Any = self.lightning_module
            module.note_gradients(as_norm(norm, self.root_device))
        return result

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a folder beside the checkpoint's; when all ranks have written, rank 0 renames it.

        Raises:
            ValueError: it can't be written, because the disk is full, say.
        """
        path = Path(filepath)
        with written_beside(path) as partial:
            super().save_checkpoint(checkpoint, partial, storage_options)
            self.barrier()
            if self.is_global_zero:
                replace_checkpoint(partial, path)

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
        mine = recut_state(checkpoint, engine, self.global_rank, self.world_size)
        engine.optimizer.load_state_dict([mine] * self.world_size, load_from_fp32_weights=True)
        if self.zero_stage_3:
            engine.optimizer.checkpoint_event_epilogue()
        state = read_part(checkpoint_of(checkpoint))
        for name in ("global_steps", "global_samples", "skipped_steps"):
            setattr(engine, name, state.pop(name))
        return {name: value for name, value in state.items() if name != "module"}


def as_norm(norm: float | Tensor, device: torch.device) -> Tensor:
    """A norm as DeepSpeed gives it, which is -1 in place of one that is no number."""
    norm = torch.as_tensor(norm, device=device).detach()
    return norm.where(norm >= 0, torch.nan)


def splitting(strategy: Any) -> AbstractContextManager[None]:
    """A context in which a model is loaded in parts, if that is how the strategy trains it."""
    return strategy.splitting() if isinstance(strategy, DeepSpeed) and strategy.is_zero3() else nullcontext()
