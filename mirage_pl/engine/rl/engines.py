"""What acts in a policy's place: a faster engine, in this process or behind a server."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from mirage_pl.engine.checkpoints.parts import whole
from mirage_pl.engine.rl.policy import Rollout
from mirage_pl.engine.seams import Located


class Engine(Protocol):
    """Rollouts from elsewhere. ``engine`` of a run's config builds one as training begins; every process has its own.

    A round begins with :meth:`load`; then :meth:`roll` is called for this process's share of its prompts.
    """

    def load(self, weights: Iterator[tuple[str, Tensor]]) -> None:
        """Take the policy's weights as they are now.

        Args:
            weights: names in the policy's network, and whole weights, each good until the next is asked for. What is
                left of it is read to its end afterwards, for where weights are in parts all processes gather them.
        """

    def roll(self, collate: Any, prompts: Mapping[int, Located], group: int, seed: int, step: int) -> Sequence[Rollout]:
        """Act ``group`` times for each prompt, prompt after prompt, as :meth:`mirage_pl.engine.rl.policy.Policy.roll`.

        A rollout's ``record`` is the family's, so that the policy can score it. Its ``old`` may be empty: then the
        policy says how likely its actions are. One that is given is taken as what they were drawn with, which corrects
        for an engine that rounds otherwise.
        """


def load_weights(engine: Engine, net: nn.Module) -> None:
    """Give an engine a network's weights; all processes enter together."""
    weights = read_weights(net)
    engine.load(weights)
    deque(weights, maxlen=0)


def read_weights(net: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Names and whole weights, one after the other."""
    for name, parameter in net.named_parameters():
        with whole(parameter) as weight:
            yield name, weight.detach()
