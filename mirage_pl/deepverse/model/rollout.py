"""A walk through an imagined world, window by window.

Shapes: U new units, N units so far, T frames, S channels of a state, H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


def size_windows(config: Any, world: World, given: int) -> WindowSizes:
    """Windows as a run was trained on."""
    return WindowSizes((int(config.task.window.length) - 1) // world.stride + 1, given)


@dataclass
class Begun:
    """A window that isn't full yet, and goes on where it was.

    Attributes:
        before: all that was seen before it.
        states_1SNhw: its units so far.
        given: how many of them it was given.
        scale: of the window.
        memory: what it is shown of the past.
        stream: its random numbers.
    """

    before: Walked
    states_1SNhw: Tensor
    given: int
    scale: Tensor
    memory: tuple[Tensor, Tensor] | None
    stream: torch.Generator


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
        self.begun: Begun | None = None
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
        self.recall(join_window(world.codec, None, self.see(state), 1.0, 0), [0])

    def recall(self, walked: Walked, told: Sequence[int]) -> None:
        """Begin with units that are known, and what was said of each."""
        self.walked, self.told, self.begun = walked, list(told), None

    @torch.no_grad()
    def go(self, prompts: Sequence[int]) -> None:
        """Walk on: a unit for each prompt, by its number, in as many windows as it takes.

        Raises:
            ValueError: nothing was begun.
        """
        left = list(prompts)
        while left:
            if self.begun is None or self.begun.states_1SNhw.shape[2] == self.sizes.units:
                self.begun = self.open_window(left[: self.sizes.units - min(self.count, self.sizes.given)])
            room = self.sizes.units - self.begun.states_1SNhw.shape[2]
            self.draw(self.begun, left[:room])
            left = left[room:]

    def open_window(self, prompts: Sequence[int]) -> Begun:
        """Begin a window, of which these prompts are known."""
        walked, world = self.walked, self.world
        if walked is None:
            raise ValueError("begin with a picture")
        number = min(self.count, self.sizes.given)
        given = give(world.codec, walked, number, world.stride)
        memory = self.remember(walked, number, prompts, given.scale)
        return Begun(walked, self.encode(given), number, given.scale, memory, self.open_stream())

    def draw(self, begun: Begun, prompts: Sequence[int]) -> None:
        """Draw units of a window."""
        world = self.world
        said = torch.tensor([list(prompts)], device=world.device)
        units = world.draw_units(self.sampler, begun.states_1SNhw, said, [begun.stream], begun.memory)
        begun.states_1SNhw = torch.cat((begun.states_1SNhw, units), 2)
        window = self.see(begun.states_1SNhw)
        self.walked = join_window(world.codec, begun.before, window, begun.scale, begun.given)
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
