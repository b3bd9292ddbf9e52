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
from torch.nn import functional as F
from transformers.models.llama.modeling_llama import LlamaModel

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
        room = len(context_BTCHW), llama.config.num_attention_heads, layout.length(num_frames)
        weight = llama.embed_tokens.weight
        self.cache = RolloutCache.with_room(len(llama.layers), (*room, llama.layers[0].self_attn.head_dim), weight)
        self.rotary = Rotary.of(llama, layout.length(num_frames))
        self.run(world.transformer.embed_tokens(layout.prompt(context_BTN)), read=False)

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
            ids.append(self.choose(transformer.predict_codes(self.run(embeds_B1D)[:, -1]), place))
            embeds_B1D = self.embed(ids[-1][:, None] + transformer.layout.context_codes)
        hidden_B1D = self.run(embeds_B1D, read=self.world.has_reward)
        rewards_B = symexp(transformer.predict_rewards(hidden_B1D[:, -1])) if self.world.has_reward else None
        ids_Bn = torch.stack(ids, 1)
        self.count += 1
        return Imagined(self.see(ids_Bn[:, None])[:, 0] if see else None, rewards_B, ids_Bn)

    def choose(self, logits_BK: Tensor, place: int) -> Tensor:
        """Choose a code of the next frame for each row."""
        random_B = None if self.random_BFn is None else self.random_BFn[:, self.count, place].to(logits_BK.device)
        return choose_codes(logits_BK, self.sampling.temperature, self.sampling.top_k, random_B)

    @torch.no_grad()
    def see(self, ids_BFn: Tensor) -> Tensor:
        """Decode frames of the rows from their codes, [B, F, C, H, W], in [0, 1]."""
        return self.world.tokenizer.decode_frames(ids_BFn, self.scene).clamp(0, 1)

    def embed(self, ids_B1: Tensor) -> Tensor:
        """Embeddings of the next tokens."""
        return self.world.transformer.embed_tokens(ids_B1, self.cache.length)

    def run(self, embeds_BSD: Tensor, read: bool = True) -> Tensor:
        """Run new tokens through the stock layers, without what a stock model prepares anew for each call.

        All that has weights is called as a module, as strategies that keep them in parts and adapters need it.

        Args:
            embeds_BSD: of the tokens: several may only be the first.
            read: ``False``: nobody needs their states, and the last layer does no more than keep keys and values.
        """
        llama, first = self.world.transformer.llm.model, self.cache.length
        rotate = self.rotary.at(slice(first, first + embeds_BSD.shape[1]))
        hidden_BSD = embeds_BSD
        for number, layer in enumerate(llama.layers):
            attention = layer.self_attn
            normed_BSD = layer.input_layernorm(hidden_BSD)
            split = normed_BSD.shape[0], normed_BSD.shape[1], -1, attention.head_dim
            keys_BHSd = rotate(attention.k_proj(normed_BSD).view(split).transpose(1, 2))
            values_BHSd = attention.v_proj(normed_BSD).view(split).transpose(1, 2)
            if not read and number == len(llama.layers) - 1:
                self.cache.write(number, keys_BHSd, values_BHSd)
                break
            queries_BHSd = rotate(attention.q_proj(normed_BSD).view(split).transpose(1, 2))
            attended_BHSd = self.cache.attend(number, queries_BHSd, keys_BHSd, values_BHSd)
            hidden_BSD = hidden_BSD + attention.o_proj(attended_BHSd.transpose(1, 2).flatten(2))
            normed_BSD, mlp = layer.post_attention_layernorm(hidden_BSD), layer.mlp
            hidden_BSD = hidden_BSD + mlp.down_proj(F.silu(mlp.gate_proj(normed_BSD)) * mlp.up_proj(normed_BSD))
        self.cache.count += embeds_BSD.shape[1]
        return llama.norm(hidden_BSD) if read else hidden_BSD

    def take(self, rows_b: Tensor) -> "Rollout":
        """A copy of some rows, which goes on by itself; one may be taken often."""
        return self.copy(rows_b, self.cache.take(rows_b))

    def repeat(self, times: int) -> "Rollout":
        """A copy with each row ``times`` times, one after the other: a planner's candidates, which share their past."""
        rows_b = torch.arange(len(self), device=self.scene.newest_BCHW.device).repeat_interleave(times)
        return self.copy(rows_b, self.cache.repeat(times))

    def copy(self, rows_b: Tensor, cache: RolloutCache) -> "Rollout":
        """A rollout of some rows over a cache of theirs."""
        copy = object.__new__(Rollout)
        copy.__dict__.update(self.__dict__)
        copy.scene, copy.cache = self.scene.take(rows_b), cache
        copy.random_BFn = None if self.random_BFn is None else self.random_BFn[rows_b.cpu()]
        return copy

    def keep(self, rows_b: Tensor) -> None:
        """Let the other rows leave: they are finished."""
        self.__dict__.update(self.take(rows_b).__dict__)


class Rotary(NamedTuple):
    """Rotary positions of all tokens, [L, d].

    Attributes:
        cos_Ld: cosines.
        sin_Ld: sines, negative in the first half.
    """

    cos_Ld: Tensor
    sin_Ld: Tensor

    @classmethod
    def of(cls, llama: LlamaModel, length: int) -> "Rotary":
        """Those of a stock model."""
        weight = llama.embed_tokens.weight
        cos_1Ld, sin_1Ld = llama.rotary_emb(weight, torch.arange(length, device=weight.device)[None])
        low, high = sin_1Ld[0].chunk(2, 1)
        return cls(cos_1Ld[0], torch.cat((-low, high), 1))

    def at(self, places: slice) -> "Rotary":
        """Those of some tokens."""
        return Rotary(self.cos_Ld[places], self.sin_Ld[places])

    def __call__(self, heads_BHSd: Tensor) -> Tensor:
        """Rotate queries or keys."""
        return torch.addcmul(heads_BHSd * self.cos_Ld, heads_BHSd.roll(heads_BHSd.shape[3] // 2, 3), self.sin_Ld)


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
