"""What is used of Lightning and PyTorch beyond their public interface, each with a test that an upgrade would break."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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

    @contextmanager
    def named(action: str) -> Iterator[str]:
        with profile(action):
            try:
                yield action
            except StopIteration as error:
                raise RuntimeError(f"StopIteration left {action}") from error

    trainer.profiler.profile = named
