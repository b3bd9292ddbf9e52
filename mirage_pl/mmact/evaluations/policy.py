"""Episodes that a policy plays in a simulator: does it reach the goal, and what of all it is shown does it need?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from PIL import Image

from data_modules.demonstrations.steps import Demonstrations, Step
from data_modules.worlds.told import Told
from mirage_pl.engine.evaluation.conditions import check_conditions
from mirage_pl.engine.evaluation.measures import estimate_interval
from mirage_pl.engine.seams import OWN, Drawn, Measure, Once, Row, Trial
from mirage_pl.mmact.evaluations.decoders import EXACT, describe_decoder, measure_cost, measure_departure
from mirage_pl.mmact.evaluations.loop import Play, Policy, play
from mirage_pl.mmact.evaluations.policies import LOOKS, SEEN, Expert, Mean, Model, Nearest, Random
from mirage_pl.mmact.evaluations.rollouts import Rollouts
from mirage_pl.mmact.model.decoding import Decoder

BASELINES = ("random", "mean", "nearest", "expert")
MOVED = ("moved_objects", "moved_expert")
"""Things are placed where training never places them: the model plays, and the expert, who says what can be reached."""
CONDITIONS = (*(name for name in SEEN if name != OWN), *LOOKS, *MOVED, *BASELINES)


class Acting:
    """Score episodes, each played from where one of the split begins.

    Args:
        conditions: names out of ``CONDITIONS`` or ``decoders``.
        decode: how actions are filled in.
        exec_steps: steps of a chunk that are done before the next one is chosen.
        limit: steps of an episode at most.
        at_once: simulators that are open at a time.
        world: opens one; ``None``: there is none.
        demonstrations: reads the training data, for baselines.
        train_file: the training data.
        rollouts: writes what the model itself plays; ``None``: nothing is written.
        beyond: how far things are moved, see :class:`data_modules.worlds.metaworld_language.MetaWorldLanguage`.
        decoders: name -> another way to fill actions in; each is a condition, and says what a chunk costs.

    Raises:
        ValueError: a condition that there isn't, or a number out of its range.
    """

    name = "policy"
    measures: Mapping[str, Measure] = {
        "success": Measure("share", "higher", meaning="Success: the goal is reached before the episode's limit."),
        "length": Measure(
            "mean", "lower", "steps", "Length: steps until the goal is reached; the limit where it isn't."
        ),
    }
    conditions_in, numbers_in, words = "conditions", "acting", "mirage_pl.mmact.report"

    def __init__(
        self,
        conditions: Sequence[str],
        decode: Decoder,
        exec_steps: int,
        limit: int | None,
        at_once: int,
        world: Callable[[], Told] | None,
        demonstrations: Demonstrations,
        train_file: str | None,
        rollouts: Rollouts | None,
        beyond: Annotated[float, Interval(gt=0, le=1)] = 0.15,
        decoders: Mapping[str, Decoder] | None = None,
    ) -> None:
        check_conditions(conditions, (*CONDITIONS, *(decoders or {})))
        if world is None or limit is None:
            raise ValueError(
                "task.world=null: there is no simulator to play in; train with callbacks.scores=null, and score a run "
                "with evaluation=mmact/imitation or mmact/plans, or in another task"
            )
        if train_file is None and (lost := [name for name in ("mean", "nearest") if name in conditions]):
            raise ValueError(f"conditions=[{lost[0]}] needs training data, and task.train_file is null")
        if min(exec_steps, limit, at_once) < 1:
            raise ValueError(f"exec_steps={exec_steps}, limit={limit} and at_once={at_once} must be 1 or more")
        self.conditions, self.decode, self.exec_steps, self.limit = tuple(conditions), decode, exec_steps, limit
        self.at_once, self.world, self.demonstrations, self.train_file = at_once, world, demonstrations, train_file
        self.rollouts, self.beyond = rollouts, beyond
        self.decoders = {name: way for name, way in (decoders or {}).items() if name in conditions}
        ways = {name: describe_decoder(way) for name, way in self.decoders.items()}
        self.facts: Mapping[str, Any] = {"exec_steps": exec_steps, "limit": limit, "decode": describe_decoder(decode)}
        self.facts |= {"decoders": ways} if ways else {}

    def open(
        self, module: Any, data: Any, once: Once, split: str = "test", picks: Sequence[int] | None = None
    ) -> "ActingTrial":
        """Take the episodes of a split, or those of the steps at ``picks``.

        Raises:
            ValueError: an episode doesn't say how it began, or the module doesn't act.
        """
        if not hasattr(module, "choose_actions"):
            raise ValueError("this run chooses no actions; give evaluation=mmact/plans, or train stage=mmact/mix")
        rows = data.datasets[split]
        steps = [rows[index] for index in (range(len(rows)) if picks is None else picks)]
        episodes = list({step.file: step for step in reversed(steps)}.values())[::-1]
        if without := [step.where for step in episodes if "seed" not in step.meta]:
            raise ValueError(
                f"{without[0]}: no seed, so this episode can't begin again; evaluate a task that is made here"
            )
        return ActingTrial(self, module, data, once, rows, episodes)


class ActingTrial(Trial):
    """One module in some episodes.

    Args:
        evaluation: its options.
        module: has ``choose_actions``.
        data: its collator is used.
        once: keeps what was played, so that an interrupted evaluation goes on.
        rows: the data set.
        episodes: the first step of each.
    """

    def __init__(
        self, evaluation: Acting, module: Any, data: Any, once: Once, rows: Any, episodes: Sequence[Step]
    ) -> None:
        self.evaluation, self.module, self.once, self.rows, self.episodes = evaluation, module, once, rows, episodes
        self.collate, self.views = data.collate, getattr(data.collate, "views", 0)
        self.width = min(evaluation.at_once, data.loader.eval_batch_size)
        self.failures: Sequence[Mapping[str, str]] = ()
        self.actions: dict[str, dict[str, list[list[float]]]] = {}
        self.worlds: list[Told] = []

    @property
    def conditions(self) -> Sequence[str]:
        """Those that were asked for.

        Raises:
            ValueError: pictures of a policy that reads none, or another order of one; the nearest of no states; things
                elsewhere in a world that can't place them there.
        """
        if "nearest" in self.evaluation.conditions and not self.rows.numbers.state:
            raise ValueError("conditions=[nearest] looks for the nearest state, and this task has none; leave it out")
        for name in LOOKS:
            needs = 2 if name == "swapped_views" else 1
            if name in self.evaluation.conditions and self.views < needs:
                raise ValueError(f"conditions=[{name}] needs {needs} view(s), and this policy reads {self.views}")
        for name in MOVED:
            if name in self.evaluation.conditions and not hasattr(self.take_world(), "beyond"):
                raise ValueError(
                    f"conditions=[{name}]: this world can't place things elsewhere; metaworld_language can"
                )
        return self.evaluation.conditions

    def score(self, condition: str) -> Iterator[list[Row]]:
        """Play all episodes, some at a time."""
        self.actions[condition], rows = {}, list[Row]()
        policy = partial(self.choose_policy, condition)
        for first in range(0, len(self.episodes), self.width):
            episodes = self.episodes[first : first + self.width]
            part = self.once(f"{condition}-{first}", partial(self.play_some, episodes, condition, policy))
            self.actions[condition] |= part["actions"]
            rows += part["rows"]
            yield part["rows"]
        if condition == OWN and (rollouts := self.evaluation.rollouts) and rollouts.folder:
            rollouts.write(self.take_world(), rows, {step.where: step for step in self.episodes}, self.actions[OWN])

    def take_world(self) -> Told:
        """One that is open, or else a new one."""
        return self.worlds[0] if self.worlds else self.evaluation.world()

    def choose_policy(self, condition: str) -> tuple[Policy, int]:
        """Who plays under a condition, and how many steps of a chunk are done."""
        steps, chunk, decoders = self.evaluation.exec_steps, self.rows.chunk, self.evaluation.decoders
        if condition in SEEN or condition in LOOKS or condition in decoders:
            seen, look = SEEN.get(condition, SEEN[OWN]), LOOKS.get(condition, Play.look)
            decode = decoders.get(condition, self.evaluation.decode)
            return Model(self.module, self.collate, seen, look, decode, chunk), steps
        if condition == "moved_objects":
            return self.choose_policy(OWN)
        if condition in ("expert", "moved_expert"):
            return Expert(), 1
        if condition == "random":
            return Random(chunk), steps
        assert self.evaluation.train_file is not None
        train = self.evaluation.demonstrations.read(self.evaluation.train_file)
        return (Mean(train) if condition == "mean" else Nearest(train)), steps

    def play_some(
        self, episodes: Sequence[Step], condition: str, policy: Callable[[], tuple[Policy, int]]
    ) -> dict[str, Any]:
        """Play some episodes: their ``rows``, and the ``actions`` in each, by place."""
        while len(self.worlds) < len(episodes):
            self.worlds.append(self.evaluation.world())
        self.move_things(condition in MOVED)
        plays = [Play(*pair, self.views) for pair in zip(episodes, self.worlds, strict=False)]
        play(plays, policy()[0], self.evaluation.limit, policy()[1])
        self.worlds = [each.world for each in plays if each.error is None] + self.worlds[len(plays) :]
        actions = {each.sample.where: np.array(each.actions).tolist() for each in plays}
        return {"rows": [self.write_row(each) for each in plays], "actions": actions}

    def move_things(self, moved: bool) -> None:
        """Have worlds that can do so place things elsewhere from now on, or where they belong."""
        for world in self.worlds:
            if hasattr(world, "beyond"):
                world.beyond = self.evaluation.beyond if moved else 0.0

    def write_row(self, each: Play) -> Row:
        """A row of ``predictions.jsonl``."""
        sample = each.sample
        place = {"id": self.rows.identity(sample), "where": sample.where, "group": sample.group}
        steps = len(each.actions) if each.reached else self.evaluation.limit
        broken = {} if each.error is None else {"error": each.error}
        told = {"instruction": sample.instruction, "goal": each.goal}
        return place | told | {"success": each.reached, "length": steps} | broken

    def summarize(self, rows: Sequence[Row]) -> Mapping[str, Any]:
        """``goals``: successes by task and goal; an episode whose simulator didn't begin has none."""
        by_goal: dict[str, list[float]] = {}
        for row in rows:
            if row.get("goal"):
                by_goal.setdefault(f"{row['group']}: {row['goal']}", []).append(row["success"])
        measure = self.evaluation.measures["success"]
        return {"goals": {goal: estimate_interval(measure, by_goal[goal]) for goal in sorted(by_goal)}}

    def contrast(self, condition: str, own: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
        """``moved``: how far the first action of an episode differs, mean over its numbers; what a decoder costs."""
        pairs = [(self.actions[OWN][row["where"]], self.actions[condition][row["where"]]) for row in own]
        moved = [float(np.abs(np.subtract(one[0], other[0])).mean()) for one, other in pairs if one and other]
        numbers = {"moved": {"mean": float(np.mean(moved)), "n": len(moved)}} if moved else {}
        if condition not in self.evaluation.decoders:
            return numbers
        cost = self.price(condition, self.evaluation.decoders[condition])
        return numbers | {name: {"mean": value, "n": len(self.episodes)} for name, value in (EXACT | cost).items()}

    def price(self, name: str, decode: Decoder) -> dict[str, Any]:
        """What a way to fill in costs, and how far it departs, at the begins of episodes."""
        given = self.module, self.collate, self.episodes[: self.width], decode
        return self.once(f"price-{name}", lambda: {**measure_departure(*given), **measure_cost(*given)})

    def describe(self) -> Mapping[str, float]:
        """How far chunks depart from those of exact decoding, where it approximates; beside others what they cost."""
        if self.evaluation.decoders:
            return self.price(OWN, self.evaluation.decode)
        return measure_departure(self.module, self.collate, self.episodes[: self.width], self.evaluation.decode)

    def remark(self, rows: Sequence[Row]) -> Sequence[str]:
        """Say which simulators failed."""
        broken = [row for row in rows if "error" in row]
        if not broken:
            return ()
        first = broken[0]
        words = f"{len(broken)} episode(s) ended in a failure of the simulator and count as failed"
        return (f"{words}: {first['where']}: {first['error']}",)

    def draw(self, row: Row) -> Iterator[tuple[str, Drawn]]:
        """Play an episode again and draw it, as the model did and as the expert does."""
        sample = next(step for step in self.episodes if step.where == row["where"])
        self.move_things(False)
        for name, condition in (("", OWN), ("truth", "expert")):
            again = Play(sample, self.take_world())
            actions, expert = self.actions.get(condition, {}).get(sample.where), Expert()
            frames = again.film()
            for step in range(self.evaluation.limit if actions is None else len(actions)):
                if again.over:
                    break
                again.act(expert.choose(again) if actions is None else np.array(actions[step]))
                frames += again.film()
            if frames:
                yield name, [Image.fromarray(frame) for frame in frames]
