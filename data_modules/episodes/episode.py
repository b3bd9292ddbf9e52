"""An episode in memory, and as the ``.npz`` file that makers write.

Shapes: T frames of H x W pixels, S = T - 1 steps between them, A numbers of an action, N of a state.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.geometry import Geometry

Frames = NDArray[np.uint8]
Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Episode:
    """An episode, or a clip of one.

    Attributes:
        frames_THWC: of the first camera.
        actions_SA: the action that leads from frame t to t + 1; ``None``: not recorded.
        rewards_S: the reward on arriving at frame t + 1; ``None``: not recorded.
        states_TN: what else is known at each frame, such as a robot's joints; ``None``: not recorded.
        text: what is to be done; ``None``: not said.
        others: frames of further cameras, in the order in which the form names them.
        geometry: depth, poses and intrinsics of the first camera; ``None``: nothing is known.

    Raises:
        ValueError: a geometry of frames of another size.
    """

    frames_THWC: Frames
    actions_SA: Numbers | None
    rewards_S: Numbers | None
    states_TN: Numbers | None = None
    text: str | None = None
    others: tuple[Frames, ...] = ()
    geometry: Geometry | None = None

    def __post_init__(self) -> None:
        if self.geometry is not None:
            self.geometry.check(*self.frames_THWC.shape[1:3])

    @property
    def cameras(self) -> tuple[Frames, ...]:
        """Frames of all cameras."""
        return (self.frames_THWC, *self.others)


def write_episode(file: Path, episode: Episode) -> None:
    """Write an episode's first camera, its geometry and its numbers, a row of actions and rewards for each step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kinds = {"actions": episode.actions_SA, "rewards": episode.rewards_S, "states": episode.states_TN}
    arrays: dict[str, Any] = {kind: array for kind, array in kinds.items() if array is not None}
    if episode.text is not None:
        arrays["text"] = np.array(episode.text)
    if episode.geometry is not None:
        arrays |= episode.geometry.arrays()
    if "normals" in arrays:
        arrays["normals"] = arrays["normals"].astype(np.float16)  # a twentieth of a degree
    np.savez_compressed(file, frames=episode.frames_THWC, **arrays)
