"""A run killed anywhere goes on as if nothing had been: the same rows, bit by bit the same losses and weights."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch

from tests.engine.strategies.conftest import HALVED, WHOLE, job, recorded, run_ranks, said, steps_of

STEPS, EVERY, VALIDATE = 8, 2, 3
"""Of a run, whose epoch has 6 batches; steps between two saves; batches between two validations."""
SAVE = "state_dict"
SEED = 0
"""Of the moments in which the runs are killed."""
STAGES = {
    "sft": [],
    "stage1": [],
    "stage2": ["stage.starts=null"],
    "guided": ["stage.starts=null"],
    "curriculum": ["stage.module.fade=1", "feedback=matched"],  # teacher-forced by chance; feedback that learns
    "auxiliary": [],
}
COMMON = [
    f"trainer.max_steps={STEPS}",
    f"callbacks.last.every_n_train_steps={EVERY}",
    "trainer.limit_val_batches=1",
    f"trainer.val_check_interval={VALIDATE}",
    "stage.module.optimizer.lr=2e-3",
    "stage.module.schedule.warmup_steps=2",
]


@dataclass(frozen=True)
class Case:
    stage: str
    workers: int
    accumulate: int
    ranks: int
    tokens: bool = False

    @property
    def whole(self) -> "Case":
        """Of the run that isn't killed. Loading processes change nothing, so it does without."""
        return replace(self, workers=0)

    def fuse(self) -> tuple[str, int, int]:
        """Where the run is killed: in which hook, or save, at which call and on which rank; drawn by the case."""
        draw, first, last = Random(str(self)), EVERY * self.accumulate + 1, (STEPS - 1) * self.accumulate
        calls = dict.fromkeys(("on_train_batch_start", "on_after_backward", "on_train_batch_end"), (first, last))
        calls |= {"on_before_optimizer_step": (EVERY + 1, STEPS - 1), SAVE: (1, STEPS // EVERY)}
        calls |= {"on_validation_start": (-(-first // VALIDATE), last // VALIDATE)}
        hook = draw.choice([*calls, SAVE])  # the save comes twice as often
        return hook, draw.randint(*calls[hook]), 0 if hook == SAVE else draw.randrange(self.ranks)

    def overrides(self, folder: Path, data: Path) -> list[str]:
        cut = ["loader.max_tokens=220" if self.tokens else HALVED if self.ranks == 2 else WHOLE]
        cut += [f"loader.num_workers={self.workers}", f"trainer.accumulate_grad_batches={self.accumulate}"]
        spread = ["strategy=ddp"] if self.ranks > 1 else []
        return job(folder, data, f"stage={self.stage}", *STAGES[self.stage], *COMMON, *cut, *spread)

    def __str__(self) -> str:
        size = "tokens" if self.tokens else "rows"
        cut = f"{self.workers}workers-{self.accumulate}batches-of-{size}-{self.ranks}ranks"
        return f"{self.stage}-{cut}-seed{SEED}"


SOME = [Case("stage1", 2, 2, 1, tokens=True), Case("curriculum", 0, 2, 2)]
"""Besides what ``tests/contract`` kills: a run of every stage."""
ALL = [Case(*axes) for axes in product(STAGES, (0, 2), (1, 2), (1, 2))]


def train_all(cases, folder, data):
    """Train each case's run, and another that is killed and goes on; how their ranks ended and what they said."""
    jobs = {}
    for case in cases:
        cut = case.overrides(folder / f"{case}-cut", data)
        hook, call, rank = case.fuse()
        options = f"hook: {hook}, call: {call}, rank: {rank}"
        fuse = f"+callbacks.fuse={{_target_: tests.engine.strategies.record.Fuse, {options}}}"
        before = f"callbacks.record.folder={folder}/{case}-cut/before"
        jobs[f"{case.whole}"] = case.ranks, case.whole.overrides(folder / f"{case.whole}", data)
        jobs[f"{case}-killed"] = case.ranks, [*cut, before, fuse]
        jobs[f"{case}-cut"] = case.ranks, cut
    codes = run_ranks(folder, *jobs.values())
    return {name: (codes[run], said(folder, run)) for run, name in enumerate(jobs)}


@pytest.fixture(scope="module")
def some(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("some")
    return folder, train_all(SOME, folder, data)


@pytest.fixture(scope="module")
def every(data, tmp_path_factory):
    """By number of ranks, since runs of both are trained at the same time."""

    def train(ranks):
        folder = tmp_path_factory.mktemp(f"every{ranks}")
        return folder, train_all([case for case in ALL if case.ranks == ranks], folder, data)

    with ThreadPoolExecutor() as pool:
        return dict(zip((1, 2), pool.map(train, (1, 2)), strict=True))


def assert_goes_on(case, folder, ended):
    hook, call, rank = case.fuse()
    where = f"killed on rank {rank} at {hook} number {call}\n"
    for name in (f"{case.whole}", f"{case}-cut"):
        codes, last_words = ended[name]
        assert codes == [0] * case.ranks, where + last_words
    codes, last_words = ended[f"{case}-killed"]
    assert codes[rank] == -9, where + last_words
    assert all(codes), where
    for rank in range(case.ranks):
        expected = steps_of(folder / f"{case.whole}" / "record", rank)
        before, after = (steps_of(folder / f"{case}-cut" / part, rank) for part in ("before", "record"))
        saved = STEPS - len(after)
        assert [step["step"] for step in expected] == list(range(1, STEPS + 1))
        assert before == expected[: len(before)], where
        assert after == expected[saved:], where
        assert saved % EVERY == 0, where
        assert saved >= (len(before) - 1) // EVERY * EVERY, where  # all but the last save had been done
    weights, wanted = (recorded(folder / name)[1] for name in (f"{case}-cut", f"{case.whole}"))
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted), where


@pytest.mark.parametrize("case", SOME, ids=str)
def test_a_killed_run_goes_on_as_if_nothing_had_been(some, case):
    assert_goes_on(case, *some)


@pytest.mark.slow
@pytest.mark.parametrize("case", ALL, ids=str)
def test_a_killed_run_of_whatever_kind_goes_on_as_if_nothing_had_been(every, case):
    assert_goes_on(case, *every[case.ranks])
