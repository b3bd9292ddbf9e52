"""Plans made with the world model, and, as a ceiling, with the simulator itself.

Shapes: B episodes, T context frames, N candidates, H steps ahead, A numbers of an action; pixels in [0, 1].
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from data_modules.worlds.world import Vector, WorldFailure
from mirage_pl.engine.evaluation.games import Game, Scripted
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.ivideogpt.batch import fit_frames
from mirage_pl.ivideogpt.control.long_rollout import LongRollout, take_context
from mirage_pl.ivideogpt.control.objective import Objective
from mirage_pl.ivideogpt.control.planners import Planner, shift_plan
from mirage_pl.ivideogpt.model.rollout import Sampling
from mirage_pl.ivideogpt.model.world import WorldModel


@dataclass(frozen=True)
class Search:
    """How far is planned, and how often.

    Attributes:
        planner: finds the actions.
        horizon: H.
        execute: steps of a plan that are taken before the next one is made.
        segment: frames after which imagined ones become the context.

    Raises:
        ValueError: one out of its range.
    """

    planner: Planner
    horizon: int
    execute: int
    segment: int

    def __post_init__(self) -> None:
        if not 1 <= self.execute <= self.horizon or self.segment < 1:
            raise ValueError(
                f"search.execute={self.execute} must be 1 to search.horizon={self.horizon}, and "
                f"search.segment={self.segment} 1 or more"
            )


class Plans(ABC):
    """What both share: a plan for each episode, renewed every few steps.

    Args:
        search: how far and how often.
    """

    sees = True

    def __init__(self, search: Search) -> None:
        self.search = search

    def begin(self, games: Sequence[Game]) -> None:
        """Forget the plans before."""
        self.steps, self.plan_BHA = 0, torch.zeros(len(games), self.search.horizon, games[0].world.width)

    def choose(self, games: Sequence[Game]) -> Sequence[Vector]:
        """Take the next action of each plan; make new ones first if it is time."""
        place = self.steps % self.search.execute
        if place == 0:
            first_BHA = shift_plan(self.plan_BHA, self.search.execute) if self.steps else self.plan_BHA
            streams = [row_stream(game.number, "plan", self.steps) for game in games]
            self.plan_BHA = self.make_plans(games, first_BHA, streams)
        self.steps += 1
        return [actions_A.double().numpy() for actions_A in self.plan_BHA[:, place]]

    @abstractmethod
    def make_plans(self, games: Sequence[Game], first_BHA: Tensor, streams: Sequence[Generator]) -> Tensor:
        """Make a plan for each episode, [B, H, A]."""


class ModelPlans(Plans):
    """Plans with the world model, from pixels alone.

    Args:
        world: the model, on its device.
        search: how far and how often.
        objective: what plans are for.
        sampling: how codes are chosen.

    Attributes:
        imagined: of each episode, what the model expected of the steps that were planned: frames, [F, C, H, W].
        promised: the rewards it expected of them.

    Raises:
        ValueError: the model lacks what the objective or a planner needs.
    """

    def __init__(self, world: WorldModel, search: Search, objective: Objective, sampling: Sampling) -> None:
        super().__init__(search)
        if not world.action_dim:
            raise ValueError("this model takes no actions, so nothing can be planned with it; train it with action_dim")
        if objective.reward and not world.has_reward:
            raise ValueError("this model predicts no rewards; plan for a picture: objective={reward: 0, goal: 1}")
        self.world, self.objective, self.sampling = world, objective, sampling
        self.goals_BCHW: Tensor | None = None

    def begin(self, games: Sequence[Game]) -> None:
        """Forget the plans before; where a picture is the goal, see where the expert gets from each start."""
        super().begin(games)
        if self.world.action_dim != games[0].world.width:
            width = games[0].world.width
            raise ValueError(f"this model takes actions of {self.world.action_dim} number(s), the world's have {width}")
        self.imagined: list[list[Tensor]] = [[] for _ in games]
        self.promised: list[list[float]] = [[] for _ in games]

    def set_goals(self, games: Sequence[Game]) -> None:
        """Plan for the last frames of these episodes."""
        self.goals_BCHW = self.open_frames([game.frames[-1:] for game in games])[:, 0]

    def open_frames(self, frames: Sequence[Sequence[Any]]) -> Tensor:
        """Frames of each episode as the model takes them, [B, T, C, H, W]."""
        frames_BTHWC = np.stack([np.stack(clip) for clip in frames])
        sized_BTCHW = fit_frames(frames_BTHWC, self.world.tokenizer.sizes.resolution)
        return sized_BTCHW.to(next(self.world.parameters()).device, torch.float32) / 255

    def make_plans(self, games: Sequence[Game], first_BHA: Tensor, streams: Sequence[Generator]) -> Tensor:
        """Search in imagination; then imagine once more what is going to be done, to show and to compare."""
        length = self.world.context_length
        seen = [take_context(game.frames, length) for game in games]
        start = LongRollout(self.world, self.open_frames(seen), self.search.segment, self.sampling, streams)
        plan_BHA = self.search.planner.plan(
            lambda actions_BNHA: self.objective.score(start, actions_BNHA, self.goals_BCHW), first_BHA, streams
        )
        rows = start.repeat(1)
        for step in range(self.search.execute):
            imagined = rows.step(plan_BHA[:, step].to(rows.newest[0].device))
            assert imagined.frames_BCHW is not None
            for place, frame_CHW in enumerate(imagined.frames_BCHW.cpu()):
                self.imagined[place].append(frame_CHW)
            for place, reward in enumerate([] if imagined.rewards_B is None else imagined.rewards_B.tolist()):
                self.promised[place].append(reward)
        return plan_BHA


class SimulatorPlans(Plans):
    """Plans with the simulator itself, which it puts back afterwards: how well a perfect model would do."""

    sees = False

    def begin(self, games: Sequence[Game]) -> None:
        """Forget the plans before.

        Raises:
            ValueError: the simulator can't be put back.
        """
        super().begin(games)
        if not hasattr(games[0].world, "save"):
            name = type(games[0].world).__name__
            raise ValueError(
                f"conditions=[simulator] needs a world that can be put back, which {name} can't; leave it out"
            )

    def make_plans(self, games: Sequence[Game], first_BHA: Tensor, streams: Sequence[Generator]) -> Tensor:
        """Search in the simulator, episode by episode; nothing is done in one that has failed."""
        plans = list[Tensor]()
        for game, first_HA, stream in zip(games, first_BHA, streams, strict=True):
            plan_1HA = torch.zeros_like(first_HA)[None]
            if game.failure is None:
                try:
                    plan_1HA = self.search.planner.plan(Trials(game).score, first_HA[None], [stream])
                except WorldFailure as failure:
                    game.fail(failure)
            plans.append(plan_1HA)
        return torch.cat(plans)


class Trials:
    """What candidates earn in an episode's simulator, from where it is now."""

    def __init__(self, game: Game) -> None:
        world: Any = game.world
        self.world = world
        self.state: Any = self.world.save()

    def score(self, actions_1NHA: Tensor) -> Tensor:
        """Return their sums of rewards, [1, N]."""
        returns = []
        for actions_HA in actions_1NHA[0].double().numpy():
            self.world.restore(self.state)
            returns.append(sum(self.world.step(action) for action in actions_HA))
        self.world.restore(self.state)
        return torch.tensor([returns])


def play_experts(games: Sequence[Game], steps: int) -> Sequence[Game]:
    """Play the same starts with the expert until it is there, looking only then: the pictures of the goals."""
    others = [Game(game.world, game.number, game.before) for game in games]
    experts = Scripted(0)
    for other in others:
        other.begin()
    experts.begin(others)
    for _ in range(steps):
        for other, action in zip(others, experts.choose(others), strict=True):
            if not other.reached:
                other.act(action, see=False)
    for other in others:
        try:
            other.frames = [other.world.draw()]
        except WorldFailure as failure:
            other.fail(failure)
    return others
