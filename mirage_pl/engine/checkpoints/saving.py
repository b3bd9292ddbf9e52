"""Checkpoints that are whole or not there, whatever kills the run, and that are written while training goes on."""

import copy
import errno
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.plugins import TorchCheckpointIO
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Files(TorchCheckpointIO):
    """Writes a checkpoint to one file; Lightning builds it in memory and moves it in by way of /tmp."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write, with nothing held in memory twice, and leave the checkpoint of before until this one is whole.

        Raises:
            ValueError: it can't be written, because the disk is full, say.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with beside(Path(path)) as partial:
            with open(partial, "wb") as file:  # by its name torch would write it without letting other threads run
                torch.save(checkpoint, file)
            replace(partial, Path(path))


class Overlapped(Files):
    """Takes a copy of a checkpoint and writes it in another thread, while training goes on.

    One at a time: the next save waits for the one before, and so does whoever calls ``teardown``, as Lightning does at
    the end of training and on errors. A write that failed is raised then.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Copy what the checkpoint holds now, and begin to write it.

        Raises:
            ValueError: the one before couldn't be written.
        """
        self.teardown()
        self.writing = self.thread.submit(super().save_checkpoint, snapshot(checkpoint), path)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint, but not before the one that is to follow it is whole."""
        self.teardown()
        super().remove_checkpoint(path)

    def teardown(self) -> None:
        """Wait until what is being written is there; saving again is allowed.

        Raises:
            ValueError: it couldn't be written.
        """
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()


class ToHost(TorchFunctionMode):
    """Makes deep copies of tensors lie in main memory; those of a GPU may still be on their way.

    What shares memory shares it in the copy too, so that tied weights are written once.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch in place of ``func``."""
        if func is not Tensor.__deepcopy__ or type(args[0]) is not Tensor or args[0].layout is not torch.strided:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        storage = tensor.untyped_storage()
        key = (ToHost, storage.data_ptr())
        if key not in memo:  # page-locked if it comes from a GPU; PyTorch keeps such memory for the next time
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            memo[key] = whole.to("cpu", non_blocking=True, copy=True).untyped_storage()
        return torch.empty(0, dtype=tensor.dtype).set_(
            memo[key], tensor.storage_offset(), tensor.size(), tensor.stride()
        )


def snapshot(state: Any) -> Any:
    """Copy nested containers of anything into main memory, so that nothing that is done later changes the copy."""
    with ToHost():
        copied = copy.deepcopy(state)
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return copied


def plugins(async_checkpoint: bool) -> list[Any]:
    """What Lightning's Trainer takes: how checkpoints are written, and under SLURM who queues again.

    Nothing of Lightning's queues again; ``callbacks.preemption`` does.
    """
    slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()  # in this order Lightning looks, too
    files = Overlapped() if async_checkpoint else Files()
    return [files, *([SLURMEnvironment(auto_requeue=False)] if slurm else [])]


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Name a place beside a checkpoint's, to be written to and then renamed; if that fails, nothing is left there.

    Raises:
        ValueError: it failed, because the disk is full, say.
        KeyboardInterrupt: the user ended it. PyTorch's writer raises an error of its own on the way out.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
    except BaseException as error:
        with suppress(OSError):
            remove(partial)
        causes = list(chain_of(error))
        stopped = next((cause for cause in causes if not isinstance(cause, Exception)), None)
        if stopped is not None:
            raise stopped from None
        if not isinstance(error, OSError | RuntimeError):
            raise
        raise ValueError(refusal(path, causes)) from error


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and those during whose handling it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def refusal(path: Path, causes: Sequence[BaseException]) -> str:
    """Say why a checkpoint couldn't be written, and what to do about that."""
    system = next((cause for cause in causes if isinstance(cause, OSError)), None)
    full = system is None or system.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "make room" if full else "see to it that this process may write there"
    reason = (system and system.strerror) or " ".join(str(causes[0]).split())
    then = "the one before is whole, and the same command goes on from it" if path.exists() else "begin again"
    return f"checkpoint {path} could not be written ({reason}); {remedy}: {then}"


def replace(new: Path, old: Path) -> None:
    """Put a file or a folder (DeepSpeed's checkpoints are folders) in another's place.

    A folder can't be renamed onto another: the old one stands aside for a moment, where ``runs.last_checkpoint`` looks.
    """
    if new.is_file() and not old.is_dir():
        new.replace(old)
        return
    aside = old.with_name(f"{old.name}.old")
    remove(aside)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    remove(aside)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
