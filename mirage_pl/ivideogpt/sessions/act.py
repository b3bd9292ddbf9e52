"""One use of a trained agent: it plays an episode in its simulator."""

from collections.abc import Iterator, Mapping

import torch

from data_modules.episodes.video import Clip, enlarge
from data_modules.worlds.play import draw_start
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.inputs import check_count
from mirage_pl.engine.seams import Piece
from mirage_pl.ivideogpt.control.playing import play
from mirage_pl.ivideogpt.evaluations.acting import SHOWN


class Act:
    """``conf/session/ivideogpt/act.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
    """

    uses = ("module.simulator", "module.playing")

    def __init__(self, trained: Trained, takes: Mapping[str, str]) -> None:
        self.module, self.takes, self.start = trained.module, takes, 0

    def begin(self, start: float = 0) -> Iterator[Piece]:
        """Play from a start, one of those that ``evaluation=ivideogpt/acting`` scores.

        Raises:
            ValueError: it is no number from 0 on.
        """
        self.start = check_count("start", start, 0)
        simulator, actions = self.module.simulator, self.module.playing.actions
        with torch.no_grad():
            episode, facts = play(simulator, self.module.policy, actions, draw_start(self.start))
        reached = "the goal was reached" if facts["reached"] else "the goal wasn't reached"
        yield Piece("text", f"start {self.start}: return {facts['return']:.2f}, {reached}\n")
        clip = Clip(enlarge(episode.frames_THWC, SHOWN))
        yield Piece("clip", clip, "played.mp4")
        yield Piece("clip", clip, "played.gif")

    def step(self) -> Iterator[Piece]:
        """Play from the next start."""
        yield from self.begin(self.start + 1)
