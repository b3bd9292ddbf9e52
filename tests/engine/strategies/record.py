"""What a process of a training run writes down for its test, and what kills it."""

import json
import os
import signal
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.distributed.tensor import DTensor

from mirage_pl.engine.checkpoints.parts import whole


class Record(pl.Callback):
    """Write every optimizer step down as it is taken, so that it outlives a kill, and at the end the weights.

    Args:
        folder: gets ``steps0.jsonl`` of rank 0 and so on, and ``weights.pt``. A step has its number, the loss of all
            ranks together, and of each batch of the rank its ``terms`` and ``rows``.
    """

    def __init__(self, folder: str) -> None:
        self.folder, self.losses, self.batches = Path(folder), [], []

    def on_train_start(self, trainer, module):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file = (self.folder / f"steps{trainer.global_rank}.jsonl").open("w", buffering=1)  # line by line

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.losses.append(trainer.strategy.reduce(outputs["loss"].double(), reduce_op="mean").item())
        self.batches.append({"terms": module.terms(batch), "rows": [sample.where for sample in batch.samples]})
        if len(self.losses) == trainer.accumulate_grad_batches:
            step = {"step": trainer.global_step, "loss": sum(self.losses), "batches": self.batches}
            self.file.write(json.dumps(step) + "\n")
            self.losses, self.batches = [], []

    def on_train_end(self, trainer, module):
        weights = {}
        for name, weight in module.state_dict(keep_vars=True).items():
            with whole(weight) as all_of_it:
                weights[name] = all_of_it.detach().clone()
        if trainer.is_global_zero:
            torch.save(weights, self.folder / "weights.pt")


class Acts(pl.Callback):
    """Write down each time the policy acts, in ``acts0.jsonl`` of rank 0 and so on: for which prompts, and how many
    weights were in parts as it began and as it ended.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_fit_start(self, trainer, module):
        self.folder.mkdir(parents=True, exist_ok=True)
        roll, file = module.policy.roll, self.folder / f"acts{trainer.global_rank}.jsonl"

        def write(collate, prompts, *options):
            before = count_parts(module)
            rollouts = roll(collate, prompts, *options)
            line = {"prompts": list(prompts), "parts": [before, count_parts(module)]}
            with file.open("a") as lines:
                lines.write(json.dumps(line) + "\n")
            return rollouts

        module.policy.roll = write


def count_parts(module):
    """Weights of which this rank has a part."""
    return sum(
        isinstance(weight, DTensor) or (hasattr(weight, "ds_id") and not weight.numel())
        for weight in module.net.parameters()
    )


class Fuse(pl.Callback):
    """Kill a rank's process when a hook is called; at ``state_dict`` in the middle of writing a checkpoint.

    Args:
        hook: of Lightning's callbacks.
        call: at the so-manieth call.
        rank: whose; checkpoints are written by rank 0.
    """

    def __init__(self, hook: str, call: int, rank: int = 0) -> None:
        self.calls_left, self.rank = call, rank
        setattr(self, hook, self.burn)

    def burn(self, *told):
        self.calls_left -= 1
        burns = self.calls_left == 0 and int(os.environ.get("LOCAL_RANK", 0)) == self.rank
        if burns and told:  # of trainer and module; a state is asked for without a word, and written down later
            kill()
        return {"charge": Charge() if burns else None}


class Charge:
    """Kill the process that writes it down."""

    def __reduce__(self):
        kill()


def kill():
    os.kill(os.getpid(), signal.SIGKILL)
