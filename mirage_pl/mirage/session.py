"""A session with a trained run: questions about pictures, of one or of many."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from data_modules.rows.jsonl import IMAGE, interleave
from data_modules.samples import Picture, Sample
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.seams import Piece
from mirage_pl.engine.serving.chat import Question
from mirage_pl.mirage.chat import Asked, Together, ask
from mirage_pl.mirage.decoding.sampling import Decoding

MOST = 512
"""Columns of an answer where neither the command nor the run's task says how many."""


class Answer:
    """Answer questions, each independently: the model was trained on single questions.

    Args:
        trained: the run.
        takes: name of each input -> its kind.
        decoding: options of :class:`mirage_pl.mirage.decoding.sampling.Decoding`; with a ``max_new_tokens`` of 0 the
            run's task says how many, else they are :data:`MOST`.

    Raises:
        ValueError: an option out of its range.
    """

    uses = ("module.net.architecture", "module.stream")

    def __init__(
        self, trained: Trained, takes: Mapping[str, str], decoding: Annotated[Mapping[str, Any], Decoding]
    ) -> None:
        most = decoding["max_new_tokens"] or trained.config.task.get("max_new_tokens") or MOST
        self.trained, self.takes, self.decoding = trained, takes, {**decoding, "max_new_tokens": most}
        self.own = Decoding(**self.decoding)
        self.pictures: list[Picture] = []
        self.longest = int(trained.module.net.architecture.text_config.max_position_embeddings)
        self.prompt = str(trained.config.task.get("prompt") or "")
        self.own_prompt = self.prompt.replace(IMAGE, "")

    def begin(self, prompt: str | None = None, image: str | Sequence[str] | None = None) -> Iterator[Piece]:
        """Answer a question about pictures, and describe its latents.

        Args:
            prompt: with ``<image>`` for each picture; ``None``: the prompt of the run's task.
            image: paths of pictures.

        Raises:
            ValueError: there is no question, or a picture can't be read.
        """
        paths = list(map(str, image)) if isinstance(image, list | tuple) else [] if image is None else [str(image)]
        self.pictures = [Picture(Path(path)) for path in paths]
        yield from self.step(prompt)

    def step(self, prompt: str | None = None) -> Iterator[Piece]:
        """Answer another question about the same pictures."""
        prompt = prompt or self.prompt
        if not prompt:
            name = self.trained.config.task.name
            raise ValueError(f"each row of task={name} has a question of its own; give prompt=")
        question = Sample("prompt=", interleave(prompt, IMAGE, self.pictures), ())
        prompts = self.trained.collator.prompts([question]).to(self.trained.device)
        for text in self.trained.module.stream(prompts, **self.decoding):
            yield Piece("text", text)

    def prepare(self, question: Question) -> Asked:
        """Get a question of many ready.

        Raises:
            ValueError: it can't be asked.
        """
        return ask(question, self.trained.collator, self.prompt, self.own, self.longest)

    def answer(self, prompts: Sequence[Asked]) -> Together:
        """Begin to answer some questions together."""
        return Together(self.trained.module, self.trained.collator, prompts)
