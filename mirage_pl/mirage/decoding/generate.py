"""Decoding in batches: every row is in one of two states, text or latent.

In the latent state the hidden state is fed back (``feedback``) as the next input embedding; after k latents the row
returns to text with ``<|latent_end|>``. Rows change state independently, any number of times.

Shapes: B rows, T columns so far, S new columns, D width, J blocks, k latents of a block.
"""

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from mirage_pl.mirage.batch import LATENT_TOKENS, Batch
from mirage_pl.mirage.decoding.columns import AnswerColumns
from mirage_pl.mirage.decoding.sampling import Choice, Decoding, spread
from mirage_pl.mirage.decoding.writing import Writing
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.stock.find import find_inputs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """One decoded column: which rows wrote, their tokens, which are latents, hidden states, which rows have ended.

    The hidden state of a latent is the latent itself.
    """

    written_B: Tensor
    tokens_B: Tensor
    latent_B: Tensor
    hidden_BD: Tensor
    ended_B: Tensor


@dataclass(frozen=True)
class Generation:
    """Answers to a batch of prompts.

    Attributes:
        texts: answers without special tokens, cut before a stop string.
        tokens: generated ids, latent slots included, the end token excluded.
        latents: each row's recycled hidden states ``[n, D]``, block after block; ``tokens`` shows where they stand.
        finished: false where the answer was cut at ``max_new_tokens``.
    """

    texts: list[str]
    tokens: list[list[int]]
    latents: list[Tensor]
    finished: list[bool]

    def describe(self, row: int) -> dict[str, Any]:
        """What a predictions file says of one answer."""
        counts = {"columns": len(self.tokens[row]), "latents": len(self.latents[row])}
        return {"text": self.texts[row], **counts, "finished": self.finished[row]}


class Decoder:
    """Answer prompts.

    Args:
        processor: for its tokenizer.
        latent_size: latents of a block, unless the prompt's row plans another number.
    """

    def __init__(self, processor: Any, latent_size: int) -> None:
        inputs = find_inputs(processor)
        self.tokenizer, self.latent_size = processor.tokenizer, latent_size
        self.latent_pad, self.latent_start, self.latent_end = self.tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))
        self.end, self.pad = inputs.end, self.tokenizer.pad_token_id

    def __call__(
        self, net: LatentVLM, prompts: Batch, decoding: Decoding, latents: Sequence[Tensor] | None = None
    ) -> Generation:
        """Answer all prompts.

        Args:
            net: the model.
            prompts: from the collator.
            decoding: the options.
            latents: replacements of each row's latents, ``[n, D]``, repeated if a row needs more than n; ``None``:
                rows keep their own.
        """
        generation = self.gather(self.steps(net, prompts, decoding, latents), len(prompts))
        return replace(generation, texts=[decoding.cut(text) for text in generation.texts])

    def gather(self, decoded: Iterable[Step], count: int) -> Generation:
        """Put the columns of ``count`` answers together; texts are whole."""
        steps = list(decoded)
        written_SB, tokens_SB, latent_SB = (
            torch.stack([getattr(step, name) for step in steps]).cpu() for name in ("written_B", "tokens_B", "latent_B")
        )
        hidden_SBD = torch.stack([step.hidden_BD for step in steps])
        rows = range(count)
        tokens = [tokens_SB[written_SB[:, row], row].tolist() for row in rows]
        own_latents = [hidden_SBD[(written_SB & latent_SB)[:, row], row] for row in rows]
        texts = [self.tokenizer.decode(row, skip_special_tokens=True) for row in tokens]
        return Generation(texts, tokens, own_latents, steps[-1].ended_B.tolist())

    @torch.no_grad()
    def steps(
        self,
        net: LatentVLM,
        prompts: Batch,
        decoding: Decoding | Sequence[Decoding],
        latents: Sequence[Tensor] | None = None,
        choose: Choice | None = None,
        columns: AnswerColumns | None = None,
    ) -> Generator[Step, Sequence[int] | None, None]:
        """Decode column by column until every row has ended or written ``max_new_tokens`` columns.

        A row that nobody waits for is written no further once its number is sent to the generator.

        Args:
            net: the model.
            prompts: from the collator.
            decoding: the options, or those of each row.
            latents: as in :meth:`__call__`.
            choose: chooses tokens in place of what ``decoding`` says, and may change latents.
            columns: of these prompts, for who looks at them afterwards.
        """
        columns = columns or AnswerColumns(net, prompts)
        choose = choose or Choice(decoding, prompts.samples, prompts.tokens_BT.device)
        rows = Rows(self, prompts, decoding, latents)
        hidden_BD = columns.prefill()
        while True:
            chosen_B = choose(net.logits(hidden_BD), rows.count_B)
            step = rows.write(chosen_B, choose.feed(net.feedback(hidden_BD), rows.text_B, rows.latent_B, rows.count_B))
            rows.leave((yield step) or ())
            if not rows.alive_B.any():
                return
            columns.leave(rows.alive_B)
            embeds_BD = torch.where(step.latent_B.unsqueeze(1), step.hidden_BD, net.embed_tokens(step.tokens_B))
            hidden_BD = columns.append(embeds_BD.unsqueeze(1), step.written_B.unsqueeze(1))[:, -1]
            if net.recurrence.together and latents is None and (slots_Bk := rows.slots()).any():
                k = slots_Bk.shape[1]
                latents_BkD = net.recur(columns.tentative(slots_Bk), hidden_BD.unsqueeze(1), k)
                states_BkD = columns.append(latents_BkD, slots_Bk)
                for step in rows.write_block(latents_BkD, slots_Bk):
                    rows.leave((yield step) or ())
                last_B11 = (slots_Bk.sum(1) - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, hidden_BD.shape[1])
                hidden_BD = torch.where(slots_Bk[:, :1], states_BkD.gather(1, last_B11).squeeze(1), hidden_BD)

    def stream(self, net: LatentVLM, prompts: Batch, decoding: Decoding) -> Iterator[str]:
        """Yield the answer to the first prompt piece by piece, then a line on each of its latents."""
        writing, states, empty, ended = Writing(self.tokenizer, decoding.stop), list[Tensor](), True, False
        for step in self.steps(net, prompts, decoding):
            ended = bool(step.ended_B[0])
            if not step.written_B[0]:
                continue
            if step.latent_B[0]:
                states.append(step.hidden_BD[0])
                yield f"[latent {len(states)}]"
            text = writing.add(int(step.tokens_B[0]))
            empty = empty and not text.strip()
            yield text
        text = writing.end()
        yield ("(the answer is empty)" if empty and not text.strip() else text) + "\n"
        if not (ended or writing.stopped):
            log.warning("the answer was cut at decoding.max_new_tokens=%d", decoding.max_new_tokens)
        for number, state in enumerate(states):
            yield f"latent {number + 1}: {self.describe_latent(net, state, states[number - 1] if number else None)}\n"

    def describe_latent(self, net: LatentVLM, state_D: Tensor, before_D: Tensor | None) -> str:
        """Describe a latent: its code; or its length and direction, and the tokens that it would be decoded to."""
        if name := net.feedback.name(state_D):
            return name
        words = ", ".join(f"{word!r} {share:.0%}" for word, share in self.read_latent(net, state_D))
        return f"{measure_latent(state_D, before_D)}; read as words: {words}"

    @torch.no_grad()
    def read_latent(self, net: LatentVLM, state_D: Tensor, count: int = 3) -> list[tuple[str, float]]:
        """The tokens that a latent would most likely be decoded to, with their probabilities."""
        shares, ids = net.logits(state_D.unsqueeze(0)).squeeze(0).float().softmax(-1).topk(count)
        words = [self.tokenizer.decode([token]) for token in ids.tolist()]
        return list(zip(words, shares.tolist(), strict=True))


def measure_latent(state_D: Tensor, before_D: Tensor | None) -> str:
    """A latent's norm, and its cosine to the one before."""
    norm = f"norm {state_D.norm():.2f}"
    if before_D is None:
        return norm
    return f"{norm}, cosine to the one before {cosine_similarity(before_D, state_D, dim=0):.2f}"


class Rows:
    """The state of every row.

    Attributes:
        left_B: latents that the row still has to write; 0: it leaves the block now; -1: it writes text.
        block_B: number of blocks entered.
        count_B: number of columns written.
        ended_B: whether the end token or a stop string was written.
        alive_B: whether the row continues.
    """

    def __init__(
        self,
        decoder: Decoder,
        prompts: Batch,
        decoding: Decoding | Sequence[Decoding],
        latents: Sequence[Tensor] | None = None,
    ) -> None:
        self.decoder, self.latents = decoder, latents
        each = spread(decoding, len(prompts))
        self.stops = [options.stop for options in each]
        depth = max((len(row) for row in prompts.sizes), default=0) + 1
        sizes = [[*row, *[decoder.latent_size] * (depth - len(row))] for row in prompts.sizes or [()] * len(prompts)]
        self.sizes_BJ = torch.tensor(sizes, device=prompts.tokens_BT.device)
        self.block_B = torch.zeros_like(self.sizes_BJ[:, 0])
        self.left_B, self.count_B = torch.full_like(self.block_B, -1), torch.zeros_like(self.block_B)
        self.ended_B = torch.zeros_like(self.block_B, dtype=torch.bool)
        self.alive_B = ~self.ended_B
        self.most_B = torch.tensor([options.max_new_tokens for options in each], device=self.left_B.device)
        self.used_B = torch.zeros_like(self.block_B)
        self.texts: list[list[int]] = [[] for _ in range(len(prompts))]

    @property
    def text_B(self) -> Tensor:
        """Rows whose next token is theirs to choose."""
        return (self.left_B < 0) & self.alive_B

    @property
    def latent_B(self) -> Tensor:
        """Rows whose next column is a latent."""
        return (self.left_B > 0) & self.alive_B

    def write(self, chosen_B: Tensor, hidden_BD: Tensor) -> Step:
        """Write one column: each row's chosen token, or what its state requires."""
        latent_B = self.latent_B
        tokens_B = torch.where(self.left_B == 0, self.decoder.latent_end, chosen_B)
        tokens_B = torch.where(latent_B, self.decoder.latent_pad, tokens_B)
        if self.latents is not None:
            hidden_BD = torch.where(latent_B.unsqueeze(1), self._replace(self.latents, hidden_BD), hidden_BD)
            self.used_B = self.used_B + latent_B
        written_B = self.alive_B & (tokens_B != self.decoder.end)
        self.left_B = torch.where(self.left_B >= 0, self.left_B - 1, self.left_B)
        enters_B = written_B & ~latent_B & (tokens_B == self.decoder.latent_start)
        block_B1 = self.block_B.clamp(max=self.sizes_BJ.shape[1] - 1).unsqueeze(1)
        self.left_B = torch.where(enters_B, self.sizes_BJ.gather(1, block_B1).squeeze(1), self.left_B)
        self.block_B = self.block_B + enters_B
        self.ended_B = self.ended_B | (self.alive_B & ~written_B) | self._stopped(tokens_B, written_B)
        self._count(written_B.long())
        return Step(written_B, torch.where(written_B, tokens_B, self.decoder.pad), latent_B, hidden_BD, self.ended_B)

    def leave(self, rows: Sequence[int]) -> None:
        """Write some rows no further."""
        if rows:
            self.most_B[list(rows)] = 0
            self.alive_B = self.alive_B & (self.most_B > 0)

    def slots(self) -> Tensor:
        """Which rows will write a latent in each of the next k columns, bools ``[B, k]``."""
        room_B = torch.where(self.alive_B, self.most_B - self.count_B, 0)
        slots_B = torch.minimum(self.left_B, room_B).clamp(min=0)
        return torch.arange(int(slots_B.max()), device=slots_B.device) < slots_B.unsqueeze(1)

    def write_block(self, latents_BkD: Tensor, slots_Bk: Tensor) -> Iterator[Step]:
        """Write the latents of a whole block that were computed together."""
        self.left_B = self.left_B - slots_Bk.sum(1)
        self._count(slots_Bk.sum(1))
        for latent_BD, slot_B in zip(latents_BkD.unbind(1), slots_Bk.unbind(1), strict=True):
            tokens_B = torch.where(slot_B, self.decoder.latent_pad, self.decoder.pad)
            yield Step(slot_B, tokens_B, slot_B, latent_BD, self.ended_B)

    def _replace(self, latents: Sequence[Tensor], hidden_BD: Tensor) -> Tensor:
        """The next replacement of each row; a row without any keeps its own latent."""
        pairs = zip(latents, self.used_B.tolist(), hidden_BD, strict=True)
        return torch.stack([row[used % len(row)].to(own) if len(row) else own for row, used, own in pairs])

    def _count(self, columns_B: Tensor) -> None:
        self.count_B = self.count_B + columns_B
        self.alive_B = ~self.ended_B & (self.count_B < self.most_B)

    def _stopped(self, tokens_B: Tensor, written_B: Tensor) -> Tensor:
        """Rows whose text now holds a stop string."""
        if not any(self.stops):
            return torch.zeros_like(written_B)
        longest = max(len(stop.encode()) for stops in self.stops for stop in stops)
        reach = longest + 1  # in tokens, each of which is at least one byte
        for text, token, written in zip(self.texts, tokens_B.tolist(), written_B.tolist(), strict=True):
            text += [token] * written
        tails = self.decoder.tokenizer.batch_decode([text[-reach:] for text in self.texts], skip_special_tokens=True)
        stopped = [any(stop in tail for stop in stops) for stops, tail in zip(self.stops, tails, strict=True)]
        return torch.tensor(stopped, device=tokens_B.device) & written_B
