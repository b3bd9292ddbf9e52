"""What a policy plays as a LeRobot data set, which others can train on."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_modules.demonstrations.steps import Step
from data_modules.episodes.episode import Episode
from data_modules.episodes.lerobot.layout import Layout
from data_modules.episodes.lerobot.writer import write_folder
from data_modules.worlds.told import Told
from data_modules.worlds.world import Vector

log = logging.getLogger(__name__)


class Rollouts:
    """``evaluation.rollouts``.

    Args:
        folder: the new one; ``None``: nothing is written.
        successes: episodes that reach their goal alone.
        version: of the format.
        rate: frames a second.

    Raises:
        ValueError: the folder is there already, or a value is out of its range.
    """

    def __init__(self, folder: str | None, successes: bool, version: Literal["v2.1", "v3.0"], rate: int) -> None:
        self.folder, self.successes = None if folder is None else Path(folder), successes
        self.layout = Layout(version=version, rate=rate)
        if self.folder and self.folder.exists():
            raise ValueError(f"rollouts.folder={folder} is there already; remove it, or choose another folder")

    def write(
        self, world: Told, rows: Sequence[dict[str, Any]], steps: dict[str, Step], actions: dict[str, Any]
    ) -> None:
        """Play episodes again, and write them.

        Args:
            world: a simulator.
            rows: of ``predictions.jsonl``; episodes in which a simulator failed are left out.
            steps: place -> where an episode began.
            actions: place -> what was done in it.
        """
        assert self.folder is not None
        chosen = [row["where"] for row in rows if "error" not in row and (row["success"] or not self.successes)]
        if not chosen:
            log.warning("rollouts.folder=%s: no episode reached its goal, so nothing is written", self.folder)
            return

        def play() -> Iterator[tuple[str, Episode]]:
            for where in chosen:
                try:
                    episode = replay(world, steps[where], actions[where])
                except Exception as error:  # whatever a simulator raises
                    log.warning("%s: played again, its simulator failed, so it isn't written: %s", where, error)
                else:
                    yield where, episode

        count = write_folder(self.folder, self.layout, play())
        log.info("%s: %d episodes as a LeRobot data set %s", self.folder, count, self.layout.version)


def replay(world: Told, sample: Step, actions: Sequence[Sequence[float]]) -> Episode:
    """Play an episode from where it began, with actions that are known; they are written as the world takes them."""
    world.reset(np.random.default_rng(sample.meta["seed"]))
    frames, states, rewards = [world.draw()], [world.numbers], list[float]()
    taken: list[Vector] = [np.clip(np.asarray(action, np.float64), -1, 1) for action in actions]
    for action in taken:
        rewards.append(world.step(action))
        frames.append(world.draw())
        states.append(world.numbers)
    done, paid = np.array(taken, np.float32), np.array(rewards, np.float32)
    return Episode(np.stack(frames), done, paid, np.array(states, np.float32), sample.instruction)
