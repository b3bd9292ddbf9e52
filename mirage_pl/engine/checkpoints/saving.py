"""Atomic checkpoints, optionally written while training goes on."""

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
    """Writes a checkpoint to one file beside its place; Lightning's own copies it through memory and ``/tmp``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint, then replace the previous one.

        Raises:
            ValueError: it can't be written: the disk is full, for example.
        """
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with written_beside(Path(path)) as partial:
            with open(partial, "wb") as file:  # given a path, torch holds the GIL while it writes
                torch.save(checkpoint, file)
            replace_checkpoint(partial, Path(path))


class Overlapped(Files):
    """Copies a checkpoint and writes the copy in another thread, while training goes on.

    One at a time: the next save waits for the previous one, and so does ``teardown``, which Lightning calls at the end
    of training and on errors. They raise the error of a write that failed.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, "checkpoint")
        self.writing: Future[None] | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Copy the checkpoint and begin to write it.

        Raises:
            ValueError: the previous one couldn't be written.
        """
        self.teardown()
        self.writing = self.thread.submit(super().save_checkpoint, snapshot(checkpoint), path)

    def remove_checkpoint(self, path: Any) -> None:
        """Delete a checkpoint once the one being written is complete."""
        self.teardown()
        super().remove_checkpoint(path)

    def teardown(self) -> None:
        """Wait until the current write is complete; further saves are allowed.

        Raises:
            ValueError: it couldn't be written.
        """
        writing, self.writing = self.writing, None
        if writing is not None:
            writing.result()


class ToHost(TorchFunctionMode):
    """Makes ``deepcopy`` copy tensors to main memory, asynchronously from a GPU.

    Tensors that share memory share it in the copy, so that tied weights are written once.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Called by PyTorch instead of ``func``."""
        if func is not Tensor.__deepcopy__ or type(args[0]) is not Tensor or args[0].layout is not torch.strided:
            return func(*args, **(kwargs or {}))
        tensor, memo = args
        storage = tensor.untyped_storage()
        key = (ToHost, storage.data_ptr())
        if key not in memo:  # pinned if it comes from a GPU; PyTorch caches pinned memory
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            memo[key] = whole.to("cpu", non_blocking=True, copy=True).untyped_storage()
        return torch.empty(0, dtype=tensor.dtype).set_(
            memo[key], tensor.storage_offset(), tensor.size(), tensor.stride()
        )


def snapshot(state: Any) -> Any:
    """Copy nested containers into main memory, independent of later changes."""
    with ToHost():
        copied = copy.deepcopy(state)
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return copied


def make_plugins(async_checkpoint: bool) -> list[Any]:
    """Lightning plugins: a writer of checkpoints, and SLURM without requeueing, which ``callbacks.preemption`` does."""
    slurm = SLURMEnvironment.detect() and not TorchElasticEnvironment.detect()  # Lightning's order
    files = Overlapped() if async_checkpoint else Files()
    return [files, *([SLURMEnvironment(auto_requeue=False)] if slurm else [])]


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Yield a path beside a checkpoint's, to be written and then renamed; on an error it is removed.

    Raises:
        ValueError: writing failed: the disk is full, for example.
        KeyboardInterrupt: also where PyTorch's writer turned it into another error.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        yield partial
    except BaseException as error:
        with suppress(OSError):
            remove_path(partial)
        causes = list(list_causes(error))
        stopped = next((cause for cause in causes if not isinstance(cause, Exception)), None)
        if stopped is not None:
            raise stopped from None
        if not isinstance(error, OSError | RuntimeError):
            raise
        raise ValueError(explain_failure(path, causes)) from error


def list_causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and its causes and contexts."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def explain_failure(path: Path, causes: Sequence[BaseException]) -> str:
    """Say why a checkpoint couldn't be written, and what to do."""
    system = next((cause for cause in causes if isinstance(cause, OSError)), None)
    full = system is None or system.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    remedy = "make room" if full else "see to it that this process may write there"
    reason = (system and system.strerror) or " ".join(str(causes[0]).split())
    then = "the one before is whole, and the same command goes on from it" if path.exists() else "begin again"
    return f"checkpoint {path} could not be written ({reason}); {remedy}: {then}"


def replace_checkpoint(new: Path, old: Path) -> None:
    """Put a file or a folder (DeepSpeed's checkpoints are folders) in another's place.

    A folder can't be renamed onto another: the old one stands aside for a moment, where ``runs.last_checkpoint`` looks.
    """
    if new.is_file() and not old.is_dir():
        new.replace(old)
        return
    aside = old.with_name(f"{old.name}.old")
    remove_path(aside)
    if old.exists():
        old.rename(aside)
    new.rename(old)
    remove_path(aside)


def remove_path(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
