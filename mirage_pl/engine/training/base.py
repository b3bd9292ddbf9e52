"""The one seam every family shares: a batch goes in, named losses come out.

A loss is a mean over terms, such as supervised tokens. An optimizer step may have many batches, on many ranks and one
after another, some with more terms than others. Every loss of a batch counts by its terms, so that the step's loss is
the mean over all terms: it is the same, however the step's rows are cut into batches.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from data_modules.loading.draws import reseed
from mirage_pl.engine.checkpoints.parts import leave_out, splits_weights
from mirage_pl.engine.training.draws import seed_step
from mirage_pl.engine.training.finite import GRADIENTS, WEIGHTS, Watch, largest, rows_of
from mirage_pl.engine.training.lightning import attached_trainer, let_clip
from mirage_pl.engine.training.losses import added, as_pair, train_logged
from mirage_pl.engine.training.means import Means
from mirage_pl.engine.training.optim import parameter_groups


class BaseModule(pl.LightningModule):
    """Weigh, log and sum the losses a stage returns.

    Args:
        net: what is trained.
        loss_weights: a weight for every name that :meth:`losses` returns, and for no other; a pair of numbers goes from
            the first to the second, linearly over the run.
        optimizer: parameter groups -> optimizer.
        schedule: (optimizer, total steps) -> schedule, stepped once an optimizer step.
        weight_decay: of matrices; norms, biases and embeddings don't decay.
        parts: options of the optimizer, such as ``lr``, by dotted prefix of what they are for; see
            :func:`mirage_pl.engine.training.optim.parameter_groups`.
    """

    several_optimizers = False
    apart: tuple[str, ...] = ()
    """Dotted prefixes of frozen weights that checkpoints don't hold (``kept: false`` of a start)."""
    seed: int = 0
    """Of everything that is drawn in training; a run sets its own."""

    def __init__(
        self,
        net: nn.Module,
        loss_weights: Mapping[str, float | Sequence[float]],
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        weight_decay: float,
        parts: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss_weights = {name: as_pair(name, weight) for name, weight in loss_weights.items()}
        self.make_optimizer, self.make_schedule, self.weight_decay = optimizer, schedule, weight_decay
        self.parts = dict(parts or {})
        self.watch, self.means, self.num_rows, self.step = Watch(), Means(), 0, 0

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move and cast, but round no buffer: of rotary frequencies in bfloat16, distant positions are wrong by turns.

        Lightning and DeepSpeed cast the whole module; evaluation loads only weights in fewer bits.
        """
        exact = {name: buffer for name, buffer in self.named_buffers() if buffer.is_floating_point()}
        super()._apply(fn, recurse)
        for name, buffer in exact.items():
            owner, _, leaf = name.rpartition(".")
            cast = self.get_buffer(name)
            if cast.dtype.itemsize < buffer.dtype.itemsize:
                setattr(self.get_submodule(owner), leaf, buffer.to(cast.device))
        return self

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """Return every loss this stage trains on, unweighted, by name."""

    def terms(self, batch: Any) -> dict[str, int]:
        """Of how many terms each loss is the mean, by name: rows, where a family doesn't say otherwise."""
        return dict.fromkeys(self.loss_weights, len(batch))

    def units(self) -> list[nn.Module]:
        """The modules that are called and that together hold all weights, inner ones before those that they are in.

        FSDP2 keeps each in parts, and makes it whole when it is called.
        """
        return [self.net]

    def configure_model(self) -> None:
        """Give the strategy what it may split, if it doesn't find that by itself."""
        if hasattr(self.trainer.strategy, "split"):
            self.trainer.strategy.split(self.units())

    @property
    def split(self) -> bool:
        """Whether ranks hold parts of the weights, so that all must call the same parts of the network together."""
        trainer = attached_trainer(self)
        return trainer is not None and splits_weights(trainer.strategy)

    def alike(self, batch: Any, most: Callable[[Sequence[int]], list[int]]) -> Any:
        """The same batch, made to call the same parts of the network, as often, as the other ranks' batches do.

        Asked for where ranks hold parts of the weights. A family whose batches all do has nothing to do.

        Args:
            batch: of this rank.
            most: counts of this rank -> the largest of any rank, each; a rank that gives fewer counts than another has
                0 of the rest.
        """
        return batch

    def most(self, counts: Sequence[int]) -> list[int]:
        """The largest of any rank, count by count."""

        def largest(own: Sequence[int]) -> Any:
            return self.trainer.strategy.reduce(torch.tensor(own, device=self.device), reduce_op="max").tolist()

        (length,) = largest([len(counts)])
        return list(largest([*counts, *[0] * (length - len(counts))]))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Begin the batch's random numbers."""
        self.step = self.global_step
        seed_step(self.seed, self.step, self.trainer.global_rank, batch_idx % self.accumulate)

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Begin the random numbers of a validation batch: the same at every validation."""
        reseed(self.seed, "validation", batch_idx, self.trainer.global_rank)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Weigh the losses of one batch by name, and by their share in the optimizer step."""
        if self.split:
            batch = self.alike(batch, self.most)
        shares = self.shares(batch, batch_idx)
        self.num_rows = len(batch)
        losses = self.losses(batch)
        total = self.weigh(losses)
        self.watch.note(self.step + 1, losses, rows_of(batch))
        self.log_dict(train_logged(losses, total), prog_bar=True, batch_size=len(batch))
        return self.weigh({name: shares[name] * loss for name, loss in losses.items()}) if shares else total

    def shares(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Its terms over what a batch of this optimizer step has on average, by loss; nothing if it is alone.

        What comes after divides by the number of batches: ranks average their gradients, and Lightning those of a rank.
        """
        trainer = attached_trainer(self)
        num_batches = trainer.world_size * self.accumulate if trainer else 1
        if trainer is None or num_batches == 1:
            if trainer is not None:
                self.watch.await_flag(self.watch.take_flag(self.device))
                self.watch.check(trainer)
            return {}
        if batch_idx % self.accumulate == 0:
            self.count_terms(trainer)
        terms_here = self.terms(batch)
        pairs = zip(self.loss_weights, self._step_terms, strict=True)
        return {name: terms_here[name] * num_batches / in_step for name, in_step in pairs}

    def count_terms(self, trainer: Any) -> None:
        """Add up the terms of a step's batches on all ranks; with them goes whether the steps before were sound."""
        terms = [self.terms(other) for other in trainer.train_dataloader.step_batches]
        own = torch.tensor([sum(t[name] for t in terms) for name in self.loss_weights], device=self.device)
        flag = self.watch.take_flag(self.device)
        all_ranks = trainer.strategy.reduce(torch.cat([own, flag.to(own.dtype)[None]]), reduce_op="sum")
        self._step_terms = all_ranks[:-1].clamp(min=1)
        self.watch.await_flag(all_ranks[-1])
        self.watch.check(trainer)

    def observe(self, values: Mapping[str, float | Tensor]) -> None:
        """Log numbers that aren't losses, such as the usage of codes, as ``train/name`` or ``val/name``.

        Called in :meth:`losses`. In validation they are means over rows.
        """
        trainer = attached_trainer(self)
        if trainer is None:
            return
        if trainer.training:
            self.log_dict({f"train/{name}": value for name, value in values.items()}, batch_size=self.num_rows)
        else:
            for name, value in values.items():
                self.means.add(name, torch.as_tensor(value, device=self.device), self.num_rows)

    def on_validation_epoch_start(self) -> None:
        """Begin new means."""
        self.means = Means()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Add the losses of one validation batch to their means over all terms."""
        self.num_rows = len(batch)
        losses, terms = self.losses(batch), self.terms(batch)
        self.check_names(losses)
        for name, loss in losses.items():
            self.means.add(name, loss, terms[name])

    def on_validation_epoch_end(self) -> None:
        """Log each loss's mean over its terms as ``val/name``, and their weighted sum as ``val/loss``."""
        means = self.means.over_all(self.trainer.strategy)
        losses = {name: mean for name, mean in means.items() if name in self.loss_weights}
        if losses:
            means["loss"] = added(self.weight(name) * loss for name, loss in losses.items())
        self.log_dict({f"val/{name}": mean for name, mean in means.items()}, prog_bar=True, sync_dist=True)

    def weigh(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of all losses, whose names are checked."""
        self.check_names(losses)
        return added(self.weight(name) * loss for name, loss in losses.items())

    def check_names(self, losses: Mapping[str, Tensor]) -> None:
        """Refuse losses that aren't those with weights.

        Raises:
            ValueError: a loss without a weight, or a weight without a loss.
        """
        if losses.keys() != self.loss_weights.keys():
            raise ValueError(
                f"losses {sorted(losses)} but weights for {sorted(self.loss_weights)}; "
                "stage.module.loss_weights must name each loss once"
            )

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Look at the gradients; a scaler that finds infinite ones skips the step by itself."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            self.watch_largest(GRADIENTS, (p.grad for group in optimizer.param_groups for p in group["params"]))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what ``apart`` names, and refuse to write down what isn't a number, on all ranks together.

        Raises:
            ValueError: names step, value and rows.
        """
        if self.watch.new:
            self.watch_largest(WEIGHTS, (weight for weight in self.parameters() if weight.requires_grad))
        self.watch.check_all(self.trainer)
        if self.apart:
            leave_out(checkpoint, self, self.apart)

    def on_train_end(self) -> None:
        """Look at the last steps."""
        self.watch.check_all(self.trainer)

    def watch_largest(self, name: str, tensors: Iterable[Tensor | None]) -> None:
        """Note the largest of some tensors of this step."""
        value = largest(tensors)
        if value is not None:
            self.watch.note(self.step + 1, {name: value})

    @property
    def progress(self) -> float:
        """Share of the run's optimizer steps that have been taken; 0 outside a run."""
        trainer = attached_trainer(self)
        return self.global_step / max(1, self.total_steps) if trainer else 0.0

    @property
    def accumulate(self) -> int:
        """Batches of an optimizer step."""
        return int(self.trainer.accumulate_grad_batches)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return int(self.trainer.estimated_stepping_batches)

    def weight(self, name: str) -> float:
        """Weight of a loss at this point of the run."""
        first, last = self.loss_weights[name]
        return first if first == last else first + (last - first) * min(1.0, self.progress)

    def configure_optimizers(self) -> Any:
        """Optimizer over what is trainable, and its schedule over the steps the trainer will take."""
        optimizer: Any = self.make_optimizer(parameter_groups(self, self.weight_decay, self.parts))
        let_clip(optimizer)
        schedule = self.make_schedule(optimizer, self.total_steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
