"""Policies of known strength, ranked by what a model says of their actions, beside what the simulator says.

Each policy acts in the simulator from the same starts; the model imagines the same actions from the same frames. So
what is ranked are actions that were chosen in the simulator (in an open loop), not policies that see what is imagined:
the scripted expert needs the simulator's state.

Shapes: B rows, T context frames, S steps, A numbers of an action.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.worlds.play import Player, check_before, check_policies, draw_start, go_to_start, name_policy
from data_modules.worlds.world import Vector, World, WorldFailure
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.ivideogpt.batch import fit_frames, to_bytes
from mirage_pl.ivideogpt.control.long_rollout import LongRollout, take_context
from mirage_pl.ivideogpt.evaluations.control import draw_beside
from mirage_pl.ivideogpt.evaluations.ranks import compare_policies, estimate_ranking
from mirage_pl.ivideogpt.model.rollout import Sampling

OTHER = "other_actions"
CONDITIONS = (OTHER,)


class Rank:
    """Imagine what policies of known strength do, and compare with what it brought.

    Args:
        conditions: names out of ``CONDITIONS``.
        world: opens the simulator.
        policies: noises on an expert's actions, and ``random``.
        starts: how many each policy acts from; the same ones every time.
        before: the least and the most steps of the expert that lead to a start.
        steps: S.
        segment: frames after which imagined ones become the context.
        at_once: rows that are imagined at a time.
        sampling: how codes are chosen.

    Raises:
        ValueError: a condition or policy that there isn't, or too few of something.
    """

    name = "ranking"
    measures: Mapping[str, Measure] = {
        "spearman": Measure("set", "higher", meaning="spearman: rank correlation of the policies' mean returns."),
        "spearman_rows": Measure("set", "higher", meaning="spearman_rows: the same over single episodes."),
        "imagined": Measure("mean", "higher", meaning="imagined: the sum of rewards that the model expects."),
        "earned": Measure("mean", "higher", meaning="earned: the sum of rewards in the simulator."),
    }
    conditions_in, numbers_in, words = "conditions", "ranking", "mirage_pl.ivideogpt.control.report"

    def __init__(
        self,
        conditions: Sequence[str],
        world: Callable[[], World],
        policies: Sequence[float | str],
        starts: int,
        before: Sequence[int],
        steps: int,
        segment: int,
        at_once: int,
        sampling: Sampling,
    ) -> None:
        check_conditions(conditions, CONDITIONS)
        check_policies(policies, "policies")
        if len(set(policies)) < 3 or len(set(policies)) < len(policies) or starts < 2:
            raise ValueError(f"policies={list(policies)} must be 3 or more that differ, and starts={starts} 2 or more")
        check_before(before)
        if min(steps, segment, at_once) < 1:
            raise ValueError(f"steps={steps}, segment={segment} and at_once={at_once} must be 1 or more")
        self.conditions, self.world, self.policies, self.starts = tuple(conditions), world, list(policies), starts
        self.before, self.steps, self.segment, self.at_once = list(before), steps, segment, at_once
        self.sampling = sampling
        numbers = {"starts": starts, "before": self.before, "steps": steps, "segment": segment}
        self.facts: Mapping[str, Any] = {"policies": [name_policy(policy) for policy in policies]} | numbers

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "RankTrial":
        """Take the starts; which items of a split were picked doesn't matter.

        Raises:
            ValueError: the model takes no actions, or predicts no rewards.
        """
        if not module.net.action_dim or not module.net.has_reward:
            raise ValueError("ranking needs a model that takes actions and predicts rewards; train it with both")
        return RankTrial(self, module, once)


class RankTrial(Trial):
    """One model, and what policies do in one simulator.

    Args:
        evaluation: its options.
        module: its ``net`` is a world model.
        once: keeps what was computed, so that an interrupted evaluation goes on.
    """

    def __init__(self, evaluation: Rank, module: Any, once: Once) -> None:
        self.evaluation, self.module, self.once = evaluation, module, once
        self.failures: list[dict[str, str]] = []
        self.clips: dict[str, tuple[Tensor, Tensor]] = {}
        self.rows: list[Row] = []

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for."""
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Imagine all that was played."""
        played = self.once("played", self.play)
        if condition == OWN:
            self.failures, self.rows = list(played["failures"]), []
        for first in range(0, len(played["rows"]), self.evaluation.at_once):
            part = self.once(f"{condition}-{first}", partial(self.imagine, played, first, condition))
            chosen = played["rows"][first : first + self.evaluation.at_once]
            rows = [row | {"imagined": total} for row, total in zip(chosen, part["totals"], strict=True)]
            if condition == OWN:
                self.rows += rows
                seen = played["frames"][first : first + len(rows), -self.evaluation.steps - 1 :]
                self.clips |= dict(
                    zip([row["where"] for row in rows], zip(seen, part["frames"], strict=True), strict=True)
                )
            yield rows

    def play(self) -> dict[str, Any]:
        """Let every policy act from every start: ``rows``, ``frames`` [B, T + S, …], ``actions`` and ``failures``."""
        world, rows, failures = self.evaluation.world(), list[Row](), list[dict[str, str]]()
        frames, actions = list[NDArray[np.uint8]](), list[NDArray[np.float32]]()
        for start in range(self.evaluation.starts):
            for policy in self.evaluation.policies:
                place = {"id": f"start {start}, {name_policy(policy)}", "where": f"start:{start}:{policy}"}
                try:
                    seen, acted, rewards = self.play_one(world, policy, start)
                except WorldFailure as failure:
                    failures.append({"where": place["where"], "error": str(failure)})
                    continue
                rows.append(place | {"group": name_policy(policy), "unit": str(start), "earned": sum(rewards)})
                frames.append(seen)
                actions.append(acted)
        if not rows:
            raise ValueError(f"nothing could be played; the first failure: {failures[0]['error']}")
        stacked = torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(actions))
        return {"rows": rows, "frames": stacked[0], "actions": stacked[1], "failures": failures}

    def play_one(
        self, world: World, policy: float | str, start: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32], list[float]]:
        """Go to a start with the expert, then let a policy act; the frames from the context on, actions and rewards."""
        length = self.module.net.context_length
        seen = go_to_start(world, start, self.evaluation.before)
        seen = take_context(seen, length)
        player = Player(policy, draw_start(start, 1 + self.evaluation.policies.index(policy)), wander=False)
        actions, rewards = list[Vector](), list[float]()
        for _ in range(self.evaluation.steps):
            actions.append(player.choose_action(world))
            rewards.append(world.step(actions[-1]))
            seen.append(world.draw())
        return np.stack(seen), np.array(actions, np.float32), rewards

    def imagine(self, played: Mapping[str, Any], first: int, condition: str) -> dict[str, Any]:
        """Imagine some rows: the ``totals`` of their rewards, and of ``own`` their ``frames``, [S, C, H, W]."""
        net, evaluation = self.module.net, self.evaluation
        rows = range(first, min(first + evaluation.at_once, len(played["rows"])))
        acted = [find_other(played["rows"], row) if condition == OTHER else row for row in rows]
        actions_BSA = played["actions"][acted].to(self.module.device)
        if actions_BSA.shape[2] != net.action_dim:
            width = actions_BSA.shape[2]
            raise ValueError(f"this model takes actions of {net.action_dim} number(s), the world's have {width}")
        context_BTHWC = played["frames"][rows.start : rows.stop, : net.context_length]
        sized_BTCHW = fit_frames(context_BTHWC.cpu(), net.tokenizer.sizes.resolution)
        context_BTCHW = sized_BTCHW.to(self.module.device, torch.float32) / 255
        streams = [row_stream(0, played["rows"][row]["where"], 0) for row in rows]
        rollout = LongRollout(net, context_BTCHW, evaluation.segment, evaluation.sampling, streams)
        totals_B, frames = torch.zeros(len(rows), device=self.module.device), list[Tensor]()
        for step in range(evaluation.steps):
            imagined = rollout.step(actions_BSA[:, step], see=condition == OWN)
            assert imagined.rewards_B is not None
            totals_B += imagined.rewards_B
            if condition == OWN and imagined.frames_BCHW is not None:
                frames.append(to_bytes(imagined.frames_BCHW).cpu())
        return {"totals": totals_B.tolist(), "frames": list(torch.stack(frames, 1)) if frames else []}

    def over_all(self, condition: str, rows: Sequence[Row]) -> Mapping[str, float]:
        """Rank correlations; none of a single policy's rows."""
        return compare_policies(rows)

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """The interval of the rank correlation, starts drawn anew."""
        interval = estimate_ranking(rows)
        return {} if interval is None else {"spearman_interval": {"low": interval[0], "high": interval[1]}}

    def describe(self) -> Mapping[str, Any]:
        """The same interval, for the report."""
        interval = estimate_ranking(self.rows)
        return {} if interval is None else {"spearman_low": interval[0], "spearman_high": interval[1]}

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """What was seen, and beside it what was imagined of the same actions."""
        seen_THWC, imagined_SCHW = self.clips[row["where"]]
        yield "", draw_beside(seen_THWC.cpu().numpy(), imagined_SCHW.cpu())


def find_other(rows: Sequence[Row], row: int) -> int:
    """The row of the same policy at the next start; the first one follows the last."""
    same = [place for place, other in enumerate(rows) if other["group"] == rows[row]["group"]]
    return same[(same.index(row) + 1) % len(same)]
