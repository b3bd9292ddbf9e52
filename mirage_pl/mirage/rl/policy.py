"""Answers as rollouts: sampled in groups with a cache, scored again in one packed pass.

Shapes: B rows, T columns, M chosen tokens, N latents, D width, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from data_modules.loading.draws import stream_seed
from mirage_pl.engine.adapters.off import AdapterOff
from mirage_pl.engine.rl.budget import GIB, divide
from mirage_pl.engine.rl.policy import LogProbs, Rollout
from mirage_pl.engine.seams import Located
from mirage_pl.mirage.batch import IGNORE, Batch
from mirage_pl.mirage.decoding.columns import AnswerColumns
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.rl.actions import Replay
from mirage_pl.mirage.rl.collator import Answers, locate_tokens
from mirage_pl.mirage.rl.recording import Recorder, allowed_logs

TEXT, LATENT = "text", "latent"


@dataclass(frozen=True)
class Answering:
    """How answers are sampled.

    Attributes:
        max_new_tokens: most columns of an answer, latents included.
        temperature: of the policy itself, in rollouts and in the loss; 1 is the model's own distribution.
        batch: most answers that are decoded at a time.
        cache_gib: most memory of their keys and values.
        latents: ``False``: answers are text alone; else a latent block opens wherever the model opens one.
    """

    max_new_tokens: Annotated[int, Ge(1)]
    temperature: Annotated[float, Gt(0)] = 1.0
    batch: Annotated[int, Ge(1)] = 64
    cache_gib: Annotated[float, Gt(0)] = 4.0
    latents: bool | None = None


@dataclass(frozen=True)
class AnswerScores(LogProbs):
    """How likely answers are.

    Attributes:
        hidden_BTD: their hidden states.
    """

    hidden_BTD: Tensor = field(kw_only=True)


class AnswerPolicy:
    """Sample answers, and tell how likely they are.

    Args:
        net: the model.
        other: a frozen model that it is compared with, or itself without its adapter; ``None``: none.
        decoder: of the stage.
        latents: what a latent is to the policy.
        answering: how answers are sampled.
        chunk: chosen tokens whose logits are in memory at a time; ``None``: all.

    Raises:
        ValueError: latents are actions where a block's latents are computed together.
    """

    def __init__(
        self,
        net: LatentVLM,
        other: LatentVLM | AdapterOff | None,
        decoder: Decoder,
        latents: Replay,
        answering: Answering,
        chunk: int | None,
    ) -> None:
        if latents.likely and net.recurrence.together:
            raise ValueError(
                f"latents: {type(latents).__name__} draws each latent given those before it, and this recurrence "
                "computes a block's latents together; set recurrence=sequential, or latents=recompute or replay"
            )
        self.net, self.other, self.decoder, self.latents = net, other, decoder, latents
        self.answering, self.chunk = answering, chunk
        self.kinds: Sequence[str] = (TEXT, LATENT) if latents.likely else (TEXT,)
        self.banned = [decoder.latent_pad, net.architecture.image_id]
        self.banned += [decoder.latent_start] if answering.latents is False else []

    # Rollouts

    def roll(self, collate: Any, prompts: Mapping[int, Located], group: int, seed: int, step: int) -> list[Rollout]:
        """Sample answers, those to questions of similar lengths together.

        Raises:
            ValueError: one answer has no room in the cache; names its row.
        """
        asked = [(index, sample, number) for index, sample in prompts.items() for number in range(group)]
        rollouts = dict[int, Rollout]()
        for numbers in self.divide(collate, asked):
            some = self._answer(collate, [asked[number] for number in numbers], seed, step)
            rollouts |= zip(numbers, some, strict=True)
        return [rollouts[number] for number in range(len(asked))]

    def divide(self, collate: Any, asked: Sequence[tuple[int, Any, int]]) -> list[list[int]]:
        """Which answers are decoded together."""
        lengths = {index: collate.prompt_length(sample) for index, sample, _ in asked}
        size = self.net.architecture.state_bytes(next(self.net.parameters()).element_size())
        sizes = [size * (lengths[index] + self.answering.max_new_tokens) for index, _, _ in asked]
        try:
            return divide(sizes, self.answering.cache_gib, self.answering.batch)
        except ValueError as error:
            _, sample, _ = asked[sizes.index(max(sizes))]
            raise ValueError(
                f"{sample.where}: an answer may take {error}; raise answering.cache_gib, or lower "
                "answering.max_new_tokens"
            ) from None

    def _answer(self, collate: Any, asked: Sequence[tuple[int, Any, int]], seed: int, step: int) -> Iterator[Rollout]:
        samples, device = [sample for _, sample, _ in asked], next(self.net.parameters()).device
        prompts: Batch = collate.prompts(samples, [index for index, _, _ in asked]).to(device)
        options = self.answering.max_new_tokens, self.answering.temperature
        decoding = [Decoding(*options, seed=stream_seed(seed, "rollout", step, number)) for _, _, number in asked]
        recorder = Recorder(decoding, samples, device, self.latents, self.banned)
        columns = AnswerColumns(self.net, prompts)
        steps = self.decoder.steps(self.net, prompts, decoding, choose=recorder, columns=columns)
        generation = self.decoder.gather(steps, len(asked))
        text, densities = recorder.text(), recorder.densities()
        for row, (index, sample, number) in enumerate(asked):
            tokens, latents_ND = generation.tokens[row], generation.latents[row].float().cpu()
            old = {TEXT: text[row]}
            if self.latents.likely:
                old[LATENT] = self.latents.actions(densities[row], self.block_sizes(tokens))
            record = {"tokens": tokens, "latents": latents_ND, "ended": generation.finished[row]}
            facts = self.watch(tokens, latents_ND, generation.finished[row])
            facts["cache_gib"] = columns.most_bytes / GIB
            yield Rollout(sample, index, number, generation.texts[row], record, old, facts)

    def watch(self, tokens: Sequence[int], latents_ND: Tensor, finished: bool) -> dict[str, float]:
        """Columns of an answer, whether it ended by itself, whether it has latents, and their mean norm."""
        facts = {"length": float(len(tokens)), "finished": float(finished), "emitted": float(len(latents_ND) > 0)}
        return facts | ({"latent_norm": latents_ND.norm(dim=-1).mean().item()} if len(latents_ND) else {})

    def block_sizes(self, tokens: Sequence[int]) -> list[int]:
        """Latents of each block of an answer."""
        sizes: list[int] = []
        for before, token in zip([None, *tokens], tokens, strict=False):
            if token == self.decoder.latent_pad:
                sizes += [0] if before != token else []
                sizes[-1] += 1
        return sizes

    # Learning

    def logprobs(self, inputs: Answers) -> AnswerScores:
        """Score answers in one packed pass: their chosen tokens, and their latents if these have a likelihood."""
        batch = inputs.batch
        hidden_BTD = self.latents.hidden(self.net, batch, inputs.latents_ND)
        chosen_BT = batch.targets_BT != IGNORE
        text_M, entropy_M = self.score_tokens(hidden_BTD[chosen_BT], batch.targets_BT[chosen_BT], batch.most_supervised)
        values = {TEXT: text_M}
        if self.latents.likely:
            states_ND = self.net.feedback(hidden_BTD[batch.before_BT])
            density_N = self.latents.density(inputs.latents_ND.to(states_ND), states_ND)
            values[LATENT] = self.latents.actions(density_N, [size for row in batch.sizes for size in row])
        places = locate_tokens(batch)
        return AnswerScores(values, entropy_M.mean(), places, hidden_BTD=hidden_BTD)

    def count_actions(self, inputs: Answers) -> Mapping[str, Sequence[int]]:
        """Chosen tokens of each answer, and its latents' actions if they have a likelihood."""
        counts = {TEXT: (inputs.batch.targets_BT != IGNORE).sum(1).tolist()}
        return counts | ({LATENT: list(map(self.latents.count, inputs.batch.sizes))} if self.latents.likely else {})

    def score_tokens(self, hidden_MD: Tensor, tokens_M: Tensor, most: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities and entropies ``[M]``; ``most`` as in :func:`mirage_pl.mirage.losses.text_ce`."""
        count = 1 if self.chunk is None else max(1, -(-max(most, len(tokens_M)) // self.chunk))
        pieces = zip(hidden_MD.tensor_split(count), tokens_M.tensor_split(count), strict=True)
        scores = [
            self._score(*piece)
            if count == 1
            else checkpoint(self._score, *piece, use_reentrant=False, preserve_rng_state=False)
            for piece in pieces
        ]
        return torch.cat([logs_m for logs_m, _ in scores]), torch.cat([entropy_m for _, entropy_m in scores])

    def _score(self, hidden_MD: Tensor, tokens_M: Tensor) -> tuple[Tensor, Tensor]:
        logs_MV = allowed_logs(self.net.logits(hidden_MD), self.answering.temperature, self.banned)
        entropy_M = torch.special.entr(logs_MV.detach().exp()).sum(-1)
        return logs_MV.gather(1, tokens_M.unsqueeze(1)).squeeze(1), entropy_M

    def reference(self) -> AbstractContextManager[None] | None:
        """Score with the frozen model in place of the one that learns, or with that without its adapter."""
        if isinstance(self.other, AdapterOff):
            return self.other(self.net)
        return None if self.other is None else self._instead(self.other)

    @contextmanager
    def _instead(self, net: LatentVLM) -> Iterator[None]:
        own, self.net = self.net, net
        try:
            yield
        finally:
            self.net = own
