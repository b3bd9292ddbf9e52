"""Questions of many, answered together: what the server asks of a session.

Shapes: B rows, T columns, n latents of one row, D width, R rows and C columns of an image's merged features.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from secrets import randbits
from typing import Any, Literal

import torch
from torch import Tensor

from data_modules.images import image_size
from data_modules.rows.jsonl import IMAGE, interleave, joined
from data_modules.samples import Picture, Sample, Text
from mirage_pl.engine.serving.chat import End, Event, Mark, Message, Options, Question
from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import measure_latent
from mirage_pl.mirage.decoding.prompts import join_prompts
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.decoding.writing import Writing
from mirage_pl.mirage.probing.reading import embed_latents, join_answers
from mirage_pl.mirage.probing.sight import divide_attention, join_tiles, record_attention
from mirage_pl.mirage.tokens import encode_question

SPEAKERS = {"user": "User: ", "assistant": "Assistant: "}
MOST_LOOKED_AT = 2048
"""Longest question and answer whose attention is recorded: its weights take memory with the square of the length."""


def write_question(messages: Sequence[Message], own_prompt: str) -> tuple[Text | Picture, ...]:
    """Write a conversation as one question, as rows that are conversations are (``data_modules/rows/chat.py``).

    Args:
        messages: the last one is the user's.
        own_prompt: stands in for a text where there is none, with ``<image>`` for each image.

    Raises:
        ValueError: there is no text.
    """
    said = [part for message in messages for part in message.parts]
    if not any(isinstance(part, str) and part.strip() for part in said):
        if not own_prompt:
            raise ValueError("the question has no text; ask something")
        return interleave(own_prompt, IMAGE, [Picture(part) for part in said if not isinstance(part, str)])
    system = [message for message in messages if message.role == "system"]
    spoken = [message for message in messages if message.role != "system"]
    parts: list[Any] = [part for message in system for part in (*message.parts, "\n\n")]
    for number, message in enumerate(spoken):
        speaker = SPEAKERS[message.role] if len(spoken) > 1 else ""
        parts += ["\n" * (number > 0) + speaker, *message.parts]
    return joined(part if isinstance(part, str) else Picture(part) for part in parts)


def read_options(options: Options, own: Decoding, room: int) -> Decoding:
    """How to answer: as the client says, otherwise as the session does; draws are other ones each time without a seed.

    Args:
        options: the client's.
        own: the session's.
        room: most tokens of the answer.

    Raises:
        ValueError: a value out of its range.
    """
    return Decoding(
        max_new_tokens=options.max_tokens or max(1, min(own.max_new_tokens, room)),
        temperature=own.temperature if options.temperature is None else options.temperature,
        top_p=own.top_p if options.top_p is None else options.top_p,
        top_k=own.top_k,
        seed=randbits(48) if options.seed is None else options.seed,
        stop=own.stop if options.stop is None else options.stop,
    )


@dataclass(frozen=True)
class Asked:
    """A question, ready to be answered.

    Attributes:
        batch: the question, alone.
        decoding: how to answer.
        marks: whether latents are described.
    """

    batch: Batch
    decoding: Decoding
    marks: bool

    @property
    def num_tokens(self) -> int:
        """Tokens of the question."""
        return self.batch.lengths[0]

    @property
    def max_tokens(self) -> int:
        """Most tokens of the answer."""
        return self.decoding.max_new_tokens


@dataclass
class Row:
    """An answer that is being written."""

    asked: Asked
    writing: Writing
    tokens: list[int] = field(default_factory=list)
    latents: list[Tensor] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    over: bool = False


class Together:
    """Answers that are written together, each as if alone.

    Args:
        module: a stage's module.
        collate: of the run.
        asked: the questions.
    """

    def __init__(self, module: Any, collate: Collator, asked: Sequence[Asked]) -> None:
        self.net, self.decoder, self.collate = module.net, module.decoder, collate
        self.rows = [Row(each, Writing(collate.tokenizer, each.decoding.stop)) for each in asked]
        device = self.net.backbone.device
        prompts = join_prompts([each.batch for each in asked], collate.pad).to(device)
        self.steps = self.decoder.steps(self.net, prompts, [each.decoding for each in asked])
        self.begun = False

    def step(self, gone: Collection[int]) -> list[tuple[int, Event]]:
        """Write one column."""
        leave = [number for number in gone if not self.rows[number].over]
        for number in leave:
            self.rows[number].over = True
        step = self.steps.send(leave if self.begun else None)
        self.begun = True
        columns = step.written_B.tolist(), step.tokens_B.tolist(), step.latent_B.tolist(), step.ended_B.tolist()
        events: list[tuple[int, Event]] = []
        for number, (row, written, token, latent, ended) in enumerate(zip(self.rows, *columns, strict=True)):
            if row.over:
                continue
            if written:
                events += [(number, event) for event in self.write(row, token, step.hidden_BD[number], latent)]
            if ended or row.writing.stopped or len(row.tokens) == row.asked.max_tokens:
                events += [(number, event) for event in self.end(row, ended)]
        return events

    def write(self, row: Row, token: int, hidden_D: Tensor, latent: bool) -> Iterator[Event]:
        """Write one column of one row."""
        row.tokens.append(token)
        if latent:
            before_D = row.latents[-1] if row.latents else None
            row.latents.append(hidden_D)
            if row.asked.marks:
                number, words = len(row.marks), tuple(self.decoder.read_latent(self.net, hidden_D))
                row.marks.append(Mark(number, f"latent {number + 1}", measure_latent(hidden_D, before_D), words))
                yield row.marks[-1]
        if text := row.writing.add(token):
            yield text

    def end(self, row: Row, ended: bool) -> Iterator[Event]:
        """End one row."""
        row.over = True
        if text := row.writing.end():
            yield text
        if row.marks and row.asked.batch.images is not None:
            yield from self.look(row)
        reason: Literal["stop", "length"] = "stop" if ended or row.writing.stopped else "length"
        yield End(reason, len(row.tokens), len(row.latents))

    @torch.no_grad()
    def look(self, row: Row) -> Iterator[Mark]:
        """Tell where a row's latents look, averaged over heads and layers."""
        batch, grids = row.asked.batch, self.collate.pictures.merged(row.asked.batch.images)
        if row.asked.num_tokens + len(row.tokens) > MOST_LOOKED_AT:
            return
        whole = join_answers(self.collate, batch, [row.tokens]).to(self.net.backbone.device)
        embeds = embed_latents(self.net, whole, [torch.stack(row.latents)])
        shares_nT = record_attention(self.net, whole, embeds).mean(0).cpu()
        image_T = (whole.tokens_BT[0] == self.collate.image_pad).cpu()
        tiled, _ = divide_attention(shares_nT, image_T, whole.latent_BT[0].cpu(), [(t * h, w) for t, h, w in grids])
        (sample,) = batch.samples
        sizes = [image_size(part.path, sample.where) for part in sample.question if isinstance(part, Picture)]
        tiles = map(self.collate.pictures.tiles, sizes)
        heats = [join_tiles(heat_nRC, *sides) for heat_nRC, sides in zip(tiled, tiles, strict=True)]
        for number, mark in enumerate(row.marks):
            yield replace(mark, looks=tuple(tuple(map(tuple, heat_nRC[number].tolist())) for heat_nRC in heats))


def ask(question: Question, collate: Collator, own_prompt: str, own: Decoding, longest: int) -> Asked:
    """Get a question ready.

    Raises:
        ValueError: it can't be asked.
    """
    parts = write_question(question.messages, own_prompt)
    batch = collate.prompts([Sample("prompt=", parts, ())])
    encode_question.cache_clear()  # questions of many don't come again, and would be kept
    return Asked(batch, read_options(question.options, own, longest - batch.lengths[0]), question.marks)
