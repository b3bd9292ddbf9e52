"""The stage of the world model. Shapes: B clips, N units, S channels of a state, h x w places."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn

from mirage_pl.deepverse.model.flow import build_noise_pyramid, build_pyramid, corrupt, count_units, list_history
from mirage_pl.deepverse.model.released import write_world
from mirage_pl.deepverse.model.world import World
from mirage_pl.deepverse.stages.encoding import Encoding
from mirage_pl.deepverse.units import UnitBatch
from mirage_pl.engine.training.draws import row_stream

CARD = """A world model of colours, disparity, normals and rays (DeepVerse, arXiv 2506.01103).

`causal_video_vae/` and `transformer/` have the names of the released weights, `config.json` in each our sizes.
`prompts/` is the learnt table of what is said; `config.json` here has mean and deviation of codes: of first units, of
later ones.
"""
RAYS = "rays"
TIMES = 1000
"""Ratios that may be drawn; 0 is none of them."""


@dataclass(frozen=True)
class Rates:
    """How often something is kept from the model, and how much of its past is noise.

    Attributes:
        first: share of rows that learn the first state of a walk, out of a picture alone.
        text: share in which nothing is said.
        memory: share in which no memory is shown.
        corrupt: a row's past is noise by a share drawn from 0 to this; the model isn't told.
    """

    first: float
    text: float
    memory: float
    corrupt: float

    def __post_init__(self) -> None:
        if not all(0 <= rate <= 1 for rate in asdict(self).values()):
            raise ValueError(f"rates={asdict(self)} must each be 0 to 1")


@dataclass(frozen=True)
class Drawn:
    """What a row of a step learns, out of its own stream.

    Attributes:
        key: stage, and units of its sequence; 1: the first state of a walk.
        ratio: of the stage that is left.
        share: of the past that is noise.
        says: whether the text is said.
        remembers: whether the memory is shown.
        stream: what noise is drawn from.
    """

    key: tuple[int, int]
    ratio: float
    share: float
    says: bool
    remembers: bool
    stream: torch.Generator


class LearnWorld(Encoding):
    """Learn the direction of the noise in the last unit, given units before it, what is said, and a memory.

    Args:
        rates: what is kept from the model.
        moving: share of the loss in training that counts places by how much they change, as :func:`weigh_moves` does.
        remembered: clips whose codes are kept, 2 bytes a number.
        measured: clips of which mean and deviation of codes are measured, where the model's codec doesn't say them.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`; ``net`` is the world model; of ``loss_weights``
            those of pictures that its codec hasn't are left out.
    """

    net: World

    def __init__(
        self,
        rates: Rates,
        moving: Annotated[float, Interval(ge=0, le=1)],
        remembered: Annotated[int, Ge(0)],
        measured: Annotated[int, Ge(1)],
        **base: Any,
    ) -> None:
        wanted = (*base["net"].written.coded, RAYS)
        base["loss_weights"] = {name: weight for name, weight in base["loss_weights"].items() if name in wanted}
        super().__init__(remembered, **base)
        self.rates, self.moving, self.measured, self.names = rates, moving, measured, wanted

    @property
    def world(self) -> World:
        """What is trained."""
        return self.net

    def on_fit_start(self) -> None:
        """Measure mean and deviation of codes, unless they are known, or were measured before."""
        if bool(self.net.measured):
            return
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        rows = data.datasets["train"]
        count = min(self.measured, len(rows))
        picks = [number * len(rows) // count for number in range(count)]
        parts = [torch.stack(self.encode(data.collate([rows[pick]]))) for pick in picks]
        codes = torch.cat([part.flatten(0, 1) for part in parts])
        self.net.measure(codes[:, :, :1], codes[:, :, 1:])

    def losses(self, batch: UnitBatch) -> dict[str, Tensor]:
        """``colours``, ``disparity``, ``normals``, ``rays``, those that there are: squared errors of directions."""
        losses: dict[str, Tensor] = self.net(self.lose, batch)
        return losses

    def lose(self, batch: UnitBatch) -> dict[str, Tensor]:
        """The losses of a batch."""
        states, memory = (each.to(self.net.dtype) for each in self.build(batch))
        given = states, self.look_back(states, (memory, batch.remembered_B.to(states.device)), batch), memory
        drawn = [self.draw(clip, states.shape[2]) for clip in batch.samples]
        groups: dict[tuple[int, int], list[int]] = {}
        for row, each in enumerate(drawn):
            groups.setdefault(each.key, []).append(row)
        total = states.new_zeros(len(self.names))
        # where ranks share weights, all call the same modules, as often and in this order
        keys = list(dict.fromkeys(self.list_keys(states.shape[2]))) if self.split else sorted(groups)
        idle = [replace(drawn[0], stream=torch.Generator())]  # a row that counts nothing, and takes no other's noise
        for key in keys:
            there = key in groups
            error = self.lose_group(key, groups[key] if there else [0], drawn if there else idle, given, batch)
            total = total + (error if there else 0 * error)
        return dict(zip(self.names, (total / len(batch)).unbind(), strict=True))

    def look_back(self, states_BSNhw: Tensor, memory: tuple[Tensor, Tensor], batch: UnitBatch) -> Tensor:
        """Units as those after them find them, [B, S, N, h, w]: as they are.

        Args:
            states_BSNhw: the true ones.
            memory: states of memories, and rows that have one.
            batch: says what is done.
        """
        return states_BSNhw

    def list_keys(self, units: int) -> list[tuple[int, int]]:
        """What rows of this step may learn: stage, and units of the sequence."""
        count = self.net.flow.count
        lengths = count_units(max(1, units - 1), max(1, units - 1), self.now, 0, count)
        return [(stage, 1 + min(length, units - 1)) for stage, length in enumerate(lengths)] + [
            (stage, 1) for stage in range(count)
        ]

    @property
    def now(self) -> int:
        """The step that draws depend on; outside training the same always."""
        return self.step if self.training else 0

    def draw(self, clip: Any, units: int) -> Drawn:
        """Draw what a row learns: whatever else is in the batch."""
        stream = row_stream(self.seed, Path(clip.where).name, self.now)
        stage, first, share, text, memory = torch.rand(5, generator=stream, dtype=torch.float64).tolist()
        index = int(torch.randint(TIMES, (1,), generator=stream))
        count, rates = self.net.flow.count, self.rates
        keys, begins = self.list_keys(units), first < rates.first
        return Drawn(
            keys[int(stage * count) + (count if begins else 0)],
            1 - index / TIMES,
            share * rates.corrupt,
            not begins and text >= rates.text,
            not begins and memory >= rates.memory,
            stream,
        )

    def lose_group(
        self,
        key: tuple[int, int],
        rows: Sequence[int],
        drawn: Sequence[Drawn],
        given: tuple[Tensor, Tensor, Tensor],
        batch: UnitBatch,
    ) -> Tensor:
        """The error of each part, summed over rows that learn the same stage of sequences of one length.

        Args:
            key: stage, and units of a sequence.
            rows: which ones.
            drawn: of all rows.
            given: states, states as those after them find them, and memories of all rows.
            batch: says what is done.
        """
        (stage, units), flow, net = key, self.net.flow, self.net
        states, before, memory = (each[list(rows)] for each in given)
        here = [drawn[row] for row in rows]
        clean = build_pyramid(states[:, :, units - 1 : units], flow.count)
        noise = build_noise_pyramid(self.draw_like(states[:, :, :1], here), flow.count)
        ratio_B, share_B = (states.new_tensor([getattr(each, name) for each in here]) for name in ("ratio", "share"))
        noisy, target = flow.draw_pair(clean, noise, stage, ratio_B)
        past = net.build_image(states[:, :, :1]) if units == 1 else before[:, :, : units - 1]
        history = list_history(build_pyramid(past, flow.count), past.shape[2], stage)
        history = corrupt(history, [self.draw_like(entry, here) for entry in history], share_B)
        says, remembers = (
            torch.tensor([getattr(each, name) for each in here], device=states.device) for name in ("says", "remembers")
        )
        prompts = batch.prompts_BN[list(rows), units - 1].to(states.device) * says
        said = net.say(prompts, memory, remembers & batch.remembered_B[list(rows)].to(states.device))
        times = torch.as_tensor(flow.stages[stage].time_of(ratio_B))
        error = (net.transformer([*history, noisy], times, said) - target).square()
        if units > 1 and self.training:
            newest = build_pyramid(before[:, :, units - 2 : units - 1], flow.count)
            error = error * weigh_moves(clean[stage], newest[stage], self.moving)
        parts = *net.codec.split_codes(error).values(), net.codec.split(error)[2]
        return torch.stack([part.flatten(1).mean(1).sum() for part in parts])

    def draw_like(self, entry: Tensor, drawn: Sequence[Drawn]) -> Tensor:
        """White noise, each row's out of its own stream."""
        return torch.stack([torch.randn(entry.shape[1:], generator=each.stream) for each in drawn]).to(entry)

    def encode(self, batch: UnitBatch) -> list[Tensor]:
        """Codes of clips, of each picture that is coded."""
        codes, _ = self.net(self.recall, batch)
        return list(codes.values())

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """The transformer and the table of what is said."""
        return {"transformer": [self.net.transformer], "prompts": [self.net.prompts]}

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write a folder as the release has it, and read the weights back."""
        (folder / "README.md").write_text(CARD)
        return {f"net.{name}": weight for name, weight in write_world(self.net, folder).items()}


def weigh_moves(clean: Tensor, newest: Tensor, share: float) -> Tensor:
    """What places of a unit, [B, S, 1, h, w], count, [B, 1, 1, h, w]: 1 on average, whatever the share.

    Args:
        clean: the unit.
        newest: the one before it.
        share: of what counts by how far a place is from what it was; the rest counts alike.
    """
    change = (clean - newest).abs().mean(1, keepdim=True)
    mean_B = change.mean((1, 2, 3, 4), keepdim=True)
    return 1 + share * (change / mean_B.clamp(min=torch.finfo(change.dtype).tiny) - 1)
