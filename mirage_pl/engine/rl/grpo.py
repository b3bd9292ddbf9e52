"""The stage that learns from rewards: a policy acts in groups, and a few steps make what was better likelier.

Shapes: B rollouts, S actions of a kind, M actions of a kind of all rollouts.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Any

from torch import Tensor

from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.engine.rl.objective import Objective, average, estimate_kl
from mirage_pl.engine.rl.policy import Policy, Rollout
from mirage_pl.engine.rl.rewards import Part, check_grader
from mirage_pl.engine.rl.rounds import Judged, Round, judge, pack, reward, unpack
from mirage_pl.engine.rl.schedule import Schedule, draw_prompts
from mirage_pl.engine.rl.sharing import do_shares
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.evaluating import evaluating

KL = "kl"
"""The name of the loss that holds a policy near its reference."""


class GRPO(BaseModule):
    """Learn from rewards, without a critic: an answer is compared with others to the same prompt (arXiv 2402.03300).

    Its losses are named by kinds of actions, and ``kl``. Processes share a round's rollouts (where weights are in
    parts, which they gather together, each makes all), and learn from all. A checkpoint holds those of its round, so
    that a stopped run goes on within it.

    Args:
        rollouts: how many, how often.
        objective: kind of action -> its loss.
        rewards: the parts of a reward, by name; they are summed. ``None``: no part.
        deviation: divide advantages by their group's standard deviation; false as in Dr. GRPO.
        options: for :class:`mirage_pl.engine.training.base.BaseModule`.
    """

    policy: Policy

    def __init__(
        self,
        rollouts: Schedule,
        objective: Mapping[str, Objective],
        rewards: Mapping[str, Part | None],
        deviation: bool,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.rollouts, self.objective, self.deviation = rollouts, dict(objective), deviation
        self.rewards = {name: part for name, part in rewards.items() if part is not None}
        if not self.rewards:
            raise ValueError("rewards has no part, so no answer is better than another; give one")
        self.round, self.saved = Round(), dict[str, Any]()
        self.begun_at: float | None = None
        self.seconds = 0.0

    @abstractmethod
    def losses_of_rows(self, batch: Any) -> dict[str, Tensor]:
        """Return the losses of held-out rows, which nobody has answered, under the same names."""

    @abstractmethod
    def terms_of_rows(self, batch: Any) -> dict[str, int]:
        """Return the terms of these losses."""

    def check_losses(self) -> None:
        """Refuse weights or objectives that don't name the policy's kinds of actions.

        Raises:
            ValueError: says what to name.
        """
        kinds = set(self.policy.kinds)
        if self.loss_weights.keys() != kinds | {KL}:
            raise ValueError(
                f"stage.module.loss_weights names {', '.join(sorted(self.loss_weights))}, but this policy's losses are "
                f"{', '.join(sorted(kinds | {KL}))}; give each of them a weight"
            )
        if missing := kinds - self.objective.keys():
            raise ValueError(
                f"objective has no {', '.join(sorted(missing))}, which is an action of this policy; add it"
            )

    # Rollouts

    @property
    def rows_a_step(self) -> int:
        """Rollouts of a step, over all processes and accumulated batches."""
        loader = self.trainer.datamodule.loader  # type: ignore[attr-defined]
        return int(loader.batch_size) * self.trainer.world_size * self.accumulate

    def on_fit_start(self) -> None:
        """Go on with the rollouts that the checkpoint had.

        Raises:
            ValueError: rollouts don't go into whole steps, or the task doesn't grade.
        """
        self.rollouts.steps(self.rows_a_step)
        check_grader(self.grader)
        self.round = Round.load(self.saved, self.prompts) if self.saved else Round()

    @property
    def prompts(self) -> Any:
        """The data set that is asked from."""
        return self.trainer.datamodule.datasets["train"]  # type: ignore[attr-defined]

    @property
    def grader(self) -> Any:
        """What grades: the data set, unless a family compares with what it has at hand."""
        return self.prompts

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
        with evaluating(self), self.trainer.precision_plugin.forward_context():
            self.round = self.act(step, number, share)
        self.begun_at, self.seconds = now, perf_counter() - now
        self.on_acted(self.round.watched)

    def act(self, step: int, number: int, watched: Mapping[str, float]) -> Round:
        """Make the rollouts of a round."""
        judged, taken, used = Judged(), self.round.taken, set[int]()
        for _ in range(1 + self.rollouts.refill):
            indices, taken = draw_prompts(self.seed, taken, self.rollouts.prompts, len(self.prompts))
            asked = [index for index in indices if index not in used]
            if not asked:
                break
            used.update(asked)
            groups = do_shares(asked, partial(self.answer, step), divided=not self.split)
            rollouts = [rollout for group in groups for rollout in unpack(group, self.prompts)]
            judged = judged.join(judge(rollouts, self.rollouts.group, self.deviation))
            if sum(judged.telling) >= self.rollouts.prompts:
                break
        kept = judged.keep(self.rollouts.prompts)
        referred = do_shares(kept, self.refer, divided=not self.split)
        kept = [replace(each, reference=values) for each, values in zip(kept, referred, strict=True)]
        return Round(number, taken, kept, {**judged.watch(), **watched})

    def answer(self, step: int, indices: Sequence[int]) -> list[list[dict[str, Any]]]:
        """Act for some prompts, and reward what is done: a group of packed rollouts for each."""
        asked, group = {index: self.prompts[index] for index in indices}, self.rollouts.group
        rollouts = self.policy.roll(self.collate, asked, group, self.seed, step)
        rows = pack(reward(rollouts, self.rewards, self.grader))
        return [rows[first : first + group] for first in range(0, len(rows), group)]

    @property
    def collate(self) -> Any:
        """The family's collator."""
        return self.trainer.datamodule.collate  # type: ignore[attr-defined]

    def refer(self, rollouts: Sequence[Rollout]) -> list[dict[str, Tensor]]:
        """How likely the reference finds rollouts, action by action of each kind; nothing without one."""
        if (reference := self.policy.reference()) is None:
            return [{} for _ in rollouts]
        width = int(self.trainer.datamodule.loader.batch_size)  # type: ignore[attr-defined]
        referred: list[dict[str, Tensor]] = []
        with reference:
            for first in range(0, len(rollouts), width):
                some = rollouts[first : first + width]
                values = self.policy.logprobs(self.collate(some).to(self.device).inputs).values
                pieces = {
                    kind: values_M.cpu().split([len(each.old[kind]) for each in some])
                    for kind, values_M in values.items()
                }
                referred += [{kind: pieces[kind][row] for kind in pieces} for row in range(len(some))]
        return referred

    def on_acted(self, watched: Mapping[str, float]) -> None:
        """Look at what came of a round; a family may warn."""

    def pick(self, step: int, part: int, size: int) -> Sequence[Rollout]:
        """Return the rollouts of a batch, at least one for each process."""
        kept = self.round.rollouts
        rows = self.rollouts.pick(self.seed, step, part, self.accumulate, self.rows_a_step, len(kept))
        rows += [rows[place % len(rows)] for place in range(self.trainer.world_size - len(rows))]
        return [kept[row] for row in rows]

    # What is learnt

    def terms(self, batch: Any) -> dict[str, int]:
        """Actions or rollouts, as each kind's objective says."""
        if not isinstance(batch, RolloutBatch):
            return self.terms_of_rows(batch)
        counts = {kind: batch.counts[kind] for kind in self.policy.kinds}
        terms = {kind: self.objective[kind].count(count, len(batch)) for kind, count in counts.items()}
        return terms | {KL: counts[self.policy.kinds[0]]}

    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The clipped loss of each kind of action, and ``kl``: the distance to the reference, 0 without one."""
        if not isinstance(batch, RolloutBatch):
            return self.losses_of_rows(batch)
        scores = self.policy.logprobs(batch.inputs)
        losses, watched = dict[str, Tensor](), {"entropy": scores.entropy.detach()}
        for kind in self.policy.kinds:
            new_BS, mask_BS = batch.align(kind, scores.values[kind]), batch.masks[kind]
            surrogate = self.objective[kind].surrogate(new_BS, batch.old[kind], mask_BS, batch.advantages_B)
            losses[kind] = surrogate.loss.float()
            watched |= {f"{kind}_clipped": surrogate.clipped, f"{kind}_drift": surrogate.drift}
        losses[KL] = self.distance(batch, scores.values)
        self.observe({**self.round.watched, **watched})
        return losses

    def distance(self, batch: RolloutBatch, values: Mapping[str, Tensor]) -> Tensor:
        """Mean distance to the reference over actions of the first kind."""
        kind = self.policy.kinds[0]
        if not batch.reference:
            return values[kind].new_zeros(())
        new_BS, mask_BS = batch.align(kind, values[kind]), batch.masks[kind]
        return average(estimate_kl(new_BS, batch.reference[kind], mask_BS), mask_BS)
