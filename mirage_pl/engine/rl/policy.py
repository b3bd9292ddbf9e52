"""What learning from rewards needs of a family: it acts, tells how likely it did so, and what it is compared with.

Shapes: B rollouts, S actions of one kind of each, M actions of a kind of all rollouts, row after row.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from torch import Tensor

from mirage_pl.engine.seams import Located


@dataclass(frozen=True)
class Rollout:
    """What a policy did once for a prompt. All but the sample is plain values and tensors, which a checkpoint keeps.

    Attributes:
        sample: the prompt.
        index: of the sample in its data set.
        number: of the rollout in its group.
        answer: what is graded: a text, frames.
        record: what was done, by the family's own names: enough to compute log-probabilities again.
        old: kind of action -> log-probabilities ``[S]`` when they were taken.
        facts: numbers to watch, such as its length.
        rewards: part -> the reward's part, weighed.
        advantage: how much better than its group it is.
        reference: kind -> log-probabilities ``[S]`` of the reference, where there is one.
    """

    sample: Located = field(repr=False)
    index: int
    number: int
    answer: Any
    record: Mapping[str, Any] = field(repr=False)
    old: Mapping[str, Tensor] = field(repr=False)
    facts: Mapping[str, float]
    rewards: Mapping[str, float] = field(default_factory=dict)
    advantage: float = 0.0
    reference: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def where(self) -> str:
        """The prompt's place, and which rollout of its group this is."""
        return f"{self.sample.where}, answer {self.number}"


class Inputs(Protocol):
    """A family's batch."""

    def __len__(self) -> int:
        """Return the number of rollouts."""

    def to(self, device: Any, non_blocking: bool = False) -> Self:
        """Return the batch on a device."""


@dataclass(frozen=True)
class LogProbs:
    """How likely a policy finds what was done.

    Attributes:
        values: kind -> ``[M]``.
        entropy: mean over the actions of the first kind, without gradient.
        places: name -> which actions of the first kind lie there, bools ``[M]``; how far their ratios are from 1 is
            watched place by place.
    """

    values: Mapping[str, Tensor]
    entropy: Tensor
    places: Mapping[str, Tensor] = field(default_factory=dict)


class Policy(Protocol):
    """A model that acts.

    What one side computes from a cache, many rollouts at a time, and the other in one packed pass must agree: the ratio
    of a rollout's probabilities is 1 until the policy learns.

    Attributes:
        kinds: of actions, such as ``text``; each has an objective and a loss of its name. The first one's distance to
            the reference is measured.
    """

    kinds: Sequence[str]

    def roll(self, collate: Any, prompts: Mapping[int, Located], group: int, seed: int, step: int) -> Sequence[Rollout]:
        """Act ``group`` times for each prompt, prompt after prompt.

        A rollout depends on the seed, the step, its sample and its number in the group, not on the others.

        Args:
            collate: the family's collator.
            prompts: samples by their index.
            group: rollouts a prompt.
            seed: of the run.
            step: of the run.
        """

    def logprobs(self, inputs: Any) -> LogProbs:
        """Compute log-probabilities of what was done, with gradient, from the family's batch of rollouts."""

    def count_actions(self, inputs: Any) -> Mapping[str, Sequence[int]]:
        """Return how many actions of each kind each rollout of a batch has."""

    def reference(self) -> AbstractContextManager[None] | None:
        """While it is entered, :meth:`logprobs` are the reference's; ``None`` if there is none."""
