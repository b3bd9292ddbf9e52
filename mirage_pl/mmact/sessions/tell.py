"""One use of a model that tells what comes next: in words, and as the picture that is seen after a chunk."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from data_modules.demonstrations.steps import Step
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.inputs import check_count
from mirage_pl.engine.seams import Piece
from mirage_pl.mmact.evaluations.loop import Play
from mirage_pl.mmact.evaluations.pictures import place_beside, to_levels
from mirage_pl.mmact.evaluations.policies import make_step
from mirage_pl.mmact.model.decoding import Decoder
from mirage_pl.mmact.pictures import prepare_views
from mirage_pl.mmact.sessions.situation import is_given, open_episode, read_step


class Tell:
    """``conf/session/mmact/tell.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
        decode_words: how words are filled in.
        decode_image: how codes of an image are.

    Raises:
        ValueError: the run tells nothing.
    """

    uses = ("collator.text_slots", "collator.paints")

    def __init__(
        self, trained: Trained, takes: Mapping[str, str], decode_words: Decoder, decode_image: Decoder
    ) -> None:
        self.trained, self.takes, self.instruction = trained, takes, ""
        self.decode_words, self.decode_image = decode_words, decode_image
        self.says, self.paints = trained.collator.text_slots is not None, trained.collator.paints
        if not self.says and not self.paints:
            raise ValueError("this run tells nothing; train one with stage=mmact/text or stage=mmact/mix")

    def begin(
        self, instruction: str | None = None, state: str | None = None, image: Any = None, episode: float = 0
    ) -> Iterator[Piece]:
        """Say what comes next at a state and pictures; or without any at the begin of an episode; and paint it, too.

        Args:
            instruction: what is to be done; ``None``: what the episode's own is.
            state: its numbers, with spaces between them; then an instruction is needed, where one is read.
            image: a path, or a list of paths: what each of the run's views sees.
            episode: which one is begun; another number is another one.

        Raises:
            ValueError: see :func:`mirage_pl.mmact.sessions.situation.read_step`.
        """
        self.instruction = instruction or ""
        if is_given(self.trained, state, image):
            yield from self.step(state, image)
            return
        playing = open_episode(self.trained, check_count("episode", episode, 0))
        told, world = instruction or playing.world.instruction, playing.world
        yield Piece("text", f"{told}\n")
        numbers_S = world.numbers.astype(np.float32)
        step = make_step("episode", told, numbers_S, self.trained.config.task.chunk, world.width, playing.look())
        yield from self.say(step)
        if self.paints:
            yield from self.paint(step, playing)

    def step(self, state: str | None = None, image: Any = None) -> Iterator[Piece]:
        """Say what comes next at a further state and pictures, under the same instruction, and paint it."""
        step = read_step(self.trained, self.instruction, state, image)
        yield from self.say(step)
        if self.paints and step.seen:
            yield from self.paint(step)

    def say(self, step: Step) -> Iterator[Piece]:
        """What comes next, in words."""
        if self.says:
            batch = self.trained.collator([step]).to(self.trained.device)
            (ids,) = self.trained.module.write_plans(batch, self.decode_words)
            yield Piece("text", f"{self.trained.collator.words.decode(ids)}\n")

    def paint(self, step: Step, playing: Play | None = None) -> Iterator[Piece]:
        """What is seen now, what is expected after a chunk, and in an episode what is seen then, as its expert acts."""
        module, coder, views = self.trained.module, self.trained.module.coder, [step.look()]
        codes_1n = module.paint(self.trained.collator([step]).to(self.trained.device), self.decode_image)
        words = "left what is seen now; then what the model expects"
        if playing is not None:
            for _ in range(len(step.actions_HA)):
                playing.act(np.clip(playing.world.choose_expert_action(), -1, 1))
            views, words = [*views, playing.look()], f"{words}; right what is seen, as the expert acts"
        now, *after = (prepare_views(seen[:1], coder.sizes.side) for seen in views)
        yield Piece("text", f"{words}\n")
        shown = torch.cat((now, coder.decode(codes_1n).cpu(), *after))
        yield Piece("picture", place_beside(to_levels(shown)), "next.png")
