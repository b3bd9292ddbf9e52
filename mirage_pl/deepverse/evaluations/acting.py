"""Acting by imagining: a clip of what was told is imagined, what is done in it is read, and that is done.

Shapes: B episodes, U units, T frames, S steps, A numbers of an action, H x W pixels.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.episodes.episode import Episode
from data_modules.worlds.views import View, gather_views
from data_modules.worlds.world import Vector, WorldFailure
from mirage_pl.deepverse.model.sampler import Sampler
from mirage_pl.deepverse.pictures import read_colours
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.evaluation.games import Game
from mirage_pl.engine.training.draws import row_stream

Telling = Callable[[Any], str | None]
"""A world -> what the model is told; ``None``: nothing."""


class ImaginedActions:
    """Chooses actions that lead through an imagined clip; after some of them it looks again, and imagines anew.

    Args:
        module: reads actions, and holds a world model.
        collate: makes batches of frames.
        sampler: how units are drawn.
        ahead: units that are imagined.
        execute: actions that are taken of them.
        seed: of what is drawn.
        tell: what is said.

    Attributes:
        imagined: of each episode the imagined frames of the steps that were taken, [H, W, 3] each.
    """

    sees = True

    def __init__(
        self, module: Any, collate: Any, sampler: Sampler, ahead: int, execute: int, seed: int, tell: Telling
    ) -> None:
        self.module, self.collate, self.sampler = module, collate, sampler
        self.ahead, self.execute, self.seed, self.tell = ahead, execute, seed, tell
        self.plans: list[list[Vector]] = []
        self.imagined: list[list[NDArray[np.uint8]]] = []

    def begin(self, games: Sequence[Game]) -> None:
        """Forget plans."""
        self.plans, self.imagined = [[] for _ in games], [[] for _ in games]

    def choose(self, games: Sequence[Game]) -> Sequence[Vector]:
        """The next action of each plan."""
        if not any(self.plans):
            self.plan(games)
        return [
            plan.pop(0) if plan else np.zeros(game.world.width) for game, plan in zip(games, self.plans, strict=True)
        ]

    def plan(self, games: Sequence[Game]) -> None:
        """Look, imagine and read."""
        views, places = list[Episode](), list[int]()
        for place, game in enumerate(games):
            if game.failure is not None:
                continue
            try:
                frames, space = gather_views(self.look(game.world), game.world.intrinsics_33)
                views.append(Episode(frames, None, None, geometry=space))
                places.append(place)
            except WorldFailure as failure:
                game.fail(failure)
        if not places:
            return
        alive = [games[place] for place in places]
        told = [self.collate.reads.find(self.tell(game.world), f"start {game.number}") for game in alive]
        streams = [row_stream(self.seed, f"start {game.number}", len(game.rewards)) for game in alive]
        with torch.no_grad():
            actions_BSA, frames_BTHWC = self.module.net(self.imagine, views, told, streams)
        for place, actions_SA, frames_THWC in zip(places, actions_BSA, frames_BTHWC, strict=True):
            self.plans[place] = list(actions_SA[: self.execute])
            self.imagined[place] += list(frames_THWC[: self.execute])

    def look(self, world: Any) -> list[View]:
        """What is seen before it imagines: one frame."""
        return [world.look()]

    def go_on(self, states: Tensor, told: Sequence[int], streams: Sequence[torch.Generator]) -> Tensor:
        """States of what was seen, and of what is imagined of it."""
        prompts_BU = torch.tensor(told, device=states.device)[:, None].expand(-1, self.ahead)
        units = self.module.world.draw_units(self.sampler, states, prompts_BU, streams)
        return torch.cat((states.to(units), units), 2)

    def imagine(
        self, views: Sequence[Episode], told: Sequence[int], streams: Sequence[torch.Generator]
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Actions of imagined clips, [B, S, A], each -1 to 1, and their frames but the first, [B, S, H, W, 3]."""
        world, batch = self.module.world, self.collate.view(views, "the simulator").to(self.module.device)
        states, _ = self.module.build(batch)
        pictures, _ = world.show(self.go_on(states, told, streams))
        lens_B33 = batch.lenses_BN33[:, 0].float()
        actions: Tensor = self.module.net.reader(pictures, lens_B33).clamp(-1, 1)
        shown = read_colours(pictures["colours"])[:, 1:]
        frames = np.stack([to_pixels(frames_TCHW) for frames_TCHW in shown])
        return actions.double().cpu().numpy(), frames


class ExpertClips(ImaginedActions):
    """The same with what the expert would do next in place of what is imagined: how far reading and codes get."""

    def look(self, world: Any) -> list[View]:
        """What is seen now, and while the expert goes on; then the world is as it was."""
        state, views = world.save(), [world.look()]
        for _ in range(self.ahead * self.module.world.stride):
            world.step(world.choose_expert_action())
            views.append(world.look())
        world.restore(state)
        return views

    def go_on(self, states: Tensor, told: Sequence[int], streams: Sequence[torch.Generator]) -> Tensor:
        """All was seen."""
        return states
