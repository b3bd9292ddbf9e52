"""Self-distillation on one's own answers: a twin that sees the helper image says which tokens should have come.

No reward is needed: the model answers, with its own latents or in text alone; a moving average of it, given true
latents in their places or helper images in the question, scores the same tokens; and the model is drawn to what the
twin finds likely (Visual-OPSD; put on latents ours).

Shapes: B rows, T columns, M chosen tokens, N latents, D width, V vocabulary.
"""

from copy import deepcopy
from typing import Annotated, Any

import torch
from annotated_types import Ge, Lt
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.engine.rl.divergence import Divergence
from mirage_pl.engine.rl.rounds import Round, watch_facts
from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.rl.actions import Replay
from mirage_pl.mirage.rl.collator import Answers
from mirage_pl.mirage.rl.module import AnsweringModule
from mirage_pl.mirage.rl.policy import Answering, AnswerPolicy
from mirage_pl.mirage.rl.privilege import Privilege
from mirage_pl.mirage.rl.recording import allowed_logs

DIVERGENCE = "divergence"


class SelfDistill(AnsweringModule):
    """Learn from a twin that knows more.

    Args:
        latents: what a latent is to the one who learns: ``Recompute`` or ``Replay``.
        answering: how answers are sampled.
        divergence: of the twin's distribution and the model's at each chosen token.
        privilege: what the twin sees.
        decay: of the twin's moving average of weights, at each step.
        options: for :class:`mirage_pl.mirage.rl.module.AnsweringModule`.

    Raises:
        ValueError: latents are drawn, which have no place in this loss.
    """

    def __init__(
        self,
        latents: Replay,
        answering: Answering,
        divergence: Divergence,
        privilege: Privilege,
        decay: Annotated[float, Ge(0), Lt(1)],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if latents.likely:
            raise ValueError(f"latents: {type(latents).__name__} draws latents; set latents=recompute or replay")
        self.twin = deepcopy(self.net).requires_grad_(False)
        self.divergence, self.privilege, self.decay = divergence, privilege, decay
        self.policy: AnswerPolicy = AnswerPolicy(self.net, None, self.decoder, latents, answering, self.ce_chunk)

    def on_fit_start(self) -> None:
        """Begin as all that learn from rollouts do.

        Raises:
            ValueError: weights are in parts.
        """
        if self.split:
            raise ValueError(
                "strategy=fsdp2 and deepspeed_zero3 keep weights in parts, of which the twin has no average; choose "
                "strategy=ddp"
            )
        super().on_fit_start()
        if not self.saved:  # a new run
            self.follow(0.0)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Let the twin follow the step before; a run that goes on does so, too."""
        super().on_train_batch_start(batch, batch_idx)
        if self.global_step and batch_idx % self.accumulate == 0:
            self.follow(self.decay)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        """Move the twin's weights to the model's; with 0 all the way."""
        for own, other in zip(self.net.parameters(), self.twin.parameters(), strict=True):
            other.lerp_(own, 1 - decay)
        for now, then in zip(self.net.buffers(), self.twin.buffers(), strict=True):
            then.copy_(now)

    # Rollouts

    def act(self, step: int, number: int) -> Round:
        """Answer questions."""
        indices, taken = self.draw(self.round.taken)
        rollouts = self.roll(step, indices)
        return Round(number, taken, rollouts, watch_facts(rollouts))

    # What is learnt

    def terms_of_rollouts(self, batch: RolloutBatch) -> dict[str, int]:
        """Chosen tokens; latents that ``evidence`` compares."""
        return {DIVERGENCE: batch.counts[self.policy.kinds[0]], **self.evidence_terms_of_rollouts(batch)}

    def terms_of_rows(self, batch: Batch) -> dict[str, int]:
        """Supervised tokens; latents that ``evidence`` compares."""
        return {DIVERGENCE: batch.supervised, **self.evidence_terms(batch)}

    def losses_of_rollouts(self, batch: RolloutBatch) -> dict[str, Tensor]:
        """``divergence``: mean over chosen tokens; ``evidence``, if learnt."""
        inputs: Any = batch.inputs
        self.observe(self.round.watched)
        hidden_BTD = self.policy.latents.hidden(self.net, inputs.batch, inputs.latents_ND)
        return {DIVERGENCE: self.compare(hidden_BTD, inputs), **self.evidence_of_rollouts(batch, hidden_BTD)}

    def losses_of_rows(self, batch: Batch) -> dict[str, Tensor]:
        """The same of held-out answers, with the model's own latents."""
        hidden_BTD, states_ND = self.net.written(batch)
        latents_ND = self.net.feedback(states_ND).detach()
        divergence = self.compare(hidden_BTD, Answers(batch, latents_ND, batch.sizes))
        return {DIVERGENCE: divergence, **self.evidence_loss(states_ND, batch)}

    def compare(self, hidden_BTD: Tensor, answers: Answers) -> Tensor:
        """The mean divergence at the tokens of answers, given the model's hidden states."""
        with torch.no_grad():
            seen, latents_ND = self.privilege(self.twin, answers)
            twin_BTD = self.twin.with_latents(seen, self.twin.embed(seen), latents_ND)
        pair = twin_BTD[seen.targets_BT != IGNORE], hidden_BTD[answers.batch.targets_BT != IGNORE]
        if self.ce_chunk is None:
            return self.diverge(*pair).mean()
        count = max(1, -(-len(pair[0]) // self.ce_chunk))
        pieces = zip(*(hidden_MD.tensor_split(count) for hidden_MD in pair), strict=True)
        parts = [checkpoint(self.diverge, *each, use_reentrant=False, preserve_rng_state=False) for each in pieces]
        return torch.cat(parts).mean()

    def diverge(self, twin_MD: Tensor, hidden_MD: Tensor) -> Tensor:
        """The divergence at some places, ``[M]``."""
        options = self.policy.answering.temperature, self.policy.banned
        with torch.no_grad():
            twin_MV = allowed_logs(self.twin.logits(twin_MD), *options)
        return self.divergence(twin_MV, allowed_logs(self.net.logits(hidden_MD), *options))
