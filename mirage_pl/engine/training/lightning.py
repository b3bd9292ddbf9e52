"""Every use of private parts of Lightning and PyTorch, each with a test that fails if an upgrade changes them."""

from contextlib import AbstractContextManager
from typing import Any

from pytorch_lightning.strategies import DDPStrategy


def attached_trainer(module: Any) -> Any:
    """The Trainer of a module, or ``None``, where ``module.trainer`` would raise."""
    return module._trainer


def let_clip(optimizer: Any) -> None:
    """Let Lightning clip the gradients of a fused optimizer.

    Lightning refuses if the optimizer can undo loss scaling in its step, even without a loss scaler.
    """
    optimizer._step_supports_amp_scaling = False


def count_no_steps(optimizer: Any) -> None:
    """Keep the steps of a wrapped optimizer out of ``global_step``, which counts those of one optimizer only."""
    optimizer._on_before_step = optimizer._on_after_step = do_nothing


def do_nothing() -> None:
    """Replace a hook."""


def name_stop_iterations(trainer: Any) -> None:
    """Turn a ``StopIteration`` raised in a hook into an error that names the hook.

    Lightning's loops would take it for the end of the epoch. Every hook runs within ``profiler.profile``.
    """
    profile = trainer.profiler.profile
    trainer.profiler.profile = lambda action: Named(profile(action), action)


class Named:
    """A context that raises ``RuntimeError`` for a ``StopIteration``; a generator of ``contextlib`` can't.

    Args:
        inner: the wrapped context.
        action: name of the hook.
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
    """Have DDP find parameters without gradients: a loss of one of several optimizers depends on a part of them."""
    if isinstance(strategy, DDPStrategy):
        strategy._ddp_kwargs["find_unused_parameters"] = True
