"""One use of a trained policy: actions for a state, or an episode in its simulator. Shapes: ``evaluations.loop``."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.demonstrations.steps import Step
from data_modules.episodes.video import Clip
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.inputs import check_count
from mirage_pl.engine.seams import Piece
from mirage_pl.mmact.evaluations.loop import Play
from mirage_pl.mmact.evaluations.policies import Model
from mirage_pl.mmact.model.decoding import Decoder
from mirage_pl.mmact.sessions.situation import is_given, open_episode, read_step


class Act:
    """``conf/session/mmact/act.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
        decode: how actions are filled in.
        exec_steps: steps of a chunk that are done before the next one is chosen.
        limit: steps of an episode at most.

    Raises:
        ValueError: steps that a chunk hasn't, or fewer than one.
    """

    uses = ("module.choose_actions",)

    def __init__(
        self, trained: Trained, takes: Mapping[str, str], decode: Decoder, exec_steps: int, limit: int
    ) -> None:
        self.trained, self.takes, self.decode = trained, takes, decode
        self.exec_steps, self.limit = exec_steps, limit
        self.instruction = ""
        if limit < 1 or not 1 <= exec_steps <= self.task.chunk:
            most = self.task.chunk
            raise ValueError(
                f"exec_steps={exec_steps} must be 1 to {most}, the steps of a chunk, limit={limit} 1 or more"
            )

    def begin(
        self, instruction: str | None = None, state: str | None = None, image: Any = None, episode: float = 0
    ) -> Iterator[Piece]:
        """Say which actions follow a state and pictures; or without any play an episode, and show it.

        Args:
            instruction: what is to be done; ``None``: what the episode's own is.
            state: its numbers, with spaces between them; then an instruction is needed, where one is read.
            image: a path, or a list of paths: what each of the run's views sees.
            episode: which one is played; another number is another one.

        Raises:
            ValueError: see :func:`mirage_pl.mmact.sessions.situation.read_step`.
        """
        self.instruction = instruction or ""
        if is_given(self.trained, state, image):
            yield from self.step(state, image)
        else:
            yield from self.play(instruction, check_count("episode", episode, 0))

    def step(self, state: str | None = None, image: Any = None) -> Iterator[Piece]:
        """Say which actions follow a further state and pictures, under the same instruction."""
        for action in self.choose(read_step(self.trained, self.instruction, state, image)):
            yield Piece("text", " ".join(f"{number:.4f}" for number in action) + "\n")

    def choose(self, step: Step) -> NDArray[np.float32]:
        """A chunk of actions, [H, A]."""
        batch = self.trained.collator([step]).to(self.trained.device)
        chosen = self.trained.module.choose_actions(batch, self.decode, [torch.Generator().manual_seed(0)])
        chunk: NDArray[np.float32] = chosen.float().cpu().numpy().reshape(self.task.chunk, -1)
        return chunk

    def play(self, instruction: str | None, episode: int) -> Iterator[Piece]:
        """Play an episode, and show it."""
        playing = open_episode(self.trained, episode)
        world = playing.world
        told = instruction or world.instruction
        yield Piece("text", f"{told}\n")
        model = Model(
            self.trained.module,
            self.trained.collator,
            lambda each: (told, each.world.numbers.astype(np.float32)),
            Play.look,
            self.decode,
            self.task.chunk,
        )
        frames = playing.film()
        while not playing.over and len(playing.actions) < self.limit:
            for action in model([playing])[0][: self.exec_steps]:
                if not playing.over and len(playing.actions) < self.limit:
                    playing.act(action.astype(np.float64))
                    frames += playing.film()
        end = (
            "reached"
            if playing.reached
            else f"the simulator failed, {playing.error},"
            if playing.error
            else "not reached"
        )
        own = "" if told == world.instruction else f" (the episode's own: {world.instruction})"
        yield Piece("text", f"{end} after {len(playing.actions)} steps{own}\n")
        if frames:
            yield Piece("clip", Clip(np.stack(frames), 10), f"episode-{episode}.gif")

    @property
    def task(self) -> Any:
        """The task that the run was trained on."""
        return self.trained.config.task
