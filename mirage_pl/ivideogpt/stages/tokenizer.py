"""The stages of the tokenizer. Shapes: B clips of T frames, F of them after the context, pixels in [0, 1]."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.engine.training.turns import Turn, Turns
from mirage_pl.ivideogpt.augment import Views
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.losses import FrameLosses, join_frames
from mirage_pl.ivideogpt.model.discriminator import Discriminator, hinge
from mirage_pl.ivideogpt.model.quantizer import count_used
from mirage_pl.ivideogpt.model.released import WEIGHTS, fit_context, write_folder
from mirage_pl.ivideogpt.model.tokenizer import Reconstruction, Tokenizer

CARD = """A tokenizer of clips (iVideoGPT, arXiv 2405.15223).

`{weights}` has the names of the released tokenizers, `config.json` their keys. `decode` other than `plain`, `fold`
other than 1 and quantizers other than VQ aren't in the release.
"""
LEAST, MOST = 1e-8, 1e4
"""Of a gradient that is divided by, and of the weight that results, as published."""


class TokenizerModule(BaseModule):
    """What both stages share: the clips of a step, the losses of their reconstruction, the export."""

    views: Views
    frame_losses: FrameLosses

    @property
    def tokenizer(self) -> Tokenizer:
        """What is trained."""
        tokenizer: Tokenizer = self.net  # type: ignore[assignment]
        return tokenizer

    def take_frames(self, batch: Batch) -> Tensor:
        """The frames of a batch in [0, 1]; in training what this step sees of them, each clip by its own draws."""
        frames_BTCHW = batch.frames_BTCHW.to(self.device, self.tokenizer.dtype) / 255
        if not self.training or self.views.whole:
            return frames_BTCHW
        streams = [row_stream(self.seed, Path(clip.where).name, self.step) for clip in batch.samples]
        first = self.tokenizer.sizes.context_length
        return torch.stack(
            [self.views(frames_TCHW, first, stream) for frames_TCHW, stream in zip(frames_BTCHW, streams, strict=True)]
        )

    def reconstruct(self, frames_BTCHW: Tensor) -> Reconstruction:
        """Clips through their codes and back."""
        clip: Reconstruction = self.tokenizer(frames_BTCHW)
        return clip

    def reconstruction_losses(self, frames_BTCHW: Tensor, clip: Reconstruction) -> dict[str, Tensor]:
        """The losses of reconstructed clips; how many codes they use is logged."""
        pairs = {
            "codes": (clip.context, self.tokenizer.quantize),
            "dynamics_codes": (clip.dynamics, self.tokenizer.dynamics_quantize),
        }
        self.observe({name: count_used(codes.ids_MN, book.num_codes) for name, (codes, book) in pairs.items()})
        return self.frame_losses(*self.tokenizer.divide(frames_BTCHW), clip)

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """``encoder`` and ``decoder`` of both kinds of frames, and their ``codebooks``."""
        net = self.tokenizer
        glances = [glance for glance in (net.glance, net.context_glance) if glance is not None]
        into, back = [glance.into for glance in glances], [glance.back for glance in glances]
        return {
            "encoder": [net.encoder, net.cond_encoder, net.quant_conv, net.quant_linear, *into],
            "decoder": [net.decoder, net.cond_decoder, net.post_quant_conv, net.post_quant_linear, *back],
            "codebooks": [net.quantize, net.dynamics_quantize],  # type: ignore[list-item]
        }

    def fit_weights(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a tokenizer with as many context frames or more."""
        return fit_context(weights, self.tokenizer.sizes.context_length)

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write a folder as the release has it, in one file whatever its size, and read the weights back."""
        (folder / "README.md").write_text(CARD.format(weights=WEIGHTS))
        weights = write_folder(self.tokenizer, folder)
        (prefix,) = (name for name, module in self.named_modules() if module is self.tokenizer)
        return {f"{prefix}.{name}": weight for name, weight in weights.items()}


class Tokenize(TokenizerModule):
    """Learn codes from which clips can be seen again.

    Args:
        views: what a step sees of a clip.
        frame_losses: of the reconstruction.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`; ``net`` is the tokenizer.
    """

    def __init__(self, views: Views, frame_losses: FrameLosses, **base: Any) -> None:
        super().__init__(**base)
        self.views, self.frame_losses = views, frame_losses

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of the clips' reconstruction."""
        frames_BTCHW = self.take_frames(batch)
        return self.reconstruction_losses(frames_BTCHW, self.net(frames_BTCHW))


class Pair(nn.Module):
    """A tokenizer and what tells its frames from real ones."""

    def __init__(self, tokenizer: Tokenizer, discriminator: Discriminator) -> None:
        super().__init__()
        self.tokenizer, self.discriminator = tokenizer, discriminator


class TokenizeAgainst(Turns, TokenizerModule):
    """The same with a discriminator, which has an optimizer of its own and begins at a set step.

    Args:
        views: what a step sees of a clip.
        frame_losses: of the reconstruction.
        net: both networks.
        turns: ``generator`` and ``discriminator``; until the second begins, ``gan`` of the first is 0.
        adaptive: scale ``gan`` in training so that it moves the last layer of the other frames' decoder as much as
            ``perceptual`` does.

    Raises:
        ValueError: the discriminator leaves too little of a frame, or ``adaptive`` has no perceptual network.
    """

    net: Pair

    def __init__(
        self, views: Views, frame_losses: FrameLosses, net: Pair, turns: Mapping[str, Turn], adaptive: bool
    ) -> None:
        super().__init__(net, turns)
        if adaptive and frame_losses.network is None:
            raise ValueError("adaptive=true weighs gan by the gradient of perceptual, and perceptual=null has none")
        if (side := net.tokenizer.sizes.resolution // 2**net.discriminator.depth) < 2:
            raise ValueError(
                f"model.discriminator.depth={net.discriminator.depth} leaves {side} x {side} of a frame; lower it"
            )
        self.views, self.frame_losses, self.adaptive = views, frame_losses, adaptive
        self.judged: tuple[Tensor, ...] = ()

    @property
    def tokenizer(self) -> Tokenizer:
        """What is trained to stay."""
        return self.net.tokenizer

    def units(self) -> list[nn.Module]:
        """The parts that are called."""
        return [self.net.tokenizer, self.net.discriminator]

    def losses_in(self, turn: str, batch: Batch) -> dict[str, Tensor]:
        """``gan``: frames should look real to the discriminator. ``judge``: hinge loss of telling them apart.

        The discriminator judges what the generator's turn, which comes first, has made of the same batch.
        """
        if turn == "discriminator":
            real, fake = (self.net.discriminator(frames_MCHW) for frames_MCHW in self.judged)
            return {"judge": hinge(real, fake)}
        frames_BTCHW = self.take_frames(batch)
        clip: Reconstruction = self.net.tokenizer(frames_BTCHW)
        self.judged = frames_BTCHW.flatten(0, 1), join_frames(clip).detach()
        losses = self.reconstruction_losses(frames_BTCHW, clip)
        if "discriminator" not in self.begun():
            return losses | {"gan": torch.zeros((), device=frames_BTCHW.device)}
        gan = -self.net.discriminator(join_frames(clip)).mean()
        if self.adaptive and gan.requires_grad:
            gan = gan * balance(losses["perceptual"], gan, self.net.tokenizer.cond_decoder.conv_out.weight)
        return losses | {"gan": gan}


def balance(leading: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """By how much the gradient of one loss at a weight is longer than another's, at most ``MOST`` times; a constant."""
    first, second = (torch.autograd.grad(loss, weight, retain_graph=True)[0].norm() for loss in (leading, other))
    return (first / second.clamp(min=LEAST)).clamp(max=MOST).detach()
