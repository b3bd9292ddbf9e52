"""One use of a trained tokenizer: a clip through its codes and back, beside the clip."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from data_modules.episodes.video import Clip, place_beside, read_frames
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.inputs import check_count
from mirage_pl.engine.seams import Piece
from mirage_pl.ivideogpt.batch import fit_frames


class Reconstruct:
    """``conf/session/ivideogpt/reconstruct.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
    """

    uses = ("module.tokenizer",)

    def __init__(self, trained: Trained, takes: Mapping[str, str]) -> None:
        self.trained, self.takes = trained, takes

    def begin(self, clip: str | None = None, first: float = 0) -> Iterator[Piece]:
        """Write a clip beside what its codes have of it, and say how many codes these are.

        Args:
            clip: ``.npz``, ``.gif`` or ``.mp4``.
            first: the first frame that is taken, as many as in training.

        Raises:
            ValueError: no such clip, or too few frames.
        """
        if clip is None:
            raise ValueError("give clip=FILE: an .npz episode, a .gif or an .mp4")
        config, tokenizer = self.trained.config, self.trained.module.tokenizer
        window, start = config.task.window, check_count("first", first, 0)
        frames = read_frames(Path(clip), dict(config.task.form["keys"]))
        frames = frames[start :: window.step][: window.length]
        if len(frames) <= tokenizer.sizes.context_length:
            needed = tokenizer.sizes.context_length + 1
            raise ValueError(f"{clip} has {len(frames)} frame(s) from first={start} on; {needed} or more are needed")
        frames_TCHW = fit_frames(frames, tokenizer.sizes.resolution)
        yield from self.show(frames_TCHW)

    def step(self, clip: str | None = None, first: float = 0) -> Iterator[Piece]:
        """Write a further clip."""
        yield from self.begin(clip, first)

    @torch.no_grad()
    def show(self, frames_TCHW: Tensor) -> Iterator[Piece]:
        """Show one clip of uint8 frames at the model's resolution."""
        tokenizer = self.trained.module.tokenizer
        frames_BTCHW = frames_TCHW[None].to(self.trained.device, torch.float32) / 255
        context, dynamics = tokenizer.encode(frames_BTCHW)
        scene = tokenizer.decode_context(context, frames_BTCHW[:, : tokenizer.sizes.context_length])
        ours = torch.cat((scene.frames_BTCHW, tokenizer.decode_frames(dynamics, scene)), 1)[0]
        shown = Clip(place_beside([to_pixels(frames_BTCHW[0]), to_pixels(ours)]))
        yield Piece(
            "text", f"{context.numel()} + {dynamics.numel()} codes; left the clip, right what they have of it\n"
        )
        yield Piece("clip", shown, "reconstruction.mp4")
        yield Piece("clip", shown, "reconstruction.gif")
