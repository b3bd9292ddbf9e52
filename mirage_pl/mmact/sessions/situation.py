"""What a session begins with: numbers and pictures that somebody gives, or an episode of the task's simulator."""

from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import ListConfig

from data_modules.demonstrations.demonstration import Frames, Numbers
from data_modules.demonstrations.steps import Step
from data_modules.images import open_image
from mirage_pl.engine.checkpoints.trained import Trained
from mirage_pl.mmact.evaluations.loop import Play
from mirage_pl.mmact.evaluations.policies import make_step


def is_given(trained: Trained, state: str | None, image: Any) -> bool:
    """Whether a situation is given, or has to be, for there is no episode to begin."""
    return state is not None or image is not None or trained.config.task.world is None


def read_step(trained: Trained, instruction: str, state: str | None, image: Any = None) -> Step:
    """A step whose state is typed, and whose pictures are files.

    Args:
        trained: the run.
        instruction: what is to be done.
        state: numbers with spaces between them; ``None``: none are given.
        image: a path, or a list of paths, a picture for each view; ``None``: none are given.

    Raises:
        ValueError: the run reads something that isn't given, or doesn't read what is, or reads it in another size.
    """
    task, collator = trained.config.task, trained.collator
    width, views = (task.numbers["state"] if collator.states else 0), collator.views
    needs = [(f'state="…" ({width} numbers)', width, state), (f"image=… ({views} picture(s))", views, image)]
    if missing := [words for words, count, value in needs if count and value is None]:
        other = "or none of it, and an episode is begun"
        if task.world is None:
            other = "for its task has no simulator, so no episode can be played"
        raise ValueError(f"this run reads {' and '.join(missing)}: give that and instruction=, {other}")
    state_S = None if state is None else read_state(state, width)
    seen = None if image is None else read_pictures(image, views)
    if collator.instructions and not instruction:
        raise ValueError("this run reads instructions; give instruction=, what is to be done in this state")
    return make_step("state", instruction, state_S, task.chunk, task.numbers["action"], seen)


def read_state(state: str, width: int) -> Numbers:
    """Numbers that are typed.

    Raises:
        ValueError: they are none, or not as many as in training.
    """
    try:
        numbers_S = np.array([float(word) for word in str(state).replace(",", " ").split()], np.float32)
    except ValueError:
        raise ValueError(f'state={state} must be numbers with spaces between them, as state="0.1 -0.2"') from None
    if not width:
        raise ValueError("this run reads no state; leave state out")
    if len(numbers_S) != width or not np.isfinite(numbers_S).all():
        raise ValueError(f"state has {len(numbers_S)} numbers; this policy takes {width} finite ones")
    return numbers_S


def read_pictures(image: Any, views: int) -> list[Frames]:
    """Pictures in files, [H, W, 3] each.

    Raises:
        ValueError: not as many as the run reads, or one that is none; names it.
    """
    files = list(image) if isinstance(image, list | tuple | ListConfig) else [image]
    if not views:
        raise ValueError("this run reads no pictures; leave image out")
    if len(files) != views:
        raise ValueError(f"image has {len(files)} picture(s), and this run reads {views}; give image=[a.png,b.png]")
    return [np.array(open_image(Path(file), "image")) for file in files]


def open_episode(trained: Trained, episode: int) -> Play:
    """An episode of the task's simulator, seen by as many cameras as the run reads; another number is another one.

    Raises:
        ValueError: it fails.
    """
    task: Any = trained.config.task
    world = instantiate(task.world)()
    start = Step("episode", "", None, np.zeros((1, world.width), np.float32), 1, meta={"seed": [episode]})
    begun = Play(start, world, trained.collator.views)
    if begun.error:
        raise ValueError(f"the simulator fails as episode={episode} begins: {begun.error}; give another number")
    return begun
