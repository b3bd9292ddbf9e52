"""One use of a trained run: go on from some numbers."""

from collections.abc import Iterator, Mapping

from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.seams import Piece
from tests.toy.waves import SHORTEST, Wave, draw_wave


class GoOn:
    """``conf/session/toy/go_on.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
    """

    def __init__(self, trained: Trained, takes: Mapping[str, str]) -> None:
        self.trained, self.takes = trained, takes
        self.numbers: list[float] = []

    def begin(self, numbers: str) -> Iterator[Piece]:
        """Begin anew with some numbers.

        Raises:
            ValueError: fewer than two, or no numbers.
        """
        self.numbers = []
        yield from self.step(numbers)

    def step(self, numbers: str) -> Iterator[Piece]:
        """Add numbers, guess the next one, and draw all."""
        try:
            self.numbers += [float(word) for word in str(numbers).split()]
        except ValueError:
            raise ValueError(f"numbers={numbers} must be numbers with spaces between them") from None
        if len(self.numbers) < SHORTEST - 1:
            raise ValueError(f"numbers={numbers} are too few; give {SHORTEST - 1} or more")
        asked = Wave("numbers=", (*self.numbers, 0.0), "slow")
        guess = self.trained.module.guess(self.trained.collator([asked]).to(self.trained.device)).item()
        yield Piece("text", f"{guess:.3f}\n")
        yield Piece("picture", draw_wave((*self.numbers, guess), guess), "wave.png")
