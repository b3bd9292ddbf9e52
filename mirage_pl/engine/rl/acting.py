"""Stages that learn from what their policy does: it acts in rounds, and a few steps learn from each.

Shapes: B rollouts, S actions of a kind, M actions of a kind of all rollouts.
"""

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from torch import Tensor

from mirage_pl.engine.checkpoints.parts import Gathers
from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.engine.rl.engines import Engine, load_weights
from mirage_pl.engine.rl.policy import Policy, Rollout
from mirage_pl.engine.rl.rounds import Round, pack, unpack
from mirage_pl.engine.rl.schedule import Schedule, draw_prompts
from mirage_pl.engine.rl.sharing import do_shares
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.evaluating import evaluating

log = logging.getLogger(__name__)


class Acting(BaseModule):
    """Rounds of rollouts, and batches of them.

    Processes share a round's rollouts and learn from all; weights that are in parts are whole while they act (or each
    process makes all). A checkpoint holds those of its round, so that a stopped run goes on within it.

    Args:
        rollouts: how many, how often.
        engine: makes what acts in the policy's place, as training begins; ``None``: the policy acts itself.
        options: for :class:`mirage_pl.engine.training.base.BaseModule`.

    Raises:
        ValueError: an engine in place of what makes it.
    """

    policy: Policy

    def __init__(self, rollouts: Schedule, engine: Callable[[], Engine] | None = None, **options: Any) -> None:
        super().__init__(**options)
        if engine is not None and not callable(engine):
            raise ValueError(
                f"engine={type(engine).__name__} is there already; give it _partial_: true: only training makes it"
            )
        self.rollouts, self.make_engine = rollouts, engine
        self.engine: Engine | None = None
        self.round, self.saved = Round(), dict[str, Any]()
        self.warned = set[str]()
        self.begun_at: float | None = None
        self.seconds = 0.0

    @abstractmethod
    def act(self, step: int, number: int) -> Round:
        """Make the rollouts of a round."""

    @abstractmethod
    def losses_of_rollouts(self, batch: RolloutBatch) -> dict[str, Tensor]:
        """Return the losses of a batch of rollouts."""

    @abstractmethod
    def terms_of_rollouts(self, batch: RolloutBatch) -> dict[str, int]:
        """Return the terms of these losses."""

    @abstractmethod
    def losses_of_rows(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses of held-out rows, which nobody has answered, under the same names."""

    @abstractmethod
    def terms_of_rows(self, batch: Any) -> dict[str, int]:
        """Return the terms of these losses."""

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses of rollouts, or of held-out rows."""
        return self.losses_of_rollouts(batch) if isinstance(batch, RolloutBatch) else self.losses_of_rows(batch)

    def terms(self, batch: Any) -> dict[str, int]:
        """Their terms."""
        return self.terms_of_rollouts(batch) if isinstance(batch, RolloutBatch) else self.terms_of_rows(batch)

    def prepare(self, rollouts: Sequence[Rollout]) -> Sequence[Rollout]:
        """Add what is known of rollouts where they were made, such as their rewards."""
        return rollouts

    @property
    def divided(self) -> bool:
        """Whether processes divide a round: each can call the model by itself."""
        return not self.split or self.rollouts.whole

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """A time in which weights that are in parts are whole in every process, unless ``rollouts.whole`` is false."""
        strategy = self.trainer.strategy
        if self.split and self.rollouts.whole and isinstance(strategy, Gathers):
            with strategy.gathered():
                yield
        else:
            yield

    def on_acted(self, watched: Mapping[str, float]) -> None:
        """Look at what came of a round; a family may :meth:`warn`."""

    def warn(self, name: str, holds: bool, sentence: str) -> None:
        """Log a sentence when something begins to hold; again once it has ceased and holds anew.

        Args:
            name: of what may hold.
            holds: whether it does in this round.
            sentence: what it means, and what to do.
        """
        if holds and name not in self.warned:
            log.warning(sentence)
        (self.warned.add if holds else self.warned.discard)(name)

    @property
    def rows_a_step(self) -> int:
        """Rollouts of a step, over all processes and accumulated batches."""
        loader = self.trainer.datamodule.loader  # type: ignore[attr-defined]
        return int(loader.batch_size) * self.trainer.world_size * self.accumulate

    @property
    def prompts(self) -> Any:
        """The data set that is asked from."""
        return self.trainer.datamodule.datasets["train"]  # type: ignore[attr-defined]

    @property
    def collate(self) -> Any:
        """The family's collator."""
        return self.trainer.datamodule.collate  # type: ignore[attr-defined]

    # Rounds

    def on_fit_start(self) -> None:
        """Make the engine; go on with the rollouts that the checkpoint had.

        Raises:
            ValueError: rollouts don't go into whole steps, or a round asks more prompts than there are.
        """
        self.rollouts.steps(self.rows_a_step)
        self.draw(0)  # refuses a round of more prompts than there are
        self.engine = self.make_engine() if self.make_engine is not None else None
        self.round = Round.load(self.saved, self.prompts) if self.saved else Round()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the round."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["round"] = self.round.save()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the round."""
        self.saved = checkpoint["round"]

    def gather(self, step: int) -> None:
        """Act, where a round begins."""
        number = step // self.rollouts.steps(self.rows_a_step)
        if self.round.number == number:
            return
        now = perf_counter()
        share = {} if self.begun_at is None else {"rollout_share": self.seconds / (now - self.begun_at)}
        with evaluating(self), self.trainer.precision_plugin.forward_context(), self.whole_weights():
            if self.engine is not None:
                load_weights(self.engine, self.net)
            made = self.act(step, number)
        self.round = replace(made, watched={**made.watched, **share})
        self.begun_at, self.seconds = now, perf_counter() - now
        self.on_acted(self.round.watched)

    def draw(self, taken: int) -> tuple[list[int], int]:
        """The next prompts, see :func:`mirage_pl.engine.rl.schedule.draw_prompts`."""
        return draw_prompts(self.seed, taken, self.rollouts.prompts, len(self.prompts))

    def roll(self, step: int, indices: Sequence[int]) -> list[Rollout]:
        """Act for some prompts, prompt after prompt."""
        groups = do_shares(indices, partial(self.answer, step), divided=self.divided)
        return [rollout for group in groups for rollout in unpack(group, self.prompts)]

    def answer(self, step: int, indices: Sequence[int]) -> list[list[dict[str, Any]]]:
        """Act for some prompts in this process: a group of packed rollouts for each."""
        asked, group = {index: self.prompts[index] for index in indices}, self.rollouts.group
        if self.engine is None:
            rollouts = self.policy.roll(self.collate, asked, group, self.seed, step)
        else:
            rollouts = self.complete(self.engine.roll(self.collate, asked, group, self.seed, step))
        rows = pack(self.prepare(rollouts))
        return [rows[first : first + group] for first in range(0, len(rows), group)]

    def complete(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Let the policy say how likely an engine's rollouts are, where the engine didn't."""
        unknown = [row for row, rollout in enumerate(rollouts) if not rollout.old]
        if not unknown:
            return list(rollouts)
        completed = list(rollouts)
        for row, values in zip(unknown, self.score([rollouts[row] for row in unknown]), strict=True):
            completed[row] = replace(rollouts[row], old=values)
        return completed

    def score(self, rollouts: Sequence[Rollout]) -> list[dict[str, Tensor]]:
        """How likely the policy finds each rollout now, action by action of each kind."""
        scores: list[dict[str, Tensor]] = []
        for inputs in self.serve(rollouts):
            counts = self.policy.count_actions(inputs)
            values = self.policy.logprobs(inputs).values
            pieces = {kind: values_M.cpu().split(list(counts[kind])) for kind, values_M in values.items()}
            scores += [{kind: pieces[kind][row] for kind in pieces} for row in range(len(inputs))]
        return scores

    def serve(self, rollouts: Sequence[Rollout]) -> Iterator[Any]:
        """The family's batches of rollouts, on the device, as many at a time as a step learns from."""
        width = int(self.trainer.datamodule.loader.batch_size)  # type: ignore[attr-defined]
        for first in range(0, len(rollouts), width):
            yield self.collate(rollouts[first : first + width]).to(self.device).inputs

    def pick(self, step: int, part: int, size: int) -> Sequence[Rollout]:
        """Return the rollouts of a batch, at least one for each process."""
        kept = self.round.rollouts
        rows = self.rollouts.pick(self.seed, step, part, self.accumulate, self.rows_a_step, len(kept))
        rows += [rows[place % len(rows)] for place in range(self.trainer.world_size - len(rows))]
        return [kept[row] for row in rows]
