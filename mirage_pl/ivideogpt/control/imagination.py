"""Episodes that an agent plays in a world model.

Shapes: B rows (episodes) of T frames, S = T - 1 steps, A numbers of an action, H x W pixels.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from data_modules.episodes.episode import Episode
from mirage_pl.ivideogpt.batch import fit_frames, to_bytes
from mirage_pl.ivideogpt.control.replay import Moment
from mirage_pl.ivideogpt.model.rollout import Rollout, Sampling
from mirage_pl.ivideogpt.model.world import WorldModel

Act = Callable[[Tensor, int], Tensor]
"""(newest stacked frames [B, T, C, H, W] in uint8, number of the step) -> actions, [B, A]."""


def imagine(
    world: WorldModel,
    starts: Sequence[Moment],
    horizon: int,
    act: Act,
    sampling: Sampling,
    streams: Sequence[Generator],
) -> list[Episode]:
    """Go on from some observations, in the model: the frames that are given, then ``horizon`` imagined ones.

    The agent is shown frames in uint8, as it is shown real ones.

    Args:
        world: not training, with a head for rewards.
        starts: stacked frames, as many or more than the context has.
        horizon: frames to imagine.
        act: the agent.
        sampling: how codes are chosen.
        streams: random numbers of each row.
    """
    device = next(world.parameters()).device
    given = [start.read() for start in starts]
    seen_BTCHW = torch.stack(
        [fit_frames(episode.frames_THWC, world.tokenizer.sizes.resolution) for episode in given]
    ).to(device)
    stack, frames, actions, rewards = seen_BTCHW.shape[1], [seen_BTCHW], list[Tensor](), list[Tensor]()
    context_BTCHW = seen_BTCHW[:, -world.context_length :].to(next(world.parameters()).dtype) / 255
    rollout = Rollout(world, context_BTCHW, horizon, sampling, streams)
    for step in range(horizon):
        actions.append(act(seen_BTCHW, step))
        imagined = rollout.step(actions[-1])
        assert imagined.frames_BCHW is not None
        assert imagined.rewards_B is not None
        newest_B1CHW = to_bytes(imagined.frames_BCHW)[:, None]
        seen_BTCHW = torch.cat((seen_BTCHW, newest_B1CHW), 1)[:, -stack:]
        frames.append(newest_B1CHW)
        rewards.append(imagined.rewards_B)
    played = torch.cat(frames, 1), torch.stack(actions, 1), torch.stack(rewards, 1)
    return [join(before, *(part[row] for part in played)) for row, before in enumerate(given)]


def join(given: Episode, frames_TCHW: Tensor, actions_SA: Tensor, rewards_S: Tensor) -> Episode:
    """An episode of what was given, and what was imagined after it."""
    assert given.actions_SA is not None
    assert given.rewards_S is not None
    return Episode(
        frames_TCHW.permute(0, 2, 3, 1).contiguous().cpu().numpy(),
        np.concatenate([given.actions_SA, actions_SA.float().cpu().numpy()]),
        np.concatenate([given.rewards_S, rewards_S.float().cpu().numpy()]),
    )
