"""A walk through an imagined world, window by window.

Shapes: U new units, N units so far, T frames, S channels of a state, H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mirage_pl.deepverse.model.cameras import chain
from mirage_pl.deepverse.model.codec import invert_depth
from mirage_pl.deepverse.model.expected import expect_cameras
from mirage_pl.deepverse.model.handover import Given, Walked, Window, draw_memory, give, join_window
from mirage_pl.deepverse.model.memory import Memory, Past
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.model.world import World
from mirage_pl.engine.training.draws import row_stream


@dataclass(frozen=True)
class WindowSizes:
    """Of a window.

    Attributes:
        units: that it has at most.
        given: of them, those that it takes over from the ones before, where there are so many.

    Raises:
        ValueError: no new unit would fit.
    """

    units: int
    given: int

    def __post_init__(self) -> None:
        if not 1 <= self.given < self.units:
            raise ValueError(f"given={self.given} must be 1 to {self.units - 1}: a window has {self.units} units")


class Rollout:
    """One walk.

    Args:
        world: the model.
        sampler: how units are drawn.
        sizes: of a window.
        memory: which unit of the past a window is shown.
        seed: of what is drawn; each window's draws depend on it and on the units before.

    Raises:
        ValueError: a model of other modalities than a window hands over.

    Attributes:
        walked: all that was seen, in the unit and as the camera of the first picture.
    """

    def __init__(self, world: World, sampler: Sampler, sizes: WindowSizes, memory: Memory, seed: int) -> None:
        if world.written.modalities != "rgbd":
            raise ValueError(
                f"a walk hands over colours and depth, but this run has modalities={world.written.modalities}"
            )
        self.world, self.sampler, self.sizes, self.memory, self.seed = world, sampler, sizes, memory, seed
        self.walked: Walked | None = None
        self.told, self.chosen = list[int](), list[int | None]()

    @property
    def count(self) -> int:
        """Units so far."""
        return 0 if self.walked is None else len(self.walked.poses_N44)

    @torch.no_grad()
    def begin(self, frame_3HW: Tensor) -> None:
        """Begin with a picture, about [-1, 1]: the first unit is imagined as well, with its depth.

        Raises:
            ValueError: it is of a size that can't be halved as often as there are stages.
        """
        world = self.world
        world.check_size(frame_3HW.shape[1], frame_3HW.shape[2])
        picture = frame_3HW[None, :, None].to(world.device)
        codes = world.encode(dict.fromkeys(world.codec.coded, picture))
        image = world.write({"colours": codes["colours"]}, None)
        nothing = torch.zeros(1, 1, dtype=torch.long, device=world.device)
        state = world.draw_units(self.sampler, image, nothing, [self.open_stream()])
        self.walked, self.told = join_window(world.codec, None, self.see(state), 1.0, 0), [0]

    def recall(self, walked: Walked, told: Sequence[int]) -> None:
        """Begin with units that are known, and what was said of each."""
        self.walked, self.told = walked, list(told)

    @torch.no_grad()
    def go(self, prompts: Sequence[int]) -> None:
        """Walk on: a unit for each prompt, by its number, in as many windows as it takes.

        Raises:
            ValueError: nothing was begun.
        """
        left = list(prompts)
        while left:
            room = self.sizes.units - min(self.count, self.sizes.given)
            self.go_window(left[:room])
            left = left[room:]

    def go_window(self, prompts: Sequence[int]) -> None:
        """One window."""
        walked, world = self.walked, self.world
        if walked is None:
            raise ValueError("begin with a picture")
        number = min(self.count, self.sizes.given)
        given = give(world.codec, walked, number, world.stride)
        past = self.encode(given)
        said = torch.tensor([list(prompts)], device=world.device)
        memory = self.remember(walked, number, prompts, given.scale)
        units = world.draw_units(self.sampler, past, said, [self.open_stream()], memory)
        window = self.see(torch.cat((past, units), 2))
        self.walked = join_window(world.codec, walked, window, given.scale, number)
        self.told += prompts

    def remember(
        self, walked: Walked, given: int, prompts: Sequence[int], scale: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        """The state of a unit of the past, and that it counts; ``None``: there is none."""
        coming = expect_cameras(walked.poses_N44, self.told, prompts)
        depth = invert_depth(walked.disparity_THW[:: self.world.stride])
        self.chosen.append(unit := self.memory(Past(walked.poses_N44, given, coming, depth, walked.lenses_N33)))
        if unit is None:
            return None
        state = self.draw_past(walked, unit, given, scale)
        return state, torch.ones(1, dtype=torch.bool, device=state.device)

    def draw_past(self, walked: Walked, unit: int, given: int, scale: Tensor) -> Tensor:
        """The state of a unit of the past, as the window's first camera sees it."""
        return self.encode(draw_memory(self.world.codec, walked, unit, given, self.world.stride, scale))

    def encode(self, given: Given) -> Tensor:
        """The states of what a window is given, [1, S, n, h, w]."""
        disparity = given.disparity_THW[None, None].expand(1, 3, -1, -1, -1)
        codes = self.world.encode({"colours": given.colours_3THW[None], "disparity": disparity})
        return self.world.write(codes, given.rays_N6hw.transpose(0, 1)[None])

    def see(self, states_1SNhw: Tensor) -> Window:
        """What a window shows; its first unit has the lens of the next one, as its rays say nothing but the lens."""
        pictures, cameras = self.world.show(states_1SNhw)
        relative_N44, lenses_N33 = cameras.poses_BN44[0], cameras.lenses_BN33[0]
        lenses_N33 = torch.cat((lenses_N33[1:2], lenses_N33[1:])) if len(lenses_N33) > 1 else lenses_N33
        return Window(pictures["colours"][0], pictures["disparity"][0], chain(relative_N44[1:]), lenses_N33)

    def open_stream(self) -> torch.Generator:
        """Random numbers of the next window."""
        return row_stream(self.seed, "walk", self.count)
