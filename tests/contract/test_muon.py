"""What a stage does whose matrices learn by Muon, as MM-ACT's and iVideoGPT's own configs have it.

The contract of all stages is held with AdamW, which DeepSpeed needs, too.
"""

from dataclasses import dataclass

import pytest
import torch

from tests.contract.stages import SAVED, SHORT, SMALLER, STEPS, Stage
from tests.contract.test_stages import SPREAD, jobs_alone, make_runs
from tests.engine.strategies.conftest import recorded, steps_of

TOGETHER = {name: SPREAD[name] for name in ("ddp", "fsdp2")}


@dataclass(frozen=True)
class Marked(Stage):
    """A stage with the optimizer that its own config names."""

    def overrides(self, data, *more):
        small = [*SMALLER[self.family], *SHORT, "stage.module.optimizer.lr=2e-6"]
        return [f"stage={self.name}", *small, f"data={data}", *more]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    def jobs(folder, job):
        return jobs_alone(folder, job) | {name: job(2, name, *words) for name, words in TOGETHER.items()}

    return make_runs(Marked("mmact/action"), tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("muon"), jobs)


def test_a_run_that_was_killed_goes_on_bit_by_bit(runs):
    whole, cut = runs.check("whole"), runs.check("cut")
    assert "Muon" in (whole / "config.yaml").read_text()
    assert runs.codes["killed"] == [-9], runs.words["killed"]
    expected, before, after = (steps_of(place) for place in (whole / "record", cut / "before", cut / "record"))
    assert (before, after) == (expected[: STEPS - 1], expected[SAVED:])
    weights, wanted = (recorded(run)[1] for run in (cut, whole))
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("name", TOGETHER)
def test_two_processes_learn_what_one_does(runs, name):
    (losses, weights), (expected, wanted) = recorded(runs.check(name)), recorded(runs.check("whole"))
    assert losses == pytest.approx(expected, rel=1e-5, abs=1e-5)
    for key, weight in weights.items():
        torch.testing.assert_close(
            weight, wanted[key], rtol=3e-7, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
        )
