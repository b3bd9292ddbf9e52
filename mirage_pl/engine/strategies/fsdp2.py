"""FSDP2 as a strategy: each module's weights in parts."""

from collections.abc import Iterable
from typing import Any

from pytorch_lightning.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.nn.functional import linear


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
                tie_head(unit, words[unit.weight])
            else:
                fully_shard(unit, mesh=self.device_mesh["data_parallel"], reshard_after_forward=True)


def tie_head(head: Any, words: Any) -> None:
    """Have a head whose weight is the embeddings' be called by way of them: only what is called is made whole.

    Args:
        head: an ``nn.Linear`` without bias.
        words: an ``nn.Embedding`` that FSDP2 has split.
    """
    words.project = lambda hidden: linear(hidden, words.weight)
    register_fsdp_forward_method(words, "project")
    head.weight, head.forward = words.weight, words.project
