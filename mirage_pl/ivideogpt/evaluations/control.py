"""Episodes that are played by planning with a world model, beside other ways from the same starts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from statistics import correlation, fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_modules.episodes.video import enlarge, place_beside
from data_modules.worlds.world import World
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.evaluation.games import MEASURES, SCRIPTS, Chooser, Game, GamesTrial, Scripted, Starts
from mirage_pl.engine.seams import OWN, Drawn, Once, Row
from mirage_pl.ivideogpt.batch import to_bytes
from mirage_pl.ivideogpt.control.objective import Objective
from mirage_pl.ivideogpt.control.planning import ModelPlans, Search, SimulatorPlans, play_experts
from mirage_pl.ivideogpt.model.rollout import Sampling

SIMULATOR = "simulator"
CONDITIONS = (*SCRIPTS, SIMULATOR)


class Control:
    """Play episodes by planning with the model, and by other means from the same starts.

    Args:
        conditions: names out of ``CONDITIONS``.
        world: opens the simulator.
        search: how far and how often is planned.
        objective: what plans are for.
        sampling: how codes are chosen.
        starts: how many are played, each from another start; the same ones every time.
        before: the least and the most steps of the expert that lead to a start.
        length: frames of each episode, from its start on.
        at_once: episodes that are played side by side.

    Raises:
        ValueError: a condition that there isn't, or a number out of its range.
    """

    name, measures = "control", MEASURES
    conditions_in, numbers_in, words = "conditions", "planning", "mirage_pl.ivideogpt.control.report"

    def __init__(
        self,
        conditions: Sequence[str],
        world: Callable[[], World],
        search: Search,
        objective: Objective,
        sampling: Sampling,
        starts: int,
        before: Sequence[int],
        length: int,
        at_once: int,
    ) -> None:
        self.starts = Starts(conditions, CONDITIONS, world, starts, before, length, at_once)
        self.search, self.objective, self.sampling = search, objective, sampling
        options = {"search": asdict(search), "objective": asdict(objective), "sampling": asdict(sampling)}
        self.facts: Mapping[str, Any] = {**self.starts.facts, **options}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ControlTrial":
        """Take the starts."""
        return ControlTrial(self, module, once, self.starts.choose(picks))


class ControlTrial(GamesTrial):
    """One model in one simulator.

    Args:
        evaluation: its options.
        module: its ``net`` is a world model.
        once: keeps episodes, so that an interrupted evaluation goes on.
        numbers: of the starts.
    """

    def __init__(self, evaluation: Control, module: Any, once: Once, numbers: Sequence[int]) -> None:
        super().__init__(evaluation.starts, once, numbers)
        self.evaluation, self.module = evaluation, module

    def keep(self, games: Sequence[Game], chooser: Chooser) -> tuple[list[dict[str, Any]], list[Any]]:
        """What was promised of the steps that were taken; frames as they were seen and imagined."""
        assert isinstance(chooser, ModelPlans)
        promised = [  # of a plan's last steps some may not have been taken
            {"promised": sum(rewards[: len(game.rewards)])}
            for game, rewards in zip(games, chooser.promised, strict=True)
        ]
        clips = [
            (torch.from_numpy(np.stack(game.frames[game.led :])), to_bytes(torch.stack(frames)))
            for game, frames in zip(games, chooser.imagined, strict=True)
        ]
        return promised, clips

    def open_chooser(self, condition: str, games: Sequence[Game]) -> Chooser:
        """Who plays under a condition."""
        evaluation = self.evaluation
        if condition == SIMULATOR:
            return SimulatorPlans(evaluation.search)
        if condition != OWN:
            return Scripted(SCRIPTS[condition])
        net = self.module.net
        plans = ModelPlans(net, evaluation.search, evaluation.objective, evaluation.sampling)
        if evaluation.objective.goal:
            plans.set_goals(play_experts(games, evaluation.starts.steps))
        return plans

    def describe(self) -> Mapping[str, Any]:
        """What the model promised of the steps that were taken, beside what they brought."""
        whole = [row for row in self.rows if "error" not in row]
        if not whole or not self.evaluation.objective.reward:
            return {}
        promised, earned = ([row[key] for row in whole] for key in ("promised", "return"))
        numbers = {"promised": fmean(promised), "earned": fmean(earned)}
        varied = len(set(promised)) > 1 and len(set(earned)) > 1
        return numbers | ({"promise_correlation": correlation(promised, earned)} if varied else {})

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Draw an episode as it went, and beside each frame what the model had imagined."""
        seen_TCHW, imagined_FCHW = self.clips[row["where"]]
        count = min(len(seen_TCHW) - 1, len(imagined_FCHW))
        yield "", draw_beside(seen_TCHW[: count + 1].cpu().numpy(), imagined_FCHW[:count].cpu())


def draw_beside(seen_THWC: Any, imagined_FCHW: Tensor) -> list[Image.Image]:
    """What was seen, and right of it what was imagined; the first frame stands on both sides."""
    side = seen_THWC.shape[1]
    if imagined_FCHW.shape[-1] != side:
        sized_FCHW = torch.nn.functional.interpolate(imagined_FCHW.float(), (side, side), mode="bilinear")
        imagined_FCHW = sized_FCHW.round().to(torch.uint8)
    imagined_FHWC = to_pixels(imagined_FCHW / 255)
    frames = place_beside([seen_THWC, np.concatenate((seen_THWC[:1], imagined_FHWC))])
    return [Image.fromarray(frame) for frame in enlarge(frames, 128)]
