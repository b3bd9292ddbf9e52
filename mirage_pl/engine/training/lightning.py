"""What is used of Lightning and PyTorch beyond their public interface, each with a test that an upgrade would break."""

from contextlib import AbstractContextManager
from typing import Any

from pytorch_lightning.strategies import DDPStrategy


def attached_trainer(module: Any) -> Any:
    """The Trainer a module is trained by, or ``None``; ``module.trainer`` raises where there is none."""
    return module._trainer


def let_clip(optimizer: Any) -> None:
    """Have Lightning clip gradients of a fused optimizer.

    A fused one offers to undo a loss's scaling as it steps; Lightning then refuses to clip, bfloat16 included.
    """
    optimizer._step_supports_amp_scaling = False


def count_no_steps(optimizer: Any) -> None:
    """Keep a wrapped optimizer's steps out of ``global_step``: of several, one alone counts a batch's step."""
    optimizer._on_before_step = optimizer._on_after_step = do_nothing


def do_nothing() -> None:
    """Take the place of a hook."""


def name_stop_iterations(trainer: Any) -> None:
    """Turn a ``StopIteration`` that leaves a hook of a callback, module or strategy into an error that names it.

    Lightning's loops would take it for the end of the epoch. Every hook runs within the profiler's ``profile``.
    """
    profile = trainer.profiler.profile
    trainer.profiler.profile = lambda action: Named(profile(action), action)


class Named:
    """A context that a ``StopIteration`` leaves as an error; ``contextlib`` would undo that.

    Args:
        inner: the context within.
        action: what is done in it.
    """

    def __init__(self, inner: AbstractContextManager[str], action: str) -> None:
        self.inner, self.action = inner, action

    def __enter__(self) -> str:
        return self.inner.__enter__()

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self.inner.__exit__(kind, error, trace)
        if isinstance(error, StopIteration):
            raise RuntimeError(f"StopIteration left {self.action}") from error


def settle_epochs(trainer: Any) -> None:
    """Have a run that goes on after its end count its epochs right.

    Lightning counts one that the last step cut short as a whole one, and after a whole one an empty one, so that the
    run would end too soon by ``max_epochs``.
    """
    epochs, batches = trainer.fit_loop.epoch_progress, trainer.fit_loop.epoch_loop.batch_progress
    if batches.is_last_batch or batches.current.ready >= trainer.num_training_batches:
        batches.reset_on_run()
    elif epochs.current.completed == epochs.current.ready > 0:
        for counts in (epochs.current, epochs.total):
            counts.processed -= 1
            counts.completed -= 1


def expect_unused(strategy: Any) -> None:
    """Have DDP wait only for gradients of what a loss depends on; of several optimizers each learns a part."""
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs["find_unused_parameters"] = True
