"""The second stage: several optimizers. Shapes as in ``net.py``."""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from mirage_pl.engine.training.turns import Turn, Turns
from tests.toy.batch import Batch
from tests.toy.module import Waves
from tests.toy.net import Pair


class Spar(Turns, Waves):
    """Guess the next number, against a critic: two optimizers, which take turns within a step."""

    def __init__(self, jitter: float, net: Pair, turns: Mapping[str, Turn]) -> None:
        super().__init__(net, turns)
        self.jitter = jitter

    def losses_in(self, turn: str, batch: Batch) -> dict[str, Tensor]:
        """``fool``: the critic should take guesses for a wave's own. ``judge``: it shouldn't."""
        numbers_BT, real_BP = self.noisy(batch), batch.real_BT[:, 2:]
        guess_BP, higher_BP = self.net.predictor(numbers_BT)
        if turn == "predictor":
            fooled_BP = F.softplus(-self.net.critic(numbers_BT, guess_BP))
            return self.guess_losses(guess_BP, higher_BP, batch) | {"fool": fooled_BP[real_BP].mean()}
        own_BP = self.net.critic(numbers_BT, numbers_BT[:, 2:])
        guessed_BP = self.net.critic(numbers_BT, guess_BP.detach())
        return {"judge": (F.softplus(-own_BP) + F.softplus(guessed_BP))[real_BP].mean()}
