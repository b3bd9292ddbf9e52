"""Episodes that are played by planning with a world model, beside other ways from the same starts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from statistics import correlation, fmean
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data_modules.episodes.video import enlarge, place_beside
from data_modules.worlds.play import check_before
from data_modules.worlds.world import World
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.evaluation.frames import to_pixels
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial
from mirage_pl.ivideogpt.batch import to_bytes
from mirage_pl.ivideogpt.control.episodes import Chooser, Game, Scripted, play_games
from mirage_pl.ivideogpt.control.objective import Objective
from mirage_pl.ivideogpt.control.planning import ModelPlans, Search, SimulatorPlans, play_experts
from mirage_pl.ivideogpt.model.rollout import Sampling

RANDOM, EXPERT, SIMULATOR = "random", "expert", "simulator"
CONDITIONS = (RANDOM, EXPERT, SIMULATOR)


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

    name = "control"
    measures: Mapping[str, Measure] = {
        "success": Measure("share", "higher", meaning="success: the goal was reached at any time of the episode."),
        "return": Measure("mean", "higher", meaning="return: the sum of an episode's rewards."),
    }
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
        check_conditions(conditions, CONDITIONS)
        if min(starts, at_once) < 1 or length < 2:
            raise ValueError(f"starts={starts} and at_once={at_once} must be 1 or more, and length={length} 2 or more")
        check_before(before)
        self.conditions, self.world, self.search, self.objective = tuple(conditions), world, search, objective
        self.sampling, self.starts, self.steps, self.at_once = sampling, starts, length - 1, at_once
        self.before = list(before)
        options = {"search": asdict(search), "objective": asdict(objective), "sampling": asdict(sampling)}
        self.facts: Mapping[str, Any] = {"starts": starts, "before": self.before, "length": length} | options

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ControlTrial":
        """Take the starts; which items of a split were picked doesn't matter, only how many."""
        return ControlTrial(self, module, once, range(self.starts if picks is None else min(self.starts, len(picks))))


class ControlTrial(Trial):
    """One model in one simulator.

    Args:
        evaluation: its options.
        module: its ``net`` is a world model.
        once: keeps episodes, so that an interrupted evaluation goes on.
        numbers: of the starts.
    """

    def __init__(self, evaluation: Control, module: Any, once: Once, numbers: Sequence[int]) -> None:
        self.evaluation, self.module, self.once, self.numbers = evaluation, module, once, numbers
        self.failures: list[dict[str, str]] = []
        self.worlds: list[World] = []
        self.clips: dict[str, tuple[Tensor, Tensor]] = {}
        self.rows: list[Row] = []

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Play all episodes; one whose simulator breaks down has failed."""
        if condition == OWN:
            self.clips, self.rows = {}, []
        for first in range(0, len(self.numbers), self.evaluation.at_once):
            numbers = self.numbers[first : first + self.evaluation.at_once]
            part = self.once(f"{condition}-{first}", partial(self.play, numbers, condition))
            self.clips |= {row["where"]: clip for row, clip in zip(part["rows"], part["clips"], strict=False)}
            self.rows += part["rows"] if condition == OWN else []
            yield [dict(row) for row in part["rows"]]

    def play(self, numbers: Sequence[int], condition: str) -> dict[str, Any]:
        """Play some episodes: their ``rows``, and of ``own`` the ``clips``, seen and imagined."""
        while len(self.worlds) < len(numbers):
            self.worlds.append(self.evaluation.world())
        games = [
            Game(world, number, self.evaluation.before) for world, number in zip(self.worlds, numbers, strict=False)
        ]
        chooser = self.open_chooser(condition, games)
        play_games(games, chooser, self.evaluation.steps)
        rows = [write_row(game) for game in games]
        if not isinstance(chooser, ModelPlans):
            return {"rows": rows, "clips": []}
        taken = [  # of a plan's last steps some may not have been taken
            row | {"promised": sum(rewards[: len(game.rewards)])}
            for row, game, rewards in zip(rows, games, chooser.promised, strict=True)
        ]
        clips = [
            (torch.from_numpy(np.stack(game.frames[game.led :])), to_bytes(torch.stack(frames)))
            for game, frames in zip(games, chooser.imagined, strict=True)
        ]
        return {"rows": taken, "clips": clips}

    def open_chooser(self, condition: str, games: Sequence[Game]) -> Chooser:
        """Who plays under a condition."""
        evaluation = self.evaluation
        if condition == SIMULATOR:
            return SimulatorPlans(evaluation.search)
        if condition != OWN:
            return Scripted("random" if condition == RANDOM else 0)
        net = self.module.net
        plans = ModelPlans(net, evaluation.search, evaluation.objective, evaluation.sampling)
        if evaluation.objective.goal:
            plans.set_goals(play_experts(games, evaluation.steps))
        return plans

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Which episodes failed with their simulator."""
        broken = [row for row in rows if "error" in row]
        if not broken:
            return ()
        return [f"{len(broken)} episode(s) count as failed because the simulator broke down: {broken[0]['error']}"]

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


def write_row(game: Game) -> Row:
    """A row of ``predictions.jsonl``."""
    row = {"id": f"start {game.number}", "where": f"start:{game.number}", "group": "all", "success": game.reached}
    broken = {} if game.failure is None else {"error": game.failure}
    return row | {"return": None if game.failure else sum(game.rewards)} | broken


def draw_beside(seen_THWC: Any, imagined_FCHW: Tensor) -> list[Image.Image]:
    """What was seen, and right of it what was imagined; the first frame stands on both sides."""
    side = seen_THWC.shape[1]
    if imagined_FCHW.shape[-1] != side:
        sized_FCHW = torch.nn.functional.interpolate(imagined_FCHW.float(), (side, side), mode="bilinear")
        imagined_FCHW = sized_FCHW.round().to(torch.uint8)
    imagined_FHWC = to_pixels(imagined_FCHW / 255)
    frames = place_beside([seen_THWC, np.concatenate((seen_THWC[:1], imagined_FHWC))])
    return [Image.fromarray(frame) for frame in enlarge(frames, 128)]
