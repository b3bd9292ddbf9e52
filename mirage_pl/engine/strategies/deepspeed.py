"""DeepSpeed's ZeRO as a strategy, with atomic checkpoints that are read without running code from them."""

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

from mirage_pl.engine.checkpoints.adapted import load_own
from mirage_pl.engine.checkpoints.recut import count_ranks, recut_state
from mirage_pl.engine.checkpoints.saving import replace_checkpoint, written_beside
from mirage_pl.engine.checkpoints.weights import checkpoint_of, load_weights
from mirage_pl.engine.checkpoints.zero3 import read_part
from mirage_pl.engine.runs.identity import is_below

log = logging.getLogger(__name__)


class DeepSpeed(DeepSpeedStrategy):
    """Lightning's DeepSpeed strategy, made to run on CPUs too, and to average an accumulated loss once.

    On GPUs the overrides that are for CPUs change nothing.

    Args:
        more: further keys of DeepSpeed's own config, which Lightning has no options for.
        options: those of Lightning's strategy.
    """

    def __init__(self, more: Mapping[str, Any] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.config: dict[str, Any] = OmegaConf.to_container(OmegaConf.merge(self.config, more or {}))  # type: ignore

    @contextmanager
    def splitting(self) -> Iterator[None]:
        """Within the context transformers loads models sharded: no rank ever holds a whole one.

        Transformers looks for a ``HfDeepSpeedConfig``, by a weak reference; this strategy takes its place, and only
        here, so that models loaded later for evaluation are whole.
        """
        from transformers.integrations import deepspeed

        self.set_up_ranks()
        self._format_config()  # only the precision is known yet
        deepspeed.set_hf_deepspeed_config(self)
        try:
            yield
        finally:
            deepspeed.unset_hf_deepspeed_config()

    def is_zero3(self) -> bool:
        """Called by transformers."""
        return bool(self.zero_stage_3)

    def set_up_ranks(self) -> None:
        """Start the other processes, if a launcher hasn't, and connect all; ``fit`` then skips this."""
        if self.launcher is None:
            self.setup_environment()
        else:
            self.launcher.launch(self.setup_environment)

    @property
    def on_cpu(self) -> bool:
        """Whether the processes run on CPUs, with gloo."""
        return bool(self.root_device.type == "cpu")

    def setup_environment(self) -> None:
        """Start the processes, on GPUs or CPUs."""
        DDPStrategy.setup_environment(self)

    def setup_distributed(self) -> None:
        """Connect the processes; Lightning would check device indices, which CPUs don't have."""
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
        """Compute gradients; Lightning has already divided by ``accumulate_grad_batches``."""
        return super().backward(closure_loss, optimizer, *args, scale_wrt_gas=False, **kwargs)

    def optimizer_step(self, optimizer: Any, closure: Any, model: Any = None, **kwargs: Any) -> Any:
        """Take a step, and let the module check the norm of its gradients.

        DeepSpeed silently skips a step whose gradients aren't finite. In float16 that is part of loss scaling.
        """
        result = super().optimizer_step(optimizer, closure, model, **kwargs)
        norm = self.deepspeed_engine.get_global_grad_norm()
        if norm is not None and not self.deepspeed_engine.fp16_enabled():
            module: Any = self.lightning_module
            module.note_gradients(as_norm(norm, self.root_device))
        return result

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Gather every weight of ZeRO-3, and take away its hooks, which would gather and free them call by call."""
        if not self.zero_stage_3:
            yield
            return
        import deepspeed

        assert self.lightning_module is not None
        offload: Any = self.deepspeed_engine.optimizer.parameter_offload
        weights = [weight for weight in self.lightning_module.parameters() if hasattr(weight, "ds_id")]
        gathered: Any = deepspeed.zero.GatheredParameters(weights, modifier_rank=None)
        with gathered:
            offload._remove_module_hooks()
            offload.forward_hooks, offload.backward_hooks = [], []
            try:
                yield
            finally:
                offload._register_deepspeed_module(offload.module)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a folder beside the checkpoint's; when all ranks have written, rank 0 renames it.

        Raises:
            ValueError: it can't be written: the disk is full, for example.
        """
        path, module = Path(filepath), self.lightning_module
        self.exclude_frozen_parameters = bool(getattr(module, "base", ""))  # an adapter's base is elsewhere
        with written_beside(path) as partial, without_base(module):
            super().save_checkpoint(checkpoint, partial, storage_options)
            self.barrier()
            if self.is_global_zero:
                replace_checkpoint(partial, path)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Resume, also from a checkpoint of another number of ranks, whose optimizer state is resharded."""
        checkpoint, engine = Path(checkpoint_path), self.deepspeed_engine
        num_written = count_ranks(checkpoint)
        if num_written == self.world_size:
            return super().load_checkpoint(checkpoint, weights_only)
        if self.is_global_zero:
            log.info("the optimizer's state was written by %d processes: cut anew for %d", num_written, self.world_size)
        if self.zero_stage_3:
            engine.optimizer.checkpoint_event_prologue()
        load = load_own if getattr(engine.module, "base", "") else load_weights
        load(engine.module, checkpoint_of(checkpoint))
        mine = recut_state(checkpoint, engine, self.global_rank, self.world_size)
        engine.optimizer.load_state_dict([mine] * self.world_size, load_from_fp32_weights=True)
        if self.zero_stage_3:
            engine.optimizer.checkpoint_event_epilogue()
        state = read_part(checkpoint_of(checkpoint))
        for name in ("global_steps", "global_samples", "skipped_steps"):
            setattr(engine, name, state.pop(name))
        return {name: value for name, value in state.items() if name != "module"}


@contextmanager
def without_base(module: Any) -> Iterator[None]:
    """Within the context a module's state has none of an adapter's base, also not by a tied weight's other name."""

    def leave_out(module: Any, state: dict[str, Any], *_: Any) -> None:
        for name in [name for name in state if is_below(name, module.apart)] if module.base else ():
            del state[name]

    hook = module.register_state_dict_post_hook(leave_out)
    try:
        yield
    finally:
        hook.remove()


def as_norm(norm: float | Tensor, device: torch.device) -> Tensor:
    """DeepSpeed's norm as a tensor, with NaN in place of its -1."""
    norm = torch.as_tensor(norm, device=device).detach()
    return norm.where(norm >= 0, torch.nan)


def splitting(strategy: Any) -> AbstractContextManager[None]:
    """A context in which models are loaded sharded if the strategy is ZeRO-3."""
    return strategy.splitting() if isinstance(strategy, DeepSpeed) and strategy.is_zero3() else nullcontext()
