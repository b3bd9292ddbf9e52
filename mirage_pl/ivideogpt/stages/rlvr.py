"""A world model that learns from rewards: clips should come out as they did (RLVR-World, arXiv 2505.13934).

Shapes: B clips, T frames, F of them after the context, A numbers of an action.
"""

from typing import Any

from torch import Tensor

from mirage_pl.engine.adapters.off import AdapterOff
from mirage_pl.engine.checkpoints.parts import whole_shape
from mirage_pl.engine.rl.grpo import GRPO, KL
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.model.world import WorldModel
from mirage_pl.ivideogpt.rl.errors import FrameErrors
from mirage_pl.ivideogpt.rl.policy import CODES, Drawing, WorldPolicy
from mirage_pl.ivideogpt.stages.world_model import LearnWorld


class RewardWorld(GRPO, LearnWorld):
    """Learn from how far imagined frames are from those that came.

    Args:
        drawing: how clips are drawn.
        errors: of their frames, which rewards name as measures.
        reference: a frozen model that the policy is held near, over the same tokenizer, or itself without its adapter;
            ``None``: none.
        options: for :class:`mirage_pl.engine.rl.grpo.GRPO` and
            :class:`mirage_pl.ivideogpt.stages.world_model.LearnWorld`.
    """

    def __init__(
        self, drawing: Drawing, errors: FrameErrors, reference: WorldModel | AdapterOff | None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.errors, self.reference = errors, reference
        if isinstance(reference, WorldModel):
            check_codes(self.net, reference)
            reference.requires_grad_(False).tokenizer = self.net.tokenizer  # neither learns: one is enough
        for head in (self.net.transformer.reward_linear, self.net.transformer.action_recon_linear):
            if head is not None:
                head.requires_grad_(False)  # no reward reaches it
        self.policy: WorldPolicy = WorldPolicy(self.net, reference, self.take_actions, drawing, errors)
        self.check_losses()

    @property
    def grader(self) -> FrameErrors:
        """What grades: errors of frames, for the data set has them, and no grade."""
        return self.errors

    def losses_of_rows(self, batch: Batch) -> dict[str, Tensor]:
        """``codes``: the cross-entropy of held-out clips, in nats, as of a world model: what the policy forgets."""
        frames_BTCHW = batch.frames_BTCHW.to(self.device, self.tokenizer.dtype) / 255
        codes = self.net(self.lose_codes, frames_BTCHW, self.take_actions(batch))
        return {CODES: codes, KL: codes.new_zeros(())}

    def lose_codes(self, frames_BTCHW: Tensor, actions_BFA: Tensor | None) -> Tensor:
        """The cross-entropy of clips in [0, 1]."""
        return self.measure_codes(self.read(frames_BTCHW, actions_BFA))

    def terms_of_rows(self, batch: Batch) -> dict[str, int]:
        """Codes."""
        return dict.fromkeys((CODES, KL), self.world_terms(batch)["codes"])


def check_codes(net: WorldModel, reference: WorldModel) -> None:
    """Refuse a reference that predicts other codes.

    Raises:
        ValueError: gives both numbers of codes.
    """
    own, other = (whole_shape(world.transformer.llm.lm_head.weight)[0] for world in (net, reference))
    if own != other:
        raise ValueError(
            f"reference predicts {other} codes, and the policy {own}; it scores the policy's codes: set "
            "reference=copy, or give a model over the same tokenizer"
        )
