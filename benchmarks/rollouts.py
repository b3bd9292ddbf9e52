"""Rollouts together and one by one: ``python -m benchmarks.rollouts``.

``answers``: answers of Mirage's tiny model with random weights to mazes, as ``stage=grpo`` samples them; ``worlds``:
clips of ten frames as ``stage=ivideogpt/rlvr`` imagines and grades them, with random weights. Both sides make the same
rollouts, the one ``--batch`` at a time (of worlds whole groups), the other one by one. ``questions``: a round of
answers and a step that learns from it; a question that several answer is run once, or for each of them again.

Options: ``--only``, ``--batch``, ``--prompts``, ``--repeats``, ``--json``. Times are seconds of the processor, which
other processes hardly change, or of the clock where there is a GPU.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

import mirage_pl.engine.cli  # noqa: F401  registers the resolvers
from benchmarks.timing import Pair, in_turns
from data_modules.episodes.episode import Episode, write_episode
from mirage_pl.engine.rl.policy import Rollout
from mirage_pl.ivideogpt.rl.policy import draw_stream
from mirage_pl.mirage.rl.collator import RolloutCollator

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUP, LENGTH, SIDE = 8, 11, 64


def build(*overrides: str) -> tuple[Any, Any, Any]:
    """A stage's policy with random weights, its collator, and the rows of its training file."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [*overrides, "stage.starts=null", "reference=none"])
    if cfg.task.data.get("maker") is not None:
        instantiate(cfg.task.data.maker, num_workers=1).make()
    torch.manual_seed(0)
    module = instantiate(cfg.stage.module).eval()
    return module.policy, instantiate(cfg.stage.collator), instantiate(cfg.task.dataset).read(cfg.task.train_file)


def write_noise(folder: Path, count: int) -> None:
    """Episodes of noise; what they show doesn't matter to time."""
    draws = np.random.default_rng(0)
    for number in range(count):
        frames = draws.integers(0, 255, (LENGTH, SIDE, SIDE, 3), dtype=np.uint8)
        actions = draws.normal(size=(LENGTH - 1, 2)).astype(np.float32)
        write_episode(folder / f"{number}.npz", Episode(frames, actions, np.zeros(LENGTH - 1, np.float32)))
    rows = [json.dumps({"episode": f"{number}.npz", "length": LENGTH, "group": "noise"}) for number in range(count)]
    (folder / "train.jsonl").write_text("\n".join(rows) + "\n")


def compare(together: Callable[[], list[Rollout]], alone: Callable[[], list[Rollout]], repeats: int) -> Pair:
    """Time both ways.

    Raises:
        ValueError: one makes other rollouts.
    """
    pairs = list(zip(together(), alone(), strict=True))
    same = sum(tell(one) == tell(other) for one, other in pairs)
    if same < 0.9 * len(pairs):
        raise ValueError(f"both ways must make the same rollouts, but {len(pairs) - same} of {len(pairs)} differ")
    return in_turns(together, alone, repeats, 0, perf_counter if torch.cuda.is_available() else process_time)


class Apart(RolloutCollator):
    """Lets each answer have its question for itself."""

    def _build(self, *args: Any, asked: Any = None, **options: Any) -> Any:
        return super()._build(*args, **options)


def time_questions(folder: Path, prompts: int, batch: int, repeats: int) -> Pair:
    """Answers to mazes, and their gradient."""
    sizes = f"task.per_level={{train: {prompts}, val: 1, test: 1}}"
    policy, collate, rows = build("stage=grpo", f"data={folder}", sizes, f"answering.batch={batch}")
    apart = Apart(
        processor=collate.processor, latent_size=collate.latent_size, latents=collate.latents, helpers=collate.helpers
    )
    asked = {index: rows[index] for index in range(prompts)}

    def learn(collator: RolloutCollator) -> list[Rollout]:
        with torch.no_grad():
            rollouts = list(policy.roll(collator, asked, GROUP, 0, 0))
        sum(values_M.mean() for values_M in policy.logprobs(collator(rollouts).inputs).values.values()).backward()
        policy.net.zero_grad()
        return rollouts

    return compare(partial(learn, collate), partial(learn, apart), repeats)


def tell(rollout: Rollout) -> str:
    """What was done, but for numbers that rounding changes."""
    return str(rollout.record.get("tokens", rollout.record.get("codes")))


@torch.no_grad()
def time_answers(folder: Path, prompts: int, batch: int, repeats: int) -> Pair:
    """Answers to mazes."""
    sizes = f"task.per_level={{train: {prompts}, val: 1, test: 1}}"
    policy, collate, rows = build("stage=grpo", f"data={folder}", sizes, f"answering.batch={batch}")
    asked = {index: rows[index] for index in range(prompts)}

    def answer(at_once: int) -> list[Rollout]:
        policy.answering = replace(policy.answering, batch=at_once)
        return list(policy.roll(collate, asked, GROUP, 0, 0))

    return compare(partial(answer, batch), partial(answer, 1), repeats)


@torch.no_grad()
def time_worlds(folder: Path, prompts: int, batch: int, repeats: int) -> Pair:
    """Clips of a world."""
    write_noise(folder, prompts)
    task = ["task=episodes", f"task.folder={folder}", "task.action_dim=2", f"task.window.length={LENGTH}"]
    policy, collate, rows = build("stage=ivideogpt/rlvr", *task, "reward=false")
    room = max(1, batch // GROUP) * policy.count_bytes(LENGTH, GROUP) / 2**30
    policy.drawing = replace(policy.drawing, cache_gib=room)
    asked = {index: rows[index] for index in range(prompts)}

    def together() -> list[Rollout]:
        return list(policy.roll(collate, asked, GROUP, 0, 0))

    def alone() -> list[Rollout]:
        return [imagine(index, number) for index in asked for number in range(GROUP)]

    def imagine(index: int, number: int) -> Rollout:
        stream = draw_stream(0, 0, asked[index], number)
        (rollout,) = policy.imagine(collate([asked[index]]), [index], [stream])
        return rollout

    return compare(together, alone, repeats)


WORK: dict[str, Callable[[Path, int, int, int], Pair]] = {
    "answers": time_answers,
    "worlds": time_worlds,
    "questions": time_questions,
}


def main() -> None:
    """Print how many times longer the other way takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=WORK, default=list(WORK))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = []
    for name in options.only:
        with TemporaryDirectory() as folder:
            pair = WORK[name](Path(folder), options.prompts, options.batch, options.repeats)
        (low, high), count = pair.spread, options.prompts * GROUP
        figure = {"ratio": pair.ratio, "low": low, "high": high, "rate": count / min(pair.ours)}
        figures.append({"name": name, "batch": options.batch, "rollouts": count, **figure})
        print(
            f"{name}, {options.batch} at a time: {pair.ratio:.2f} times ({low:.2f} to {high:.2f}); "
            f"{count / min(pair.ours):.1f} rollouts a second, the other way {count / min(pair.theirs):.1f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
