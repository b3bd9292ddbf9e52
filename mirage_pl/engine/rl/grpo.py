"""The stage that learns from rewards: a policy acts in groups, and a few steps make what was better likelier.

Shapes: B rollouts, S actions of a kind, M actions of a kind of all rollouts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mirage_pl.engine.adapters.off import AdapterOff, check_new_adapter
from mirage_pl.engine.rl.acting import Acting
from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.engine.rl.objective import Objective, average, estimate_kl
from mirage_pl.engine.rl.policy import LogProbs, Rollout
from mirage_pl.engine.rl.rewards import Part, check_grader
from mirage_pl.engine.rl.rounds import Judged, Round, judge, reward
from mirage_pl.engine.rl.sharing import do_shares

KL = "kl"
"""The name of the loss that holds a policy near its reference."""


class GRPO(Acting):
    """Learn from rewards, without a critic: an answer is compared with others to the same prompt (arXiv 2402.03300).

    Its losses are named by kinds of actions, and ``kl``. A family's stage sets ``reference``.

    Args:
        objective: kind of action -> its loss.
        rewards: the parts of a reward, by name; they are summed. ``None``: no part.
        deviation: divide advantages by their group's standard deviation; false as in Dr. GRPO.
        options: for :class:`mirage_pl.engine.rl.acting.Acting`.
    """

    reference: Any

    def __init__(
        self, objective: Mapping[str, Objective], rewards: Mapping[str, Part | None], deviation: bool, **options: Any
    ) -> None:
        super().__init__(**options)
        self.objective, self.deviation = dict(objective), deviation
        self.rewards = {name: part for name, part in rewards.items() if part is not None}
        if not self.rewards:
            raise ValueError("rewards has no part, so no answer is better than another; give one")

    def check_losses(self) -> None:
        """Refuse weights or objectives that don't name the policy's kinds of actions.

        Raises:
            ValueError: says what to name.
        """
        kinds = set(self.policy.kinds)
        names = {*kinds, KL, *self.further}
        if self.loss_weights.keys() != names:
            raise ValueError(
                f"stage.module.loss_weights names {', '.join(sorted(self.loss_weights))}, but this policy's losses are "
                f"{', '.join(sorted(names))}; give each of them a weight"
            )
        if missing := kinds - self.objective.keys():
            raise ValueError(
                f"objective has no {', '.join(sorted(missing))}, which is an action of this policy; add it"
            )

    @property
    def further(self) -> Sequence[str]:
        """Names of the losses that a family adds: :meth:`further_losses` and :meth:`further_terms`."""
        return ()

    def further_losses(self, batch: RolloutBatch, scores: LogProbs) -> dict[str, Tensor]:
        """Return them, of the same pass."""
        return {}

    def further_terms(self, batch: RolloutBatch) -> dict[str, int]:
        """Return their terms."""
        return {}

    # Rollouts

    @property
    def grader(self) -> Any:
        """What grades: the data set, unless a family compares with what it has at hand."""
        return self.prompts

    def on_fit_start(self) -> None:
        """Go on with the rollouts that the checkpoint had.

        Raises:
            ValueError: rollouts don't go into whole steps, the task doesn't grade, or without its adapter the model
                isn't what the run starts from.
        """
        check_grader(self.grader)
        if isinstance(self.reference, AdapterOff) and not self.saved:
            check_new_adapter(self)
        super().on_fit_start()

    def prepare(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Reward rollouts."""
        return reward(rollouts, self.rewards, self.grader)

    def act(self, step: int, number: int) -> Round:
        """Make the rollouts of a round."""
        judged, taken, used = Judged(), self.round.taken, set[int]()
        for _ in range(1 + self.rollouts.refill):
            indices, taken = self.draw(taken)
            asked = [index for index in indices if index not in used]
            if not asked:
                break
            used.update(asked)
            judged = judged.join(judge(self.roll(step, asked), self.rollouts.group, self.deviation))
            if sum(judged.telling) >= self.rollouts.prompts:
                break
        kept = judged.keep(self.rollouts.prompts)
        referred = do_shares(kept, self.refer, divided=self.divided)
        kept = [replace(each, reference=values) for each, values in zip(kept, referred, strict=True)]
        return Round(number, taken, kept, judged.watch())

    def on_acted(self, watched: Mapping[str, float]) -> None:
        """Warn where a round tells nothing."""
        super().on_acted(watched)
        self.warn(
            "degenerate",
            watched["degenerate"] == 1,
            f"in none of {watched['groups']:.0f} groups do rewards differ, so nothing is learnt from them; take "
            "prompts that are neither too easy nor too hard, or raise rollouts.group, rollouts.refill or the "
            "temperature",
        )

    def refer(self, rollouts: Sequence[Rollout]) -> list[dict[str, Tensor]]:
        """How likely the reference finds rollouts, action by action of each kind; nothing without one."""
        if (reference := self.policy.reference()) is None:
            return [{} for _ in rollouts]
        with reference:
            return self.score(rollouts)

    # What is learnt

    def terms_of_rollouts(self, batch: RolloutBatch) -> dict[str, int]:
        """Actions or rollouts, as each kind's objective says."""
        counts = {kind: batch.counts[kind] for kind in self.policy.kinds}
        terms = {kind: self.objective[kind].count(count, len(batch)) for kind, count in counts.items()}
        return terms | {KL: counts[self.policy.kinds[0]], **self.further_terms(batch)}

    def losses_of_rollouts(self, batch: RolloutBatch) -> dict[str, Tensor]:
        """The clipped loss of each kind of action, and ``kl``: the distance to the reference, 0 without one."""
        scores = self.policy.logprobs(batch.inputs)
        losses, watched = dict[str, Tensor](), {"entropy": scores.entropy.detach()}
        for kind in self.policy.kinds:
            new_BS, mask_BS = batch.align(kind, scores.values[kind]), batch.masks[kind]
            surrogate = self.objective[kind].surrogate(new_BS, batch.old[kind], mask_BS, batch.advantages_B)
            losses[kind] = surrogate.loss.float()
            watched |= {f"{kind}_clipped": surrogate.clipped, f"{kind}_drift": surrogate.drift}
        losses[KL] = self.distance(batch, scores.values)
        self.observe({**self.round.watched, **watched, **self.watch_places(batch, scores)})
        return losses | self.further_losses(batch, scores)

    def watch_places(self, batch: RolloutBatch, scores: LogProbs) -> dict[str, Tensor]:
        """How far ratios of the first kind are from 1, on average, in each of the family's places."""
        kind = self.policy.kinds[0]
        old_M = batch.old[kind][batch.masks[kind]]
        drift_M = (scores.values[kind].detach() - old_M).exp().sub(1).abs()
        return {
            f"{kind}_drift_{name}": drift_M[there_M].mean() for name, there_M in scores.places.items() if there_M.any()
        }

    def distance(self, batch: RolloutBatch, values: Mapping[str, Tensor]) -> Tensor:
        """Mean distance to the reference over actions of the first kind."""
        kind = self.policy.kinds[0]
        if not batch.reference:
            return values[kind].new_zeros(())
        new_BS, mask_BS = batch.align(kind, values[kind]), batch.masks[kind]
        return average(estimate_kl(new_BS, batch.reference[kind], mask_BS), mask_BS)
