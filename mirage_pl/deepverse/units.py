"""Clips with depth, cameras and actions -> a batch of units, each with what was done, and a view of the past.

Shapes: B clips, T frames, N units, H x W pixels.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.episodes.clips import Clip
from data_modules.episodes.entry import naming, open_checked
from data_modules.episodes.episode import Episode
from data_modules.worlds.walking import name_action
from mirage_pl.deepverse.batch import Clips, fit_depth, fit_frames, fit_lens
from mirage_pl.deepverse.model.expected import expect_cameras
from mirage_pl.deepverse.model.memory import Memory, Past
from mirage_pl.deepverse.model.prompts import NUMBERS


@dataclass(frozen=True)
class UnitBatch(Clips):
    """Clips of units, with cameras and what was done.

    Attributes:
        frames_BTCHW: uint8.
        depth_BTHW: along the axis; 0: not known.
        poses_BN44: camera to world, of the last frame of each unit.
        lenses_BN33: in pixels of these frames.
        prompts_BN: what was done in each unit, by its number among ``PROMPTS``; 0 of the first one.
        memory_BTCHW: a frame from before the clip.
        memory_depth_BTHW: its depth.
        memory_poses_BN44: its camera.
        remembered_B: whether there is one.
    """

    frames_BTCHW: Tensor
    depth_BTHW: Tensor
    poses_BN44: Tensor
    lenses_BN33: Tensor
    prompts_BN: Tensor
    memory_BTCHW: Tensor
    memory_depth_BTHW: Tensor
    memory_poses_BN44: Tensor
    remembered_B: Tensor


class UnitCollator:
    """Open clips, cut them into units, and find what each is reminded of.

    Args:
        height: of a frame, in pixels; others are cut to this shape around their middle, and resized.
        width: of a frame.
        stride: frames of a unit.
        given: units that a window begins with: the memory is chosen by the newest of them.
        memory: chooses among the units before the clip.
    """

    def __init__(self, height: int, width: int, stride: int, given: int, memory: Memory) -> None:
        self.size, self.stride, self.given, self.memory = (height, width), stride, given, memory

    def __call__(self, samples: Sequence[Clip]) -> UnitBatch:
        """Build a batch.

        Raises:
            ValueError: a clip can't be read, or lacks depth, cameras or actions; names it.
        """
        rows = [self.open(clip) for clip in samples]
        return UnitBatch(tuple(samples), *(torch.stack(parts) for parts in zip(*rows, strict=True)))

    def open(self, clip: Clip) -> tuple[Tensor, ...]:
        """Read a clip: the entries of a batch, in their order."""
        episode = clip.read()
        frames, depth, poses, lenses = self.fit(episode, clip.where)
        units = slice(0, len(frames), self.stride)
        prompts = [0, *self.read_prompts(episode.actions_SA, clip.where)]
        place = self.choose(clip, (depth[units], poses[units], lenses[units]), prompts)
        if place is not None:
            with naming(clip), open_checked(clip.entry, clip.form) as recording:
                seen = Episode(recording.frames([place])[0], None, None, geometry=recording.geometry([place]))
            memory, far, pose, _ = self.fit(seen, clip.where)
        else:
            memory, far, pose = frames[:1], depth[:1], poses[:1]
        told = torch.tensor(prompts)
        return frames, depth, poses[units], lenses[units], told, memory, far, pose, torch.tensor(place is not None)

    def fit(self, episode: Episode, where: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frames, depth, poses and intrinsics as the model takes them, frames beyond the last whole unit left out.

        Raises:
            ValueError: one of them is missing.
        """
        space = episode.geometry
        kinds = {"depth", "poses", "intrinsics"} - set({} if space is None else space.arrays())
        if kinds or space is None:
            raise ValueError(
                f"{where}: no {', '.join(sorted(kinds))}; name their arrays in task.form.keys, or choose task=raycast"
            )
        whole = (len(episode.frames_THWC) - 1) // self.stride * self.stride + 1
        frames = episode.frames_THWC[:whole]
        depth, poses, lenses = (space.arrays()[kind][:whole] for kind in ("depth", "poses", "intrinsics"))
        return (
            fit_frames(frames, self.size),
            fit_depth(depth, self.size),
            torch.from_numpy(np.ascontiguousarray(poses)),
            fit_lens(np.ascontiguousarray(lenses), frames.shape[1], frames.shape[2], self.size),
        )

    def read_prompts(self, actions_SA: NDArray[np.float32] | None, where: str) -> list[int]:
        """What is done in each unit after the first: the action of most of its frames.

        Raises:
            ValueError: there are no actions, or others than those of a walk.
        """
        if actions_SA is None:
            raise ValueError(f"{where}: no actions; name their array in task.form.keys.actions")
        units = len(actions_SA) // self.stride
        prompts = list[int]()
        for unit in range(units):
            steps = actions_SA[unit * self.stride : (unit + 1) * self.stride]
            try:
                codes = [name_action(action) for action in steps.tolist()]
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            prompts.append(NUMBERS[Counter(codes).most_common(1)[0][0]])
        return prompts

    def choose(self, clip: Clip, seen: tuple[Tensor, Tensor, Tensor], prompts: Sequence[int]) -> int | None:
        """The frame of the episode that a clip is reminded of; ``None``: none is.

        Args:
            clip: the clip.
            seen: depth, poses and intrinsics of its units.
            prompts: what is done in each.
        """
        places = [clip.first - self.stride * back for back in range(clip.first // self.stride, 0, -1)]
        if not places:
            return None
        with naming(clip), open_checked(clip.entry, clip.form) as recording:
            space, actions_SA = recording.geometry(places), recording.actions()
        known = {} if space is None else space.arrays()
        height, width = known["depth"].shape[1:]
        fitted = (
            fit_depth(known["depth"], self.size),
            torch.from_numpy(known["poses"]),
            fit_lens(known["intrinsics"], height, width, self.size),
        )
        depth, poses, lenses = (torch.cat((old, new[: self.given])) for old, new in zip(fitted, seen, strict=True))
        earlier = None if actions_SA is None else actions_SA[places[0] : clip.first]
        told = [0, *self.read_prompts(earlier, clip.where), *prompts[1 : self.given]]
        coming = expect_cameras(poses, told, prompts[self.given :] or prompts[-1:])
        unit = self.memory(Past(poses, min(self.given, len(seen[1])), coming, depth, lenses))
        return None if unit is None or unit >= len(places) else places[unit]

    def widths(self, sample: Clip) -> tuple[int, ...]:
        """Count what ``loader.max_tokens`` limits: frames."""
        return (sample.window.length,)
