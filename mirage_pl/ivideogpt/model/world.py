"""The world model: a tokenizer that doesn't learn any more, and a transformer over its codes.

Shapes: B clips of T frames, F of them after the context, A numbers of an action, pixels in [0, 1].
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar

import torch
from torch import Tensor, nn

from mirage_pl.ivideogpt.model.released import TRANSFORMER, load_transformer
from mirage_pl.ivideogpt.model.tokenizer import Tokenizer
from mirage_pl.ivideogpt.model.transformer import States, Transformer, TransformerSizes

Result = TypeVar("Result")


class Predicted(NamedTuple):
    """Clips as the transformer has read them.

    Attributes:
        ids_BL: their tokens.
        codes_BFn: of the frames after the context, 0 and on.
        states: of the transformer.
    """

    ids_BL: Tensor
    codes_BFn: Tensor
    states: States


class WorldModel(nn.Module):
    """Predicts the next frame of a world, and the reward of getting there.

    Args:
        tokenizer: of frames; stays as it is.
        sizes: of the transformer.
        action_dim: A; 0: without actions.
        reward: with a head for rewards.
        action_recon: with a head that reads the action back.
        compat: labels and losses as released; see :class:`mirage_pl.ivideogpt.model.layout.TokenLayout`.
        path: folder of a released world model, whose transformer is taken, too, if it holds one; ``None``: untrained.

    Raises:
        ValueError: the folder holds another transformer, or ``sizes.alike`` needs numbers that codes aren't made of.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sizes: TransformerSizes,
        action_dim: int = 0,
        reward: bool = False,
        action_recon: bool = False,
        compat: bool = False,
        path: str | None = None,
    ) -> None:
        super().__init__()
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.transformer = Transformer(sizes, tokenizer.layout(compat), action_dim, reward, action_recon)
        if sizes.alike:
            context_KD, dynamics_KD = tokenizer.quantize.scalars_KD, tokenizer.dynamics_quantize.scalars_KD
            if context_KD is None or dynamics_KD is None:
                raise ValueError(f"model.transformer.alike={sizes.alike} needs codes made of numbers: FSQ or LFQ, or 0")
            self.transformer.begin_alike(sizes.alike, context_KD, dynamics_KD)
        if path is not None and (Path(path) / TRANSFORMER).is_dir():
            load_transformer(self.transformer, path)

    @property
    def action_dim(self) -> int:
        """A; 0: without actions."""
        return self.transformer.action_dim

    @property
    def has_reward(self) -> bool:
        """Whether rewards are predicted."""
        return self.transformer.reward_linear is not None

    @property
    def context_length(self) -> int:
        """Frames that are given."""
        return self.tokenizer.sizes.context_length

    def train(self, mode: bool = True) -> Self:
        """Switch the transformer; the tokenizer never drops anything out."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def forward(self, work: Callable[..., Result], *args: Any) -> Result:
        """Return ``work(*args)``. All that needs the weights comes through here, as ``world(world.read, frames)``.

        Where a strategy keeps them in parts, they are gathered when the module is called.
        """
        return work(*args)

    def read(self, frames_BTCHW: Tensor, actions_BFA: Tensor | None = None) -> Predicted:
        """Read whole clips.

        Args:
            frames_BTCHW: of the clips.
            actions_BFA: the action that leads to each frame after the context.
        """
        with torch.no_grad():
            context_BTN, codes_BFn = self.tokenizer.encode(frames_BTCHW)
        return self.read_codes(context_BTN, codes_BFn, actions_BFA)

    def read_codes(self, context_BTN: Tensor, codes_BFn: Tensor, actions_BFA: Tensor | None = None) -> Predicted:
        """Read clips whose codes are known."""
        ids_BL = self.transformer.layout.join(context_BTN, codes_BFn)
        return Predicted(ids_BL, codes_BFn, self.transformer(ids_BL, actions_BFA))

    def describe(self) -> dict[str, Any]:
        """The transformer's config by the names of the release, and what the release doesn't have."""
        config: dict[str, Any] = self.transformer.llm.config.to_diff_dict()
        return config | {"action_dim": self.action_dim, "context_length": self.context_length}
