"""One use of a trained world model: a clip goes on as it is imagined, beside what came, or action by action.

Shapes: T frames, F of them after the context, S steps, A numbers of an action, C channels, H x W pixels.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data_modules.episodes.episode import Episode
from data_modules.episodes.form import Form, as_plain
from data_modules.episodes.recording import open_recording
from data_modules.episodes.video import Clip, place_beside, read_frames
from data_modules.episodes.window import Window, cut
from data_modules.images import open_image
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.engine.evaluation.frames import psnr, squared_error, to_pixels
from mirage_pl.engine.inputs import check_count
from mirage_pl.engine.seams import Piece
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.ivideogpt.batch import fit_frames
from mirage_pl.ivideogpt.control.long_rollout import LongRollout
from mirage_pl.ivideogpt.model.rollout import Sampling
from mirage_pl.ivideogpt.model.world import WorldModel

VIDEOS = (".gif", ".mp4", ".mkv", ".webm", ".avi")
"""Files of frames alone."""


class Imagine:
    """``conf/session/ivideogpt/imagine.yaml``.

    Args:
        trained: the run.
        takes: names of what is given, and their kinds.
        sampling: how codes are chosen.
        seed: of what is drawn.
    """

    uses = ("module.net.context_length",)

    def __init__(self, trained: Trained, takes: Mapping[str, str], sampling: Sampling, seed: int) -> None:
        self.trained, self.takes, self.sampling, self.seed = trained, takes, sampling, seed
        self.rollout: LongRollout | None = None
        self.shown: list[Tensor] = []

    @property
    def world(self) -> WorldModel:
        """The model."""
        world: WorldModel = self.trained.module.net
        return world

    @property
    def trained_frames(self) -> int:
        """Frames that followed the context in training."""
        return max(1, int(self.trained.config.task.window.length) - self.world.context_length)

    def begin(
        self,
        clip: str | None = None,
        image: str | None = None,
        action: str | None = None,
        first: float = 0,
        frames: float | None = None,
    ) -> Iterator[Piece]:
        """Let a clip or a picture go on.

        Args:
            clip: ``.npz``, ``.gif`` or ``.mp4``; its first frames are the context, and the actions of an ``.npz`` are
                done unless ``action`` is given.
            image: a picture in place of a clip.
            action: numbers with spaces or commas between them; done at every frame.
            first: the first frame of the clip that is taken.
            frames: so many are imagined; by default one with ``action``, else as many as a clip has in training.

        Raises:
            ValueError: no such file, too few frames, or no action where the model takes some.
        """
        if (clip is None) == (image is None):
            raise ValueError("give clip=FILE (an .npz episode, a .gif or an .mp4), or image=FILE")
        wanted = None if frames is None else check_count("frames", frames, 1)
        start = check_count("first", first, 0)
        episode = self.read_image(Path(image)) if image else self.read_clip(Path(str(clip)), start)
        context = self.world.context_length
        if len(episode.frames_THWC) < context:
            raise ValueError(f"{clip} has {len(episode.frames_THWC)} frame(s) from first={first:g} on; give {context}")
        truth_TCHW = self.prepare(episode.frames_THWC)
        actions_FA = self.choose_actions(
            episode, action, wanted or (1 if action else self.trained_frames), str(clip or image)
        )
        if wanted and actions_FA is not None and len(actions_FA) < wanted:
            raise ValueError(
                f"frames={wanted}, but {clip} has {len(actions_FA)} action(s) left; give action=, or fewer"
            )
        count = (wanted or self.trained_frames) if actions_FA is None else len(actions_FA)
        context_1TCHW, streams = truth_TCHW[None, :context], [row_stream(self.seed, "imagine", 0)]
        self.rollout = LongRollout(self.world, context_1TCHW, self.trained_frames, self.sampling, streams)
        self.shown = list(truth_TCHW[:context])
        rewards = [self.go_on(None if actions_FA is None else actions_FA[frame]) for frame in range(count)]
        came = action is None  # else nobody knows what would have come
        yield from self.show(rewards, episode if came else None, truth_TCHW if came else None)

    def step(self, action: str | None = None) -> Iterator[Piece]:
        """Do one action, and show what follows.

        Raises:
            ValueError: the action isn't as many numbers as the model takes, or nothing was begun.
        """
        if self.rollout is None:
            raise ValueError("begin with a clip or an image")
        actions_FA = self.choose_actions(None, action, 1, "this line")
        yield from self.show([self.go_on(None if actions_FA is None else actions_FA[0])], None, None)

    def read_image(self, file: Path) -> Episode:
        """A picture as an episode that stands still."""
        pixels = np.asarray(open_image(file, f"image={file}"))
        return Episode(np.repeat(pixels[None], self.world.context_length, 0), None, None)

    def read_clip(self, file: Path, first: int) -> Episode:
        """Frames, and of an episode actions and rewards, from the first frame on, at the stride of training."""
        task = self.trained.config.task
        stride = int(task.window.step)
        if file.suffix.lower() in VIDEOS:
            return Episode(read_frames(file, dict(task.form["keys"]))[first::stride], None, None)
        with open_recording(file, Form(**as_plain(task.form))) as recording:
            length = max(0, recording.total - 1 - first) // stride + 1
            if length < 2:
                raise ValueError(f"{file} has {length} frame(s) from first={first} on; give 2 or more")
            return cut(recording, Window(length, stride), first, 0, None)

    def prepare(self, frames_THWC: Any) -> Tensor:
        """Frames as the model takes them, in [0, 1]."""
        sized_TCHW = fit_frames(np.ascontiguousarray(frames_THWC), self.world.tokenizer.sizes.resolution)
        return sized_TCHW.to(self.trained.device, torch.float32) / 255

    def choose_actions(self, episode: Episode | None, action: str | None, count: int, where: str) -> Tensor | None:
        """What is done at each frame, [F, A]; ``None`` for a model without actions.

        Raises:
            ValueError: there are none, or they aren't as wide as the model's.
        """
        width = self.world.action_dim
        if not width:
            return None
        if action is not None:
            return torch.tensor([read_action(action, width)] * count)
        recorded = None if episode is None else episode.actions_SA
        if recorded is None:
            raise ValueError(
                f"{where} has no actions; give action=, {width} number(s), such as '{' '.join(['0'] * width)}'"
            )
        chosen = recorded[self.world.context_length - 1 :][:count]
        if chosen.shape[1] != width or not len(chosen):
            raise ValueError(
                f"{where} has {len(chosen)} action(s) of {chosen.shape[1]} number(s) after its context; the model "
                f"takes {width}"
            )
        return torch.from_numpy(chosen)

    def go_on(self, action_A: Tensor | None) -> float | None:
        """Imagine one frame, and return its reward."""
        assert self.rollout is not None
        imagined = self.rollout.step(None if action_A is None else action_A[None])
        assert imagined.frames_BCHW is not None
        self.shown.append(imagined.frames_BCHW[0])
        return None if imagined.rewards_B is None else float(imagined.rewards_B[0])

    def show(self, rewards: list[float | None], episode: Episode | None, truth_TCHW: Tensor | None) -> Iterator[Piece]:
        """Say what it brings, and show the clip so far: alone, or beside what came."""
        context, ours_TCHW = self.world.context_length, torch.stack(self.shown)
        lines = []
        if known := [reward for reward in rewards if reward is not None]:
            lines.append("rewards " + " ".join(f"{reward:.2f}" for reward in known))
            if episode is not None and episode.rewards_S is not None:
                came = episode.rewards_S[context - 1 :][: len(known)]
                lines.append("came    " + " ".join(f"{reward:.2f}" for reward in came))
        parts = [to_pixels(ours_TCHW)]
        if truth_TCHW is not None and len(truth_TCHW) > context:
            both = min(len(truth_TCHW), len(ours_TCHW))
            truth, ours = truth_TCHW[:both], ours_TCHW[:both]
            ahead, copied = (
                psnr(squared_error(each, truth[context:])).mean()
                for each in (ours[context:], truth[context - 1].expand_as(truth[context:]))
            )
            lines.append(f"PSNR {ahead:.1f} dB over {both - context} frame(s); copying the last given one {copied:.1f}")
            lines.append("left the clip, right as imagined")
            parts = [
                np.concatenate((to_pixels(truth), np.zeros_like(to_pixels(ours_TCHW[both:])))),
                to_pixels(ours_TCHW),
            ]
        yield Piece("text", "".join(f"{line}\n" for line in lines or [f"{len(ours_TCHW)} frames"]))
        clip = Clip(place_beside(parts))
        yield Piece("clip", clip, "imagined.mp4")
        yield Piece("clip", clip, "imagined.gif")


def read_action(text: str, width: int) -> list[float]:
    """Read the numbers of an action.

    Raises:
        ValueError: they aren't ``width`` finite numbers.
    """
    try:
        numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if len(numbers) != width or not np.isfinite(numbers).all():
        raise ValueError(f"action={text!r} must be {width} number(s), such as '{' '.join(['0.5'] * width)}'")
    return numbers
