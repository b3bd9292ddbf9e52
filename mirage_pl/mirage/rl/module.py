"""What stages that learn from sampled answers have in common."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from mirage_pl.engine.rl.acting import Acting
from mirage_pl.engine.rl.batch import RolloutBatch
from mirage_pl.engine.runs.identity import is_below
from mirage_pl.mirage.evidence import EVIDENCE, Places, find_images
from mirage_pl.mirage.module import MirageModule
from mirage_pl.mirage.rl.policy import AnswerPolicy

WRITERS = ("feedback", "recurrence")
"""Parts of the network that write latents, and read none."""


class AnsweringModule(Acting, MirageModule):
    """Batches of answers beside batches of rows.

    Args:
        bottleneck: must be ``None``: answers are sampled without.
        options: for its bases.

    Raises:
        ValueError: there is a bottleneck.
    """

    def __init__(self, bottleneck: None = None, **options: Any) -> None:
        if bottleneck is not None:
            raise ValueError(
                "a bottleneck hides images in training, but answers are sampled with them; drop bottleneck="
            )
        super().__init__(**options)
        if self.evidence is not None and self.net.recurrence.apart:
            raise ValueError(
                "evidence of sampled answers needs latents that follow from each other; drop recurrence=queries"
            )

    policy: AnswerPolicy

    def on_fit_start(self) -> None:
        """Begin as all that learn from rollouts do.

        Raises:
            ValueError: latents are constants, and nothing but what writes them would learn.
        """
        latents = self.policy.latents
        if self.evidence is None and not (latents.anew or latents.likely):
            learning = [name for name, weight in self.net.named_parameters() if weight.requires_grad]
            if learning and all(is_below(name, WRITERS) for name in learning):
                raise ValueError(
                    "latents=replay gives what writes latents no gradient, and stage.freeze leaves nothing else to "
                    f"learn (net.{learning[0]} is trained); set latents=recompute, or freeze less"
                )
        super().on_fit_start()

    def alike(self, batch: Any, most: Callable[[Sequence[int]], list[int]]) -> Any:
        """Match the rank with the most latent columns, as in other stages."""
        if not isinstance(batch, RolloutBatch):
            return super().alike(batch, most)
        inputs: Any = batch.inputs
        return replace(batch, inputs=replace(inputs, batch=super().alike(inputs.batch, most)))

    def evidence_of_rollouts(self, batch: RolloutBatch, hidden_BTD: Tensor) -> dict[str, Tensor]:
        """``evidence``, if it is learnt, of latents that the model writes anew where its answers had some.

        Args:
            batch: answers.
            hidden_BTD: their hidden states, given what the policy takes for latents.
        """
        if self.evidence is None:
            return {}
        inputs: Any = batch.inputs
        if not self.policy.latents.anew:
            hidden_BTD = self.net.recurrent(inputs.batch)
        states_ND, places = hidden_BTD[inputs.batch.before_BT], self.images_of_rollouts(batch)
        return self.evidence_loss(states_ND, inputs.batch, places, inputs.credit_N)

    def evidence_terms_of_rollouts(self, batch: RolloutBatch) -> dict[str, int]:
        """Latents that are compared, if any are to be."""
        return {} if self.evidence is None else {EVIDENCE: self.images_of_rollouts(batch).count}

    def images_of_rollouts(self, batch: RolloutBatch) -> Places:
        """The helper image of each latent; answers to one question have the same."""
        inputs: Any = batch.inputs
        names = [rollout.sample.where for rollout in batch.samples]
        return find_images(inputs.batch.sizes, list(map(len, inputs.planned)), names)

    def flops(self, batch: Any) -> float:
        """Floating-point operations of a training step on this batch, without those of its rollouts."""
        if not isinstance(batch, RolloutBatch):
            return super().flops(batch)
        inputs: Any = batch.inputs
        return super().flops(inputs.batch) - self.net.architecture.decoder_flops(inputs.batch.shared.spared, 0)
