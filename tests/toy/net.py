"""Two networks, 183 weights together. Shapes: B rows, T numbers, P = T - 2 places that can be guessed."""

import torch
from torch import Tensor, nn


class Predictor(nn.Module):
    """Guess each number from the two before it, and whether it is higher than the one before it.

    Args:
        width: of its one hidden layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(2, width), nn.Linear(width, 2)

    def forward(self, numbers_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Guess numbers 2 to T: returns (guess_BP, higher_BP), the second as logits."""
        pairs_BPN = torch.stack((numbers_BT[:, :-2], numbers_BT[:, 1:-1]), dim=-1)
        change_BP, higher_BP = self.outer(torch.tanh(self.inner(pairs_BPN))).unbind(-1)
        return numbers_BT[:, 1:-1] + change_BP, higher_BP


class Critic(nn.Module):
    """Judge whether three numbers in a row are a wave's own, or the last one was guessed.

    Args:
        width: of its one hidden layer.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(3, width), nn.Linear(width, 1)

    def forward(self, numbers_BT: Tensor, last_BP: Tensor) -> Tensor:
        """Judge each place: returns own_BP, as logits."""
        triples_BPN = torch.stack((numbers_BT[:, :-2], numbers_BT[:, 1:-1], last_BP), dim=-1)
        own_BP: Tensor = self.outer(torch.tanh(self.inner(triples_BPN)))[..., 0]
        return own_BP


class Pair(nn.Module):
    """Both, side by side; or the first alone."""

    def __init__(self, predictor: Predictor, critic: Critic | None = None) -> None:
        super().__init__()
        self.predictor, self.critic = predictor, critic
