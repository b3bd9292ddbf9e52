"""The stage that reads actions from frames. Shapes: B clips, T frames, S = T - 1 steps, A numbers of an action."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from mirage_pl.deepverse.model.released import CONFIG, write_part, write_world
from mirage_pl.deepverse.model.world import World
from mirage_pl.deepverse.pictures import draw_pictures, find_scales
from mirage_pl.deepverse.reading import Reading
from mirage_pl.deepverse.stages.encoding import Encoding
from mirage_pl.deepverse.units import UnitBatch
from mirage_pl.engine.training.draws import row_stream

CARD = """What reads actions from two frames, beside a world model whose frames it reads (TesserAct, arXiv 2504.20995).

`world/` is the world model as its own exports are; `reader/` the weights of what reads.
"""


class ReadActions(Encoding):
    """Learn what was done between neighbouring frames of true clips.

    Args:
        noise: standard deviation of what is added to pictures, which are about [-1, 1], at most: a row's is drawn.
        coded: share of rows whose frames come out of their codes, as imagined ones do.
        remembered: clips whose codes are kept, 2 bytes a number.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`; ``net`` is a :class:`Reading`.
    """

    net: Reading

    def __init__(
        self,
        noise: Annotated[float, Ge(0)],
        coded: Annotated[float, Interval(ge=0, le=1)],
        remembered: Annotated[int, Ge(0)],
        **base: Any,
    ) -> None:
        super().__init__(remembered, **base)
        self.noise, self.coded = noise, coded

    @property
    def world(self) -> World:
        """The world model, which doesn't learn."""
        return self.net.world

    def losses(self, batch: UnitBatch) -> dict[str, Tensor]:
        """``actions``: squared error of a number of an action."""
        return {"actions": self.net(self.lose, batch)}

    def lose(self, batch: UnitBatch) -> Tensor:
        """The loss of a batch."""
        actions_BSA = self.read(self.show(batch), batch)
        return (actions_BSA - batch.actions_BSA.to(actions_BSA)).square().mean()

    def read(self, pictures: dict[str, Tensor], batch: UnitBatch) -> Tensor:
        """Actions between neighbouring frames of pictures, [B, S, A].

        Raises:
            ValueError: clips with actions of other numbers than the reader's.
        """
        wanted, given = self.net.reader.actions, batch.actions_BSA.shape[2]
        if wanted != given:
            raise ValueError(
                f"{batch.samples[0].where}: actions of {given} numbers, but task.action_dim={wanted}; set it to {given}"
            )
        lens_B33 = batch.lenses_BN33[:, 0].to(self.device, torch.float32)
        actions_BSA: Tensor = self.net.reader(pictures, lens_B33)
        return actions_BSA

    def show(self, batch: UnitBatch) -> dict[str, Tensor]:
        """Pictures of clips: as they are, and in training with noise, some as their codes have them."""
        pictures = self.draw(batch)
        if not self.training:
            return pictures
        streams = [row_stream(self.seed, Path(clip.where).name, self.step) for clip in batch.samples]
        coded_B = torch.tensor([float(torch.rand((), generator=stream)) < self.coded for stream in streams])
        if bool(coded_B.any()) or self.split:
            recoded = self.recode(batch, coded_B)
            pictures = {name: each.clone() for name, each in pictures.items()}
            for name, each in recoded.items():
                pictures[name][coded_B] = each.to(pictures[name])
        for name, each in pictures.items():
            noise = [
                self.noise * torch.rand((), generator=stream) * torch.randn(each.shape[1:], generator=stream)
                for stream in streams
            ]
            pictures[name] = each + torch.stack(noise).to(each)
        return pictures

    def draw(self, batch: UnitBatch) -> dict[str, Tensor]:
        """Pictures of clips as they are."""
        depth_BTHW = batch.depth_BTHW.to(self.device)
        scale = find_scales(depth_BTHW)
        frames, normals = batch.frames_BTCHW.to(self.device), batch.normals_BTHW3.to(self.device)
        return draw_pictures(self.world.written, frames, depth_BTHW, normals, scale)

    @torch.no_grad()
    def recode(self, batch: UnitBatch, rows_B: Tensor) -> dict[str, Tensor]:
        """Pictures of some clips as their codes have them; where ranks must call the VAE together, of all."""
        codes, _ = self.recall(batch)
        keep = torch.ones_like(rows_B) if self.split else rows_B
        together = torch.cat([code[keep] for code in codes.values()])
        pictures = self.world.vae.decode(together.to(self.world.vae.dtype)).float().chunk(len(codes))
        return {name: each[rows_B[keep]] for name, each in zip(codes, pictures, strict=True)}

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """What reads."""
        return {"reader": [self.net.reader]}

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write the world model as its own stage does, and the reader; read the weights back."""
        (folder / "README.md").write_text(CARD)
        (folder / CONFIG).write_text(json.dumps({"model_type": "deepverse_inverse_dynamics"}))
        (folder / "world").mkdir()
        weights = {f"net.world.{name}": weight for name, weight in write_world(self.world, folder / "world").items()}
        part = write_part(self.net.reader, folder / "reader", {"actions": self.net.reader.actions})
        return weights | {f"net.reader.{name}": weight for name, weight in part.items()}
