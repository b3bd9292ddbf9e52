"""The transformer over the codes of clips: stock LLaMA, with actions in, and rewards and actions out.

Shapes: B clips, L tokens, F frames after the context, n codes of each, D width, A numbers of an action, V vocabulary.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from mirage_pl.ivideogpt.model.layout import TokenLayout

HEADS = ("action_linear", "reward_linear", "action_recon_linear", "places")
"""What a plain LLaMA hasn't."""


@dataclass(frozen=True)
class TransformerSizes:
    """Sizes of a LLaMA.

    Attributes:
        width: D.
        feedforward: width inside the feed-forward layers.
        layers: how many.
        heads: of attention; each has keys and values of its own.
        positions: tokens of the longest sequence.
        dropout: of attention weights in training.
        alike: share of a code's first embedding that is the same for codes of the same numbers (FSQ, LFQ), so that what
            is learnt of one holds for its neighbours; the head begins with the embedding, and so with what it was
            shown. 0: as published, all at random.
        places: add a learnt vector for where in its frame a token stands; ``False``: as published, where LLaMA's
            rotations tell distances alone.

    Raises:
        ValueError: ``alike`` isn't 0 to 1.
    """

    width: int
    feedforward: int
    layers: int
    heads: int
    positions: int = 1024
    dropout: float = 0.0
    alike: float = 0.0
    places: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.alike <= 1:
            raise ValueError(f"model.transformer.alike={self.alike} must be 0 to 1")

    def build(self, vocabulary: int) -> LlamaForCausalLM:
        """Build one with random weights; norms, activation, positions and initial weights as published."""
        config = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=self.width,
            intermediate_size=self.feedforward,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.heads,
            max_position_embeddings=self.positions,
            attention_dropout=self.dropout,
            rms_norm_eps=1e-6,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
            attn_implementation="sdpa",
        )
        llm = LlamaForCausalLM(config)
        head = Head(self.width, vocabulary, bias=False)
        head.weight = llm.lm_head.weight
        llm.lm_head = head
        return llm


class Head(nn.Linear):
    """A linear layer, of whose outputs some can be asked for alone: each kind of place has its own legal tokens."""

    def forward(self, hidden: Tensor, tokens: slice = slice(None)) -> Tensor:
        """Return the logits of ``tokens``."""
        return F.linear(hidden, self.weight[tokens])


class States(NamedTuple):
    """Hidden states of clips.

    Attributes:
        all_BLD: of every token.
        frames_BFmD: of the frames after the context, m = n + 1 each: those of the slot and all codes but the last
            predict the frame's codes, that of the last one its reward.
    """

    all_BLD: Tensor
    frames_BFmD: Tensor

    @property
    def before_codes_BFnD(self) -> Tensor:
        """The states from which a frame's codes are predicted."""
        return self.frames_BFmD[:, :, :-1]

    @property
    def after_codes_BFD(self) -> Tensor:
        """The states that have seen all of a frame."""
        return self.frames_BFmD[:, :, -1]


class Transformer(nn.Module):
    """Predict the codes of each frame from those before it and from the action that leads to it.

    Weights have the names of the release: ``llm.*``, ``action_linear``, ``reward_linear``, ``action_recon_linear``.

    Args:
        sizes: of the LLaMA.
        layout: of its sequences.
        action_dim: A; 0: without actions.
        reward: with a head for rewards.
        action_recon: with a head that reads the action back.

    Raises:
        ValueError: an action is to be read back, but there is none.
    """

    def __init__(
        self,
        sizes: TransformerSizes,
        layout: TokenLayout,
        action_dim: int = 0,
        reward: bool = False,
        action_recon: bool = False,
    ) -> None:
        super().__init__()
        if action_dim < 0 or (action_recon and not action_dim):
            raise ValueError(f"action_dim={action_dim} must be 0 or more; action_recon=true needs 1 or more")
        self.layout, self.action_dim, self.positions = layout, action_dim, sizes.positions
        self.llm = sizes.build(layout.vocabulary)
        self.action_linear = nn.Linear(action_dim, sizes.width) if action_dim else None
        if self.action_linear is not None:
            nn.init.zeros_(self.action_linear.weight)
            nn.init.zeros_(self.action_linear.bias)
        self.reward_linear = nn.Linear(sizes.width, 1) if reward else None
        self.action_recon_linear = nn.Linear(sizes.width, action_dim) if action_recon else None
        self.places = nn.Embedding(layout.num_places, sizes.width) if sizes.places else None
        if self.places is not None:
            nn.init.normal_(self.places.weight, std=self.llm.config.initializer_range)

    @torch.no_grad()
    def begin_alike(self, share: float, context_KD: Tensor, dynamics_KD: Tensor) -> None:
        """Let codes of similar numbers begin with similar embeddings, and the head with the embeddings.

        Args:
            share: of an embedding's length that depends on the numbers.
            context_KD: numbers of each code of the context's book.
            dynamics_KD: of the other frames'.
        """
        table, head = self.llm.model.embed_tokens.weight, self.llm.lm_head.weight
        first = 0
        for numbers_KD in (context_KD, dynamics_KD):
            rows = slice(first, first + len(numbers_KD))
            scaled_KD = (numbers_KD - numbers_KD.mean(0)) / numbers_KD.std()
            mixed_KW = scaled_KD @ torch.randn(scaled_KD.shape[1], table.shape[1]) / scaled_KD.shape[1] ** 0.5
            table[rows] = (1 - share) * table[rows] + share * self.llm.config.initializer_range * mixed_KW
            head[rows] = table[rows]
            first += len(numbers_KD)

    @property
    def legal(self) -> slice:
        """The tokens that may stand in a place of a dynamics code."""
        return slice(self.layout.context_codes, self.layout.slot1)

    def forward(self, ids_BL: Tensor, actions_BFA: Tensor | None = None) -> States:
        """Run whole clips.

        Args:
            ids_BL: tokens.
            actions_BFA: the action that leads to each frame after the context; ``None``: none is told.

        Raises:
            ValueError: the sequence is longer than the positions, or actions don't fit.
        """
        num_frames = self.layout.num_dynamics(ids_BL.shape[1])
        self.check_length(num_frames)
        embeds_BLD = self.embed_tokens(ids_BL)
        if actions_BFA is not None:
            slots = self.layout.slots2(num_frames).to(ids_BL.device)
            embeds_BLD = embeds_BLD.index_add(1, slots, self.embed_actions(actions_BFA).to(embeds_BLD.dtype))
        hidden_BLD = self.llm.model(inputs_embeds=embeds_BLD, use_cache=False).last_hidden_state
        frames = hidden_BLD[:, self.layout.prompt_length - 1 :]
        return States(hidden_BLD, frames.unflatten(1, (num_frames, self.layout.dynamics_tokens + 1)))

    def check_length(self, num_frames: int) -> None:
        """Refuse clips with more tokens than there are positions."""
        if (length := self.layout.length(num_frames)) > self.positions:
            frames = self.layout.context_length
            raise ValueError(
                f"{frames} context frame(s) and {num_frames} after them are {length} tokens, but the transformer has "
                f"{self.positions} positions; shorten task.window.length, or raise model.transformer.positions"
            )

    def embed_tokens(self, ids_BL: Tensor, first: int = 0) -> Tensor:
        """Embeddings of tokens, [B, L, D]; the first stands at ``first`` of its sequence."""
        embeds_BLD: Tensor = self.llm.model.embed_tokens(ids_BL)
        if self.places is None:
            return embeds_BLD
        return embeds_BLD + self.places(self.layout.places(first, ids_BL.shape[1], ids_BL.device))

    def embed_actions(self, actions: Tensor) -> Tensor:
        """What actions, [..., A], add to the slots of the frames that they lead to, [..., D].

        Raises:
            ValueError: an action of another width.
        """
        if self.action_linear is None or actions.shape[-1] != self.action_dim:
            raise ValueError(
                f"actions have {actions.shape[-1]} number(s), but the model takes {self.action_dim}; set action_dim"
            )
        weight: Tensor = self.action_linear.weight
        embedded: Tensor = self.action_linear(actions.to(weight.dtype))
        return embedded

    def predict_codes(self, hidden: Tensor) -> Tensor:
        """Logits of dynamics codes, which alone are legal, of states [..., D]."""
        logits: Tensor = self.llm.lm_head(hidden, self.legal)
        return logits

    def predict_rewards(self, hidden: Tensor) -> Tensor:
        """Rewards in symlog, of states that have seen all of a frame, [..., D].

        Raises:
            ValueError: there is no head.
        """
        if self.reward_linear is None:
            raise ValueError("this model predicts no rewards; train it with reward=true")
        rewards: Tensor = self.reward_linear(hidden)
        return rewards.squeeze(-1)

    def read_actions(self, states: States) -> Tensor:
        """Read the action that led to a frame from each of its states, [B, F, n + 1, A].

        Raises:
            ValueError: there is no head.
        """
        if self.action_recon_linear is None:
            raise ValueError("this model reads no actions back; train it with action_recon=true")
        actions: Tensor = self.action_recon_linear(states.frames_BFmD)
        return actions


def symlog(values: Tensor) -> Tensor:
    """Sign and logarithm of the size, so that large rewards don't rule the loss."""
    return values.sign() * values.abs().log1p()


def symexp(values: Tensor) -> Tensor:
    """The inverse of :func:`symlog`."""
    return values.sign() * values.abs().expm1()


def released_names(weights: dict[str, Tensor], action_dim: int) -> dict[str, Tensor]:
    """Weights by the names of the release: without actions it is a plain LLaMA, without ``llm.`` before its names."""
    if action_dim:
        return weights
    return {name.removeprefix("llm."): weight for name, weight in weights.items()}


def our_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`released_names`."""
    known = tuple(f"{name}." for name in ("llm", *HEADS))
    return {name if name.startswith(known) else f"llm.{name}": weight for name, weight in weights.items()}


def choose_codes(logits_BK: Tensor, temperature: float, top_k: int, random_B: Tensor | None) -> Tensor:
    """Choose a code for each row: the likeliest at temperature 0, else by one random number in [0, 1) a row.

    Args:
        logits_BK: of the legal codes.
        temperature: of the distribution.
        top_k: draw from so many of the likeliest; 0: from all.
        random_B: numbers.
    """
    if temperature == 0 or random_B is None:
        return logits_BK.argmax(-1)
    logits_BK = logits_BK.double() / temperature
    if 0 < top_k < logits_BK.shape[1]:
        least_B1 = logits_BK.topk(top_k).values[:, -1:]
        logits_BK = logits_BK.masked_fill(logits_BK < least_B1, -torch.inf)
    sums_BK = logits_BK.softmax(-1).cumsum(-1)
    return torch.searchsorted(sums_BK, random_B.double()[:, None] * sums_BK[:, -1:], right=True).squeeze(1)
