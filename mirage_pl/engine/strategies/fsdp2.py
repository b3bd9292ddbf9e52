"""PyTorch's FSDP2 as a strategy."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.functional import linear


class FSDP2(ModelParallelStrategy):
    """FSDP2: weights, gradients and optimizer states sharded, weights gathered module by module.

    A checkpoint is one file, as with a single process, gathered on rank 0.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Start the processes; all are data-parallel, none tensor-parallel."""
        self._data_parallel_size, self._tensor_parallel_size = self.num_nodes * self.num_processes, 1
        super().setup_environment()

    def split(self, units: Iterable[nn.Module]) -> None:
        """Shard modules; each is gathered when it is called.

        Args:
            units: inner before outer modules, and embeddings before a head that shares their weight.
        """
        words: dict[Any, nn.Module] = {}
        for unit in units:
            if isinstance(unit, nn.Embedding):
                words[unit.weight] = unit
            if isinstance(unit, nn.Linear) and unit.weight in words:
                tie_head(unit, words[unit.weight])
            else:
                fully_shard(unit, mesh=self.device_mesh["data_parallel"], reshard_after_forward=True)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Gather every unit now; none is sharded again before the end."""
        assert self.lightning_module is not None
        units = [each for each in self.lightning_module.modules() if isinstance(each, FSDPModule)]
        try:
            for unit in units:
                unit.set_reshard_after_forward(False, recurse=False)
                unit.unshard()
            yield
        finally:
            for unit in units:
                unit.reshard()
                unit.set_reshard_after_forward(True, recurse=False)


def tie_head(head: Any, words: Any) -> None:
    """Route calls of a head that shares the embeddings' weight through the embeddings, which gathers it.

    Args:
        head: an ``nn.Linear`` without bias.
        words: an ``nn.Embedding`` that FSDP2 has split.
    """
    words.project = lambda hidden: linear(hidden, words.weight)
    register_fsdp_forward_method(words, "project")
    head.weight, head.forward = words.weight, words.project
