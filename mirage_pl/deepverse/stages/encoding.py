"""Clips as states of units, for stages that hold a world model. Shapes: B clips, N units, S channels of a state."""

from abc import abstractmethod
from math import inf
from typing import Any

import torch
from torch import Tensor

from mirage_pl.deepverse.model.world import Cameras, World
from mirage_pl.deepverse.pictures import draw_pictures, find_scales
from mirage_pl.deepverse.units import UnitBatch
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.remembered import Remembered


class Encoding(BaseModule):
    """Encode clips, each once.

    Args:
        remembered: clips whose codes are kept, 2 bytes a number.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`.
    """

    def __init__(self, remembered: int, **base: Any) -> None:
        super().__init__(**base)
        self.codes = Remembered(remembered)

    @property
    @abstractmethod
    def world(self) -> World:
        """The world model."""

    def build(self, batch: UnitBatch) -> tuple[Tensor, Tensor]:
        """States of clips, [B, S, N, h, w], and of what they are reminded of, [B, S, 1, h, w]."""
        world, size = self.world, (batch.frames_BTCHW.shape[3], batch.frames_BTCHW.shape[4])
        world.check_size(*size)
        codes, memory = self.recall(batch)
        scale_B = find_scales(batch.depth_BTHW.to(self.device, torch.float32)).flatten()
        poses, lenses, places = (
            each.to(self.device, torch.float32)
            for each in (batch.poses_BN44, batch.lenses_BN33, batch.memory_poses_BN44)
        )
        states = world.build_states(codes, Cameras(poses, lenses), scale_B, size)
        return states, world.build_memory(memory, Cameras(places, lenses[:, :1]), poses[:, 0], scale_B, size)

    def recall(self, batch: UnitBatch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Codes of clips and memories; each clip is encoded once, unless all ranks must call the VAE together."""
        named = [batch.frames_BTCHW, batch.depth_BTHW, batch.normals_BTHW3]
        named += [batch.memory_BTCHW, batch.memory_depth_BTHW, batch.memory_normals_BTHW3]
        inputs, coded = [each.to(self.device) for each in named], self.world.written.coded
        parts = self.encode_all(*inputs) if self.split or not self.codes.most else self.codes(self.encode_all, *inputs)
        codes = [part.to(self.world.vae.dtype) for part in parts]
        return dict(zip(coded, codes, strict=False)), dict(zip(coded, codes[len(coded) :], strict=True))

    def encode_all(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Codes of frames, depth and normals of clips, then of memories, in half precision."""
        codes, scale = list[Tensor](), find_scales(inputs[1])
        for (frames, depth, normals), most in ((inputs[:3], inf), (inputs[3:], 1.0)):
            pictures = draw_pictures(self.world.written, frames, depth, normals, scale, most)
            codes += self.world.encode(pictures).values()
        return tuple(code.half() for code in codes)
