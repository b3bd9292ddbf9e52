"""The paper's third step, which was never released: answers with latents, learnt from rewards.

Shapes: B rows, T columns, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Interval
from torch import Tensor

from mirage_pl.engine.adapters.off import AdapterOff
from mirage_pl.engine.checkpoints.parts import whole_shape
from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.engine.rl.grpo import GRPO
from mirage_pl.engine.rl.policy import LogProbs, Rollout
from mirage_pl.mirage.evidence import EVIDENCE
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.rl.actions import Replay
from mirage_pl.mirage.rl.credit import credit_rollouts
from mirage_pl.mirage.rl.module import AnsweringModule
from mirage_pl.mirage.rl.policy import TEXT, Answering, AnswerPolicy

MOST_CUT = 0.5
"""Share of answers that may reach their longest length before a warning says so."""


class AnswerGRPO(GRPO, AnsweringModule):
    """Learn from rewards of sampled answers.

    Args:
        latents: what a latent is to the policy, see :mod:`mirage_pl.mirage.rl.actions`.
        answering: how answers are sampled.
        reference: a frozen model that the policy is held near, or itself without its adapter; ``None``: none.
        least_emitted: share of answers with latents below which a warning says so.
        options: for :class:`mirage_pl.engine.rl.grpo.GRPO` and :class:`mirage_pl.mirage.rl.module.AnsweringModule`.
    """

    gives_credit = True

    def __init__(
        self,
        latents: Replay,
        answering: Answering,
        reference: LatentVLM | AdapterOff | None,
        least_emitted: Annotated[float, Interval(ge=0, le=1)],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.reference = reference.requires_grad_(False) if isinstance(reference, LatentVLM) else reference
        self.least_emitted = least_emitted
        self.policy: AnswerPolicy = AnswerPolicy(
            self.net, self.reference, self.decoder, latents, answering, self.ce_chunk
        )
        if isinstance(reference, LatentVLM):
            check_vocabulary(self.net, reference)
        self.check_losses()

    def prepare(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        """Reward answers; note what credit their latents have, if ``evidence`` asks for it."""
        rewarded = super().prepare(rollouts)
        if self.evidence is None or self.evidence.uniform == 1:
            return rewarded
        return credit_rollouts(self.net, self.serve(rewarded), rewarded, self.rollouts.group)

    def on_acted(self, watched: Mapping[str, float]) -> None:
        """Warn where the policy hardly opens latent blocks any more, or seldom comes to an end."""
        super().on_acted(watched)
        self.warn(
            "cut",
            1 - watched["finished"] > MOST_CUT,
            f"{1 - watched['finished']:.0%} of the answers were cut at answering.max_new_tokens="
            f"{self.policy.answering.max_new_tokens} and graded as they were; raise it, or begin from a run whose "
            "answers end",
        )
        self.warn(
            "silent",
            watched["emitted"] < self.least_emitted,
            f"only {watched['emitted']:.0%} of the answers have latents (least_emitted={self.least_emitted:.0%}), as "
            "rewards favour others; lower stage.module.optimizer.lr, hold the policy near its start with "
            "reference=copy, or begin from a run that answers with latents",
        )

    @property
    def further(self) -> Sequence[str]:
        """``evidence``, if it is learnt."""
        return () if self.evidence is None else (EVIDENCE,)

    def further_losses(self, batch: RolloutBatch, scores: LogProbs) -> dict[str, Tensor]:
        """``evidence``, if it is learnt."""
        hidden: Any = scores
        return self.evidence_of_rollouts(batch, hidden.hidden_BTD)

    def further_terms(self, batch: RolloutBatch) -> dict[str, int]:
        """Latents that ``evidence`` compares."""
        return self.evidence_terms_of_rollouts(batch)

    def losses_of_rows(self, batch: Any) -> dict[str, Tensor]:
        """Of held-out answers: ``text``, the cross-entropy as in stage 2, which says what the policy forgets; and
        ``evidence``. Others are 0.
        """
        hidden_BTD, states_ND = self.net.written(batch)
        text = self.text_loss(hidden_BTD, batch)
        losses = {name: text if name == TEXT else text.new_zeros(()) for name in self.loss_weights}
        return losses | self.evidence_loss(states_ND, batch)

    def terms_of_rows(self, batch: Any) -> dict[str, int]:
        """Supervised tokens; latents that ``evidence`` compares."""
        return dict.fromkeys(self.loss_weights, batch.supervised) | self.evidence_terms(batch)


def check_vocabulary(net: LatentVLM, reference: LatentVLM) -> None:
    """Refuse a reference that writes other tokens.

    Raises:
        ValueError: gives both numbers of tokens.
    """
    heads: list[Any] = [each.architecture.head for each in (net, reference)]
    own, other = (whole_shape(head.weight)[0] for head in heads)
    if own != other:
        raise ValueError(
            f"reference has a vocabulary of {other} tokens, and the policy one of {own}; it scores the policy's "
            "tokens: set reference=copy, or give a model with the policy's tokenizer"
        )
