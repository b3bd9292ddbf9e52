"""Make episodes of a world that also says how far away what is seen is: with depth, poses and intrinsics."""

from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data_modules.episodes.episode import Episode
from data_modules.worlds.maker import WorldEpisodes
from data_modules.worlds.play import is_noise, play
from data_modules.worlds.views import View, gather_views
from data_modules.worlds.world import World


class SeenWorld(World, Protocol):
    """A world whose frames come with depth and pose."""

    @property
    def intrinsics_33(self) -> NDArray[np.float32]:
        """In pixels of its frames."""

    def look(self) -> View:
        """What is seen now."""


class Watched:
    """A world whose frames are drawn as views, which are kept."""

    def __init__(self, world: SeenWorld) -> None:
        self.world, self.views = world, list[View]()

    def draw(self) -> NDArray[np.uint8]:
        """Draw a frame."""
        self.views.append(self.world.look())
        return self.views[-1].frame_HWC

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world, name)


@dataclass(frozen=True, kw_only=True)
class SeenEpisodes(WorldEpisodes):
    """Episodes of train, val and test, with depth, poses and intrinsics of their frames."""

    def play(self, policy: float | str, seed: list[int]) -> tuple[Episode, bool]:
        """Play an episode, the same anew if the simulator breaks down.

        Raises:
            ValueError: it always does.
        """
        return self.try_again(lambda _: self.watch(policy, seed))

    def watch(self, policy: float | str, seed: list[int]) -> tuple[Episode, bool]:
        """Play an episode and keep its views; what is to be done is said where an expert does it, who then stays."""
        world = self.open()
        watched: Any = Watched(world)
        told = hasattr(world, "instruction")
        episode, reached = play(watched, policy, self.length, np.random.default_rng(seed), wander=not told)
        space = gather_views(watched.views, watched.intrinsics_33)[1]
        return replace(episode, geometry=space, text=world.instruction if told and is_noise(policy) else None), reached
