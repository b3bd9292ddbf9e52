"""Episodes for tests, drawn without a simulator: a square that goes where its actions say, on a ground of noise."""

import json
from pathlib import Path

import numpy as np

from data_modules.episodes.episode import Episode, write_episode

EPISODES = {"train": 12, "val": 4, "test": 4}


def write_squares(folder: Path, length: int = 5, side: int = 16) -> None:
    """Write an index for each split, and the episodes that it names."""
    for split, count in EPISODES.items():
        rows = []
        for number in range(count):
            name = f"episodes/{split}_{number}.npz"
            write_episode(folder / name, draw_episode(np.random.default_rng([*split.encode(), number]), length, side))
            rows.append({"episode": name, "length": length, "group": ("left", "right")[number % 2]})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def draw_episode(draws: np.random.Generator, length: int, side: int) -> Episode:
    """Draw an episode: an action moves the square by up to 2 pixels, the reward is how far it has come."""
    ground, place = draws.integers(0, 90, (side, side, 3)), draws.integers(0, side - 4, 2)
    actions = draws.integers(-2, 3, (length - 1, 2))
    places = [place]
    for action in actions:
        places.append(np.clip(places[-1] + action, 0, side - 4))
    frames = np.repeat(ground[None], length, 0).astype(np.uint8)
    for frame, (row, column) in zip(frames, places, strict=True):
        frame[row : row + 4, column : column + 4] = 230
    rewards = [float(np.abs(each - place).sum()) for each in places[1:]]
    return Episode(frames, actions.astype(np.float32), np.array(rewards, np.float32))
