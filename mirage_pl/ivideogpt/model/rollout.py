"""Rollouts: imagined clips that go on action by action, over one cache that lives as long as they do.

A frame is n + 1 steps of decoding, whatever came before it: the slot with its action, then each code; after the last
one the reward is known.

Shapes: B rows (imagined clips), F frames that may follow the context, n codes of a frame, A numbers of an action.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from mirage_pl.ivideogpt.model.cache import RolloutCache
from mirage_pl.ivideogpt.model.transformer import choose_codes, symexp
from mirage_pl.ivideogpt.model.world import WorldModel


@dataclass(frozen=True)
class Sampling:
    """How codes are chosen.

    Attributes:
        temperature: 0 takes the likeliest; published: 1.
        top_k: draw from so many of the likeliest; 0: from all; published: 100.

    Raises:
        ValueError: one below 0.
    """

    temperature: float = 0.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0:
            raise ValueError(f"temperature={self.temperature} and top_k={self.top_k} must be 0 or more")


class Imagined(NamedTuple):
    """A step of all rows.

    Attributes:
        frames_BCHW: the new frames in [0, 1]; ``None`` where nobody looks.
        rewards_B: of getting there; ``None``: the model predicts none.
        ids_Bn: codes of the frames.
    """

    frames_BCHW: Tensor | None
    rewards_B: Tensor | None
    ids_Bn: Tensor


class Rollout:
    """Imagined clips.

    Args:
        world: the model.
        context_BTCHW: the frames before, in [0, 1].
        num_frames: F: as many may follow.
        sampling: how codes are chosen.
        streams: random numbers of each row, so that its draws depend on nothing else; temperature 0 needs none.

    Raises:
        ValueError: the context is another one than the model's, F is more than it has positions for, or streams are
            missing.
    """

    @torch.no_grad()
    def __init__(
        self,
        world: WorldModel,
        context_BTCHW: Tensor,
        num_frames: int,
        sampling: Sampling = Sampling(),  # noqa: B008  frozen
        streams: Sequence[Generator] | None = None,
    ) -> None:
        layout = world.transformer.layout
        world.transformer.check_length(num_frames)
        if context_BTCHW.shape[1] != layout.context_length:
            raise ValueError(f"{context_BTCHW.shape[1]} frame(s) given, but the context has {layout.context_length}")
        self.world, self.num_frames, self.sampling, self.count = world, num_frames, sampling, 0
        self.random_BFn = self.draw_numbers(len(context_BTCHW), streams)
        context_BTN = world.tokenizer.encode_context(context_BTCHW)
        self.scene = world.tokenizer.decode_context(context_BTN, context_BTCHW)
        llama = world.transformer.llm.model
        length = layout.length(num_frames)
        self.cache = RolloutCache.with_room(len(llama.layers), length)
        places = torch.arange(length, device=context_BTCHW.device)[None]
        dtype = llama.embed_tokens.weight.dtype
        self.rotary = llama.rotary_emb(torch.empty(0, dtype=dtype, device=places.device), places)
        self.run(world.transformer.embed_tokens(layout.prompt(context_BTN)))

    def draw_numbers(self, rows: int, streams: Sequence[Generator] | None) -> Tensor | None:
        """A random number for each code that may be drawn."""
        if self.sampling.temperature == 0:
            return None
        if streams is None or len(streams) != rows:
            raise ValueError(
                f"temperature={self.sampling.temperature} draws codes: give a stream for each of {rows} rows"
            )
        shape = self.num_frames, self.world.transformer.layout.dynamics_tokens
        return torch.stack([torch.rand(shape, generator=stream, dtype=torch.float64) for stream in streams])

    def __len__(self) -> int:
        return len(self.scene.newest_BCHW)

    @torch.no_grad()
    def step(self, actions_BA: Tensor | None = None, see: bool = True) -> Imagined:
        """Imagine the next frame of every row.

        Args:
            actions_BA: what is done; ``None`` where the model takes none.
            see: whether frames are decoded; codes and rewards need none.

        Raises:
            ValueError: no frame may follow any more, or actions don't fit.
        """
        transformer = self.world.transformer
        if self.count == self.num_frames:
            raise ValueError(f"this rollout has room for {self.num_frames} frame(s), and they are all there")
        if (actions_BA is None) != (self.world.action_dim == 0):
            raise ValueError(f"the model takes actions of {self.world.action_dim} number(s); give as many, 0: none")
        slots_B1 = torch.full((len(self), 1), transformer.layout.slot2, device=self.scene.newest_BCHW.device)
        embeds_B1D = self.embed(slots_B1)
        if actions_BA is not None:
            embeds_B1D = embeds_B1D + transformer.embed_actions(actions_BA.to(embeds_B1D.device))[:, None]
        ids = list[Tensor]()
        for place in range(transformer.layout.dynamics_tokens):
            logits_BK = transformer.predict_codes(self.run(embeds_B1D)[:, -1])
            random_B = None if self.random_BFn is None else self.random_BFn[:, self.count, place].to(logits_BK.device)
            ids.append(choose_codes(logits_BK, self.sampling.temperature, self.sampling.top_k, random_B))
            embeds_B1D = self.embed(ids[-1][:, None] + transformer.layout.context_codes)
        hidden_B1D = self.run(embeds_B1D)
        rewards_B = symexp(transformer.predict_rewards(hidden_B1D[:, -1])) if self.world.has_reward else None
        ids_Bn = torch.stack(ids, 1)
        self.count += 1
        return Imagined(self.see(ids_Bn[:, None])[:, 0] if see else None, rewards_B, ids_Bn)

    @torch.no_grad()
    def see(self, ids_BFn: Tensor) -> Tensor:
        """Decode frames of the rows from their codes, [B, F, C, H, W], in [0, 1]."""
        return self.world.tokenizer.decode_frames(ids_BFn, self.scene).clamp(0, 1)

    def embed(self, ids_B1: Tensor) -> Tensor:
        """Embeddings of the next tokens."""
        return self.world.transformer.embed_tokens(ids_B1, self.cache.get_seq_length())

    def run(self, embeds_BSD: Tensor) -> Tensor:
        """Run new tokens through the layers; what a stock model would do around them was done once, for all steps."""
        llama, first = self.world.transformer.llm.model, self.cache.get_seq_length()
        places = slice(first, first + embeds_BSD.shape[1])
        rotary = tuple(table[:, places] for table in self.rotary)
        hidden = embeds_BSD
        for layer in llama.layers:
            hidden = layer(hidden, position_embeddings=rotary, past_key_values=self.cache, use_cache=True)
        normed: Tensor = llama.norm(hidden)
        return normed

    def take(self, rows_b: Tensor) -> "Rollout":
        """A copy of some rows, which goes on by itself; one may be taken often."""
        copy = object.__new__(Rollout)
        copy.__dict__.update(self.__dict__)
        copy.scene, copy.cache = self.scene.take(rows_b), self.cache.take(rows_b)
        copy.random_BFn = None if self.random_BFn is None else self.random_BFn[rows_b.cpu()]
        return copy

    def repeat(self, times: int) -> "Rollout":
        """A copy with each row ``times`` times, one after the other: a planner's candidates."""
        return self.take(torch.arange(len(self), device=self.scene.newest_BCHW.device).repeat_interleave(times))

    def keep(self, rows_b: Tensor) -> None:
        """Let the other rows leave: they are finished."""
        self.__dict__.update(self.take(rows_b).__dict__)


class ImaginedClips(NamedTuple):
    """Whole clips.

    Attributes:
        frames_BFCHW: the frames after the context, in [0, 1].
        rewards_BF: of getting there; ``None``: the model predicts none.
        ids_BFn: codes.
    """

    frames_BFCHW: Tensor
    rewards_BF: Tensor | None
    ids_BFn: Tensor


def imagine(
    world: WorldModel,
    context_BTCHW: Tensor,
    num_frames: int,
    actions_BFA: Tensor | None = None,
    sampling: Sampling = Sampling(),  # noqa: B008  frozen
    streams: Sequence[Generator] | None = None,
) -> ImaginedClips:
    """Imagine clips whose actions are known; frames are decoded all at once.

    Args:
        world: the model.
        context_BTCHW: the frames before, in [0, 1].
        num_frames: F.
        actions_BFA: what leads to each of them.
        sampling: how codes are chosen.
        streams: random numbers of each row.
    """
    rollout = Rollout(world, context_BTCHW, num_frames, sampling, streams)
    steps = [
        rollout.step(None if actions_BFA is None else actions_BFA[:, frame], see=False) for frame in range(num_frames)
    ]
    ids_BFn = torch.stack([step.ids_Bn for step in steps], 1)
    rewards = [step.rewards_B for step in steps if step.rewards_B is not None]
    return ImaginedClips(rollout.see(ids_BFn), torch.stack(rewards, 1) if rewards else None, ids_BFn)
