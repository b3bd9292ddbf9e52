"""The base class of every stage: a batch goes in, named losses come out.

A loss is a mean over terms, such as supervised tokens. The batches of an optimizer step, on all ranks and accumulated
ones, are weighted by their terms: the step's loss is the mean over all its terms, however its rows are batched.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

import pytorch_lightning as pl
import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from data_modules.loading.draws import reseed
from mirage_pl.engine.adapters.rows import Rows
from mirage_pl.engine.checkpoints.parts import Splits, leave_out, splits_weights
from mirage_pl.engine.training.draws import seed_step
from mirage_pl.engine.training.finite import GRADIENTS, WEIGHTS, Watch, find_largest, list_rows
from mirage_pl.engine.training.lightning import attached_trainer, let_clip
from mirage_pl.engine.training.losses import Weights, as_pairs, name_logged, sum_losses
from mirage_pl.engine.training.means import Means
from mirage_pl.engine.training.optim import parameter_groups


class BaseModule(pl.LightningModule):
    """Weigh, log and sum the losses of a stage.

    Args:
        net: the network.
        loss_weights: the weight of each loss that :meth:`losses` returns, by name; a pair of numbers is interpolated
            linearly over the run.
        optimizer: parameter groups -> optimizer.
        schedule: (optimizer, total steps) -> schedule, stepped once per optimizer step.
        weight_decay: of matrices; norms, biases and embeddings don't decay.
        parts: options of the optimizer by part of the model, or by dotted prefix of weights; see
            :func:`mirage_pl.engine.training.optim.parameter_groups`.
        lr_by_part: part of the model -> its learning rate; ``None``: the optimizer's.
    """

    several_optimizers = False
    apart: tuple[str, ...] = ()
    """Dotted prefixes of frozen weights that checkpoints don't hold (``kept: false`` of a start, or an adapter's)."""
    base: str = ""
    """With an adapter: digest of the frozen weights beside which it is trained."""
    seed: int = 0
    """Seed of all random numbers in training; set by the run."""

    def __init__(
        self,
        net: nn.Module,
        loss_weights: Weights,
        optimizer: Callable[[list[dict[str, Any]]], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        weight_decay: Annotated[float, Ge(0)],
        parts: Mapping[str, Mapping[str, Any]] | None = None,
        lr_by_part: Mapping[str, Annotated[float, Ge(0)] | None] | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss_weights = as_pairs(loss_weights)
        self.make_optimizer, self.make_schedule, self.weight_decay = optimizer, schedule, weight_decay
        self.part_options, self.lr_by_part = dict(parts or {}), dict(lr_by_part or {})
        self.watch, self.means, self.num_rows, self.step = Watch(), Means(), 0, 0

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move and cast, but keep the precision of buffers, such as rotary frequencies.

        Lightning and DeepSpeed cast the whole module; evaluation casts weights alone.
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
        """Return all losses of the stage, unweighted, by name."""

    def terms(self, batch: Any) -> dict[str, int]:
        """Number of terms that each loss is the mean of, by name; rows by default."""
        return dict.fromkeys(self.loss_weights, len(batch))

    def units(self) -> list[nn.Module]:
        """Modules that are called and together hold all weights, inner before outer.

        FSDP2 shards each of them, and gathers its weights when it is called.
        """
        return [self.net]

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """Parts of the model by name, for learning rates and adapters; of one within another the inner one counts."""
        return {}

    def vocabulary(self) -> tuple[nn.Module, nn.Module, Sequence[int]] | None:
        """Embedding, head and ids of the tokens that the family has added, whose rows an adapter may train."""
        return None

    def configure_model(self) -> None:
        """Tell a strategy that shards modules which ones."""
        if isinstance(self.trainer.strategy, Splits):
            rows = [each for each in self.modules() if isinstance(each, Rows)]
            self.trainer.strategy.split([*rows, *self.units()])

    @property
    def split(self) -> bool:
        """Whether weights are sharded, so that all ranks must call the same modules together."""
        trainer = attached_trainer(self)
        return trainer is not None and splits_weights(trainer.strategy)

    def alike(self, batch: Any, most: Callable[[Sequence[int]], list[int]]) -> Any:
        """Return the batch, padded so that it calls the same modules, as often, as the other ranks' batches.

        Called where weights are sharded. By default all batches are alike.

        Args:
            batch: this rank's.
            most: counts of this rank -> the largest of any rank, count by count; missing counts are 0.
        """
        return batch

    def most(self, counts: Sequence[int]) -> list[int]:
        """The largest of any rank, count by count."""
        length = int(self.reduce_max([len(counts)])[0])
        return self.reduce_max([*counts, *[0] * (length - len(counts))])

    def reduce_max(self, counts: Sequence[int]) -> list[int]:
        """The largest of any rank, count by count, where all ranks give as many."""
        largest: Any = self.trainer.strategy.reduce(torch.tensor(counts, device=self.device), reduce_op="max")
        return list(largest.tolist())

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the random numbers of the batch."""
        self.step = self.global_step
        seed_step(self.seed, self.step, self.trainer.global_rank, batch_idx % self.accumulate)

    def on_validation_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Seed the random numbers of a validation batch, the same at every validation."""
        reseed(self.seed, "validation", batch_idx, self.trainer.global_rank)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the batch's weighted loss, scaled by its share of the terms of the optimizer step."""
        if self.split:
            batch = self.alike(batch, self.most)
        shares = self.shares(batch, batch_idx)
        self.num_rows = len(batch)
        losses = self.losses(batch)
        total = self.weigh(losses)
        self.watch.note(self.step + 1, losses, list_rows(batch))
        self.log_dict(name_logged(losses, total), prog_bar=True, batch_size=len(batch))
        return self.weigh({name: shares[name] * loss for name, loss in losses.items()}) if shares else total

    def shares(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """The batch's terms over the mean terms of the step's batches, by loss; empty if it is the step's only batch.

        Gradients are later averaged over ranks and over accumulated batches.
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
        """Sum the terms of the step's batches over all ranks, together with the flag of the steps before."""
        terms = [self.terms(other) for other in trainer.train_dataloader.step_batches]
        own = torch.tensor([sum(t[name] for t in terms) for name in self.loss_weights], device=self.device)
        flag = self.watch.take_flag(self.device)
        all_ranks = trainer.strategy.reduce(torch.cat([own, flag.to(own.dtype)[None]]), reduce_op="sum")
        self._step_terms = all_ranks[:-1].clamp(min=1)
        self.watch.await_flag(all_ranks[-1])
        self.watch.check(trainer)

    def observe(self, values: Mapping[str, float | Tensor]) -> None:
        """Log numbers that aren't losses, such as codebook usage, as ``train/name`` or ``val/name``.

        To be called in :meth:`losses`. In validation they are averaged over rows.
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
        """Reset the means."""
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
            means["loss"] = sum_losses(self.weight(name) * loss for name, loss in losses.items())
        self.log_dict({f"val/{name}": mean for name, mean in means.items()}, prog_bar=True, sync_dist=True)

    def weigh(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of all losses, whose names are checked."""
        self.check_names(losses)
        return sum_losses(self.weight(name) * loss for name, loss in losses.items())

    def check_names(self, losses: Mapping[str, Tensor]) -> None:
        """Refuse losses whose names differ from those of the weights.

        Raises:
            ValueError: a loss without a weight, or a weight without a loss.
        """
        if losses.keys() != self.loss_weights.keys():
            raise ValueError(
                f"losses {sorted(losses)} but weights for {sorted(self.loss_weights)}; "
                "stage.module.loss_weights must name each loss once"
            )

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        """Note the largest gradient; a loss scaler handles infinite ones itself."""
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            self.watch_largest(GRADIENTS, (p.grad for group in optimizer.param_groups for p in group["params"]))

    def note_gradients(self, norm: Tensor) -> None:
        """Note the norm of this step's gradients, for a strategy that doesn't expose them."""
        self.watch.note(self.step + 1, {GRADIENTS: norm})

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out the weights that ``apart`` names; refuse to save if any value isn't finite, on all ranks together.

        Raises:
            ValueError: names step, value and rows.
        """
        if self.watch.new:
            self.watch_largest(WEIGHTS, (weight for weight in self.parameters() if weight.requires_grad))
        self.watch.check_all(self.trainer)
        if self.apart:
            leave_out(checkpoint, self, self.apart)
        if self.base:
            checkpoint["base"] = self.base

    def on_train_end(self) -> None:
        """Check the last steps."""
        self.watch.check_all(self.trainer)

    def watch_largest(self, name: str, tensors: Iterable[Tensor | None]) -> None:
        """Note the largest of some tensors of this step."""
        value = find_largest(tensors)
        if value is not None:
            self.watch.note(self.step + 1, {name: value})

    @property
    def progress(self) -> float:
        """Fraction of the run's optimizer steps taken so far; 0 outside a run."""
        trainer = attached_trainer(self)
        return self.global_step / max(1, self.total_steps) if trainer else 0.0

    @property
    def accumulate(self) -> int:
        """Batches per optimizer step."""
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
        """Return the optimizer of the trainable weights, and its schedule over the run's steps."""
        groups = parameter_groups(self, self.weight_decay, self.part_options, rates=self.lr_by_part)
        optimizer: Any = self.make_optimizer(groups)
        let_clip(optimizer)
        schedule = self.make_schedule(optimizer, self.total_steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]
