"""Clips with depth, cameras and actions -> a batch of units, each with what is said of it, and a view of the past.

Shapes: B clips, T frames, N units, H x W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.episodes.clips import Clip
from data_modules.episodes.entry import naming, open_checked
from data_modules.episodes.episode import Episode
from mirage_pl.deepverse.batch import Clips, fit_depth, fit_lens, fit_maps
from mirage_pl.deepverse.model.codec import Modalities, StateCodec
from mirage_pl.deepverse.model.expected import expect_cameras
from mirage_pl.deepverse.model.memory import Memory, Past
from mirage_pl.deepverse.said import Actions, Reader


@dataclass(frozen=True)
class UnitBatch(Clips):
    """Clips of units, with cameras, what is said and what was done.

    Attributes:
        frames_BTCHW: uint8.
        depth_BTHW: along the axis; 0: not known, or not coded.
        normals_BTHW3: in the camera's axes, towards it; 0: not known, or not coded.
        poses_BN44: camera to world, of the last frame of each unit.
        lenses_BN33: in pixels of these frames.
        prompts_BN: what is said of each unit, by its number; 0 of the first one.
        actions_BSA: what is done between frames; no numbers where that isn't known.
        memory_BTCHW: a frame from before the clip.
        memory_depth_BTHW: its depth.
        memory_normals_BTHW3: its normals.
        memory_poses_BN44: its camera.
        remembered_B: whether there is one.
    """

    frames_BTCHW: Tensor
    depth_BTHW: Tensor
    normals_BTHW3: Tensor
    poses_BN44: Tensor
    lenses_BN33: Tensor
    prompts_BN: Tensor
    actions_BSA: Tensor
    memory_BTCHW: Tensor
    memory_depth_BTHW: Tensor
    memory_normals_BTHW3: Tensor
    memory_poses_BN44: Tensor
    remembered_B: Tensor


class UnitCollator:
    """Open clips, cut them into units, and find what each is reminded of.

    Args:
        height: of a frame, in pixels; others are cut to this shape around their middle, and resized.
        width: of a frame.
        stride: frames of a unit.
        given: units that a window begins with: the memory is chosen by them, and by what comes.
        memory: chooses among the units before the clip.
        modalities: which pictures are coded of a frame.
        reads: what is said of a clip's units.
    """

    def __init__(
        self,
        height: int,
        width: int,
        stride: int,
        given: int,
        memory: Memory,
        modalities: Modalities = "rgbd",
        reads: Reader | None = None,
    ) -> None:
        self.size, self.stride, self.given, self.memory = (height, width), stride, given, memory
        self.coded, self.reads = StateCodec(modalities=modalities).coded, reads or Actions()

    def __call__(self, samples: Sequence[Clip]) -> UnitBatch:
        """Build a batch.

        Raises:
            ValueError: a clip can't be read, or lacks what the modalities ask for, cameras or what is said; names it.
        """
        rows = [self.open(clip) for clip in samples]
        return UnitBatch(tuple(samples), *(torch.stack(parts) for parts in zip(*rows, strict=True)))

    def open(self, clip: Clip) -> tuple[Tensor, ...]:
        """Read a clip: the entries of a batch, in their order."""
        episode = clip.read()
        maps, poses, lenses = self.fit(episode, clip.where)
        steps = len(maps[0]) - 1
        units = slice(0, steps + 1, self.stride)
        prompts = [0, *self.reads(episode, self.stride, clip.where)]
        actions = np.zeros((steps, 0), np.float32) if episode.actions_SA is None else episode.actions_SA[:steps]
        place = self.choose(clip, episode, (maps[1][units], poses[units], lenses[units]), prompts)
        seen, pose = tuple(each[:1] for each in maps), poses[:1]
        if place is not None:
            with naming(clip), open_checked(clip.entry, clip.form) as recording:
                view = Episode(recording.frames([place])[0], None, None, geometry=recording.geometry([place]))
            seen, pose, _ = self.fit(view, clip.where)
        told, done = torch.tensor(prompts), torch.from_numpy(np.ascontiguousarray(actions))
        return *maps, poses[units], lenses[units], told, done, *seen, pose, torch.tensor(place is not None)

    def view(self, clips: Sequence[Episode], where: str) -> UnitBatch:
        """A batch of frames, or of clips of one length, of which nothing is said and that nothing was before.

        Raises:
            ValueError: one lacks what the modalities ask for, or its camera.
        """
        rows = list[tuple[Tensor, ...]]()
        for clip in clips:
            maps, poses, lenses = self.fit(clip, where)
            steps, units = len(maps[0]) - 1, slice(0, len(maps[0]), self.stride)
            still = torch.zeros(steps // self.stride + 1, dtype=torch.long), torch.zeros(steps, 0)
            before = (*(each[:1] for each in maps), poses[:1], torch.tensor(False))
            rows.append((*maps, poses[units], lenses[units], *still, *before))
        return UnitBatch((), *(torch.stack(parts) for parts in zip(*rows, strict=True)))

    def fit(self, episode: Episode, where: str) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
        """Frames, depth and normals, poses, and intrinsics as the model takes them, without frames of half a unit.

        Raises:
            ValueError: one of them is missing.
        """
        space = episode.geometry
        kinds = {"poses", "intrinsics"} - set({} if space is None else space.arrays())
        if kinds or space is None:
            raise ValueError(
                f"{where}: no {', '.join(sorted(kinds))}; name their arrays in task.form.keys, or choose task=raycast"
            )
        whole = (len(episode.frames_THWC) - 1) // self.stride * self.stride + 1
        poses, lenses = (np.ascontiguousarray(space.arrays()[kind][:whole]) for kind in ("poses", "intrinsics"))
        maps = tuple(each[:whole] for each in fit_maps(episode, where, self.size, self.coded))
        _, height, width, _ = episode.frames_THWC.shape
        return maps, torch.from_numpy(poses), fit_lens(lenses, height, width, self.size)

    def choose(
        self, clip: Clip, episode: Episode, seen: tuple[Tensor, Tensor, Tensor], prompts: Sequence[int]
    ) -> int | None:
        """The frame of the whole episode that a clip is reminded of; ``None``: none is.

        Args:
            clip: the clip.
            episode: what it holds.
            seen: depth, poses and intrinsics of its units.
            prompts: what is said of each.
        """
        places = [clip.first - self.stride * back for back in range(clip.first // self.stride, 0, -1)]
        if not places:
            return None
        with naming(clip), open_checked(clip.entry, clip.form) as recording:
            space, actions_SA = recording.geometry(places), recording.actions()
        given = tuple(each[: self.given] for each in seen)
        before = self.fit_past({} if space is None else space.arrays(), episode.frames_THWC.shape[1:3])
        depth, poses, lenses = (torch.cat(pair) for pair in zip(before, given, strict=True))
        coming = poses[-1:]
        if self.reads.walks and actions_SA is not None:
            earlier = replace(episode, actions_SA=actions_SA[places[0] : clip.first])
            told = [0, *self.reads(earlier, self.stride, clip.where), *prompts[1 : self.given]]
            coming = expect_cameras(poses, told, prompts[self.given :] or prompts[-1:])
        unit = self.memory(Past(poses, len(given[0]), coming, depth, lenses))
        return None if unit is None or unit >= len(places) else places[unit]

    def fit_past(self, known: Mapping[str, NDArray[np.float32]], size: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """Depth, poses and intrinsics of units before a clip as the model takes them; depth that isn't coded is 0.

        Args:
            known: of these units.
            size: height and width of the file's frames.
        """
        poses = torch.from_numpy(known["poses"])
        coded = "disparity" in self.coded
        depth = fit_depth(known["depth"], self.size) if coded else torch.zeros(len(poses), *self.size)
        return depth, poses, fit_lens(known["intrinsics"], size[0], size[1], self.size)

    def widths(self, sample: Clip) -> tuple[int, ...]:
        """Count what ``loader.max_tokens`` limits: frames."""
        return (sample.window.length,)
