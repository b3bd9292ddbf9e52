"""Clips that are shown or told what others are."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from data_modules.episodes.clips import Clip
from mirage_pl.deepverse.model.cameras import invert
from mirage_pl.deepverse.units import UnitBatch


class OtherClips:
    """What other clips of a test set are.

    Args:
        clips: all of them.
        collate: makes batches of them.
    """

    def __init__(self, clips: Sequence[Clip], collate: Any) -> None:
        self.clips, self.collate = clips, collate
        self.places = {clip.where: place for place, clip in enumerate(clips)}
        self.told: dict[str, int] = {}

    def mislead(self, batch: UnitBatch) -> UnitBatch:
        """The batch, reminded of what clips of other episodes are, half the test set away."""
        others = [
            next((each for each in self.turn_round(clip) if each.entry.where != clip.entry.where), clip)
            for clip in batch.samples
        ]
        other = self.collate(others).to(batch.frames_BTCHW.device)
        placed = batch.poses_BN44[:, :1] @ invert(other.poses_BN44[:, :1]) @ other.memory_poses_BN44
        return replace(
            batch,
            memory_BTCHW=other.memory_BTCHW,
            memory_depth_BTHW=other.memory_depth_BTHW,
            memory_normals_BTHW3=other.memory_normals_BTHW3,
            memory_poses_BN44=placed,
        )

    def turn_round(self, clip: Clip) -> Iterator[Clip]:
        """All clips, those half the test set away first."""
        number = len(self.clips)
        start = self.places[clip.where] + number // 2
        return (self.clips[(start + step) % number] for step in range(number))

    def misinstruct(self, batch: UnitBatch) -> UnitBatch:
        """The batch, told what another clip is; one that is told nothing, or for which there is no other, as it was."""
        prompts_BN = batch.prompts_BN.clone()
        for row, clip in enumerate(batch.samples):
            if own := self.tell(clip):
                others = (self.tell(other) for other in self.turn_round(clip))
                prompts_BN[row, 1:] = next((other for other in others if other not in (0, own)), own)
        return replace(batch, prompts_BN=prompts_BN)

    def tell(self, clip: Clip) -> int:
        """What a clip is told, by number."""
        if clip.where not in self.told:
            self.told[clip.where] = self.collate.reads(clip.read(), self.collate.stride, clip.where)[0]
        return self.told[clip.where]
