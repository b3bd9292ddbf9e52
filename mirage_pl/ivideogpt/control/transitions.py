"""Samples -> the batch of a step. Shapes: B samples, T frames, C channels, H x W pixels, N steps, A of an action."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from data_modules.episodes.clips import Clip
from mirage_pl.ivideogpt.batch import Batch, Collator, fit_frames
from mirage_pl.ivideogpt.control.replay import Moment

Sample = Moment | Clip


@dataclass(frozen=True)
class Transitions:
    """What an agent learns from: what it saw, what it did, what the next steps brought, and what it saw then.

    Attributes:
        frames_BTCHW: uint8; the first stacked ones are the observation, the last ones the next.
        actions_BA: after the observation.
        rewards_BN: of the steps between both.
    """

    frames_BTCHW: Tensor
    actions_BA: Tensor
    rewards_BN: Tensor

    def __len__(self) -> int:
        return len(self.actions_BA)

    def now_BTCHW(self, stack: int) -> Tensor:
        """The observations."""
        return self.frames_BTCHW[:, :stack]

    def next_BTCHW(self, stack: int) -> Tensor:
        """The next ones."""
        return self.frames_BTCHW[:, -stack:]

    def to(self, device: Any) -> Self:
        """Return them on a device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class StepBatch:
    """The batch of a step.

    Attributes:
        samples: where all are from.
        where: the agent's of them.
        agent: ``None``: the agent isn't updated.
        clips: for the world model; ``None``: it isn't updated.
    """

    samples: tuple[Sample, ...]
    where: tuple[str, ...]
    agent: Transitions | None
    clips: Batch | None

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: Any, **_: Any) -> Self:
        """Return the batch on a device."""
        agent, clips = self.agent and self.agent.to(device), self.clips and self.clips.to(device)
        return replace(self, agent=agent, clips=clips)


class StepCollator:
    """Build a step's batch: moments are the agent's or the world model's, clips of a file are both's.

    Args:
        resolution: height and width of frames.
        stack: frames of an observation.
        ahead: steps whose rewards are added up.
        clips: the world model's collator; ``None``: there is no world model.
    """

    def __init__(self, resolution: int, stack: int, ahead: int, clips: Collator | None = None) -> None:
        if min(stack, ahead) < 1:
            raise ValueError(f"agent.stack={stack} and agent.ahead={ahead} must be 1 or more")
        self.resolution, self.stack, self.ahead, self.clips = resolution, stack, ahead, clips

    def __call__(self, samples: Sequence[Sample]) -> StepBatch:
        """Build a batch."""
        acted = [sample for sample in samples if not isinstance(sample, Moment) or sample.acts]
        shown: list[Any] = [sample for sample in samples if not isinstance(sample, Moment) or not sample.acts]
        agent = self.stack_transitions(acted) if acted else None
        clips = self.clips(shown) if self.clips and shown else None
        return StepBatch(tuple(samples), tuple(sample.where for sample in acted), agent, clips)

    def stack_transitions(self, samples: Sequence[Sample]) -> Transitions:
        """Read what the agent learns from.

        Raises:
            ValueError: a clip is too short, or has no actions or no rewards.
        """
        frames, actions, rewards = [], [], []
        for sample in samples:
            episode, length = sample.read(), self.stack + self.ahead
            if len(episode.frames_THWC) < length or episode.actions_SA is None or episode.rewards_S is None:
                raise ValueError(
                    f"{sample.where}: an agent needs {length} frames with actions and rewards "
                    f"(agent.sizes.stack={self.stack} and ahead={self.ahead}), this clip has "
                    f"{len(episode.frames_THWC)}, {'no' if episode.actions_SA is None else 'with'} actions and "
                    f"{'no' if episode.rewards_S is None else 'with'} rewards; set task.window.length"
                )
            frames.append(episode.frames_THWC[:length])
            actions.append(episode.actions_SA[self.stack - 1])
            rewards.append(episode.rewards_S[self.stack - 1 : length - 1])
        sized_BTCHW = fit_frames(np.stack(frames), self.resolution)
        actions_BA, rewards_BN = (torch.from_numpy(np.stack(numbers)) for numbers in (actions, rewards))
        return Transitions(sized_BTCHW, actions_BA, rewards_BN)

    def widths(self, sample: Sample) -> tuple[int, ...]:
        """Count what ``loader.max_length`` limits: frames."""
        return (sample.length if isinstance(sample, Moment) else sample.window.length,)
