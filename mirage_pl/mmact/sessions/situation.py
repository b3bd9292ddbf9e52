"""What a session begins with: numbers that somebody types, or an episode of the task's simulator."""

from typing import Any

import numpy as np
from hydra.utils import instantiate

from data_modules.demonstrations.steps import Step
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.mmact.evaluations.loop import Play
from mirage_pl.mmact.evaluations.policies import make_step


def read_step(trained: Trained, instruction: str, state: str) -> Step:
    """A step whose state is typed.

    Raises:
        ValueError: it isn't numbers, or not as many as in training; or the run reads pictures, which a state hasn't, or
            an instruction, and there is none.
    """
    task: Any = trained.config.task
    try:
        numbers_S = np.array([float(word) for word in str(state).replace(",", " ").split()], np.float32)
    except ValueError:
        raise ValueError(f'state={state} must be numbers with spaces between them, as state="0.1 -0.2"') from None
    if not (wanted := task.numbers["state"]):
        raise ValueError("this run reads no state; leave state out, and an episode is begun")
    if len(numbers_S) != wanted or not np.isfinite(numbers_S).all():
        raise ValueError(f"state has {len(numbers_S)} numbers; this policy takes {wanted} finite ones")
    if trained.collator.views:
        raise ValueError("this run reads pictures, which a state hasn't; leave state out, and an episode is begun")
    if trained.collator.instructions and not instruction:
        raise ValueError("this run reads instructions; give instruction=, what is to be done in this state")
    return make_step("state", instruction, numbers_S, task.chunk, task.numbers["action"])


def open_episode(trained: Trained, episode: int) -> Play:
    """An episode of the task's simulator, seen by as many cameras as the run reads; another number is another one.

    Raises:
        ValueError: the task has none, or it fails.
    """
    task: Any = trained.config.task
    if task.world is None:
        raise ValueError("this run's task has no simulator, so no episode can be played; give state= and instruction=")
    world = instantiate(task.world)()
    start = Step("episode", "", None, np.zeros((1, world.width), np.float32), 1, meta={"seed": [episode]})
    begun = Play(start, world, trained.collator.views)
    if begun.error:
        raise ValueError(f"the simulator fails as episode={episode} begins: {begun.error}; give another number")
    return begun
