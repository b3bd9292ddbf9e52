"""What every stage of every family does. A new stage is tested by being there.

A stage's runs are made once: whole; killed, and gone on with; in two processes by each kind of strategy. Of Mirage's
stages what takes longest is slow (``make test-slow``): two processes, scores, the export.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.engine import evaluate, export
from mirage_pl.engine.evaluation.setup import find_kind
from tests.conftest import compose
from tests.contract.stages import SAVED, STEPS, find_stages
from tests.engine.strategies.conftest import recorded, run_ranks, said, steps_of
from tests.test_configs import unfit

STAGES = find_stages()
THRESHOLD = "strategy.use.more.zero_optimization.stage3_param_persistence_threshold=0"
SPREAD = {"ddp": ["strategy=ddp"], "zero": ["strategy=deepspeed_zero3", THRESHOLD], "fsdp2": ["strategy=fsdp2"]}
"""A strategy of each kind."""
KILLED = f"{{_target_: tests.engine.strategies.record.Fuse, hook: on_train_batch_start, call: {STEPS}}}"


@dataclass(frozen=True)
class Runs:
    """A stage's runs.

    Attributes:
        stage: whose.
        folder: has a folder for each.
        data: the data folder.
        codes: name -> exit code of each rank.
        words: name -> the last that its ranks said.
    """

    stage: Any
    folder: Path
    data: Path
    codes: dict[str, list[int]]
    words: dict[str, str]

    def check(self, name: str) -> Path:
        """The folder of a run that ended well."""
        assert not any(self.codes[name]), self.words[name]
        return self.folder / name


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """(stage, whether in two processes) -> its runs, made when they are first asked for."""
    made = {}

    def train(stage, spread=False):
        if (stage, spread) not in made:
            folder = tmp_path_factory.mktemp(stage.name.replace("/", "-"))
            made[stage, spread] = make_runs(stage, data, folder, jobs_in_two if spread else jobs_alone)
        return made[stage, spread]

    return train


def make_runs(stage, data, folder, jobs_of):
    def job(ranks, name, *more):
        record = (
            f"+callbacks.record={{_target_: tests.engine.strategies.record.Record, folder: {folder}/{name}/record}}"
        )
        rows = f"loader.batch_size={4 // ranks}"
        return ranks, stage.overrides(data, rows, record, f"run_dir={folder}/{name}", *more)

    jobs = jobs_of(folder, job)
    codes = run_ranks(folder, *jobs.values())
    words = {name: said(folder, number) for number, name in enumerate(jobs)}
    return Runs(stage, folder, data, dict(zip(jobs, codes, strict=True)), words)


def jobs_alone(folder, job):
    before = f"callbacks.record.folder={folder}/cut/before"
    return {
        "whole": job(1, "whole"),
        "killed": job(1, "cut", before, f"+callbacks.fuse={KILLED}"),
        "cut": job(1, "cut"),
    }


def jobs_in_two(_, job):
    return {name: job(2, name, *strategy) for name, strategy in SPREAD.items()}


def with_stages(*marks):
    """Give a test every stage, each stage's tests in one lane; Mirage's with marks."""
    lanes = {stage: pytest.mark.xdist_group(f"contract of {stage}") for stage in STAGES}
    params = [pytest.param(s, marks=[lanes[s], *(marks if s.family == "mirage" else ())], id=str(s)) for s in STAGES]
    return pytest.mark.parametrize("stage", params)


every_stage, small_stages_always = with_stages(), with_stages(pytest.mark.slow)


@every_stage
def test_it_composes_and_its_arguments_fit_the_signatures(stage):
    assert not [*unfit("train", *stage.search, f"stage={stage.name}", *stage.parts)]


@every_stage
def test_its_steps_are_finite_and_its_losses_those_with_weights(stage, trained):
    run = trained(stage).check("whole")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["step"] == STEPS
    names = {name for weights in loss_weights(stage.compose(run.parent)) for name in weights}
    assert {f"train/{name}" for name in names} | {"train/loss", "val/loss"} <= metrics.keys()
    assert all(math.isfinite(value) for name, value in metrics.items() if name.startswith(("train/", "val/")))
    losses, weights = recorded(run)
    assert len(losses) == STEPS
    assert all(weight.isfinite().all() for weight in weights.values())


def loss_weights(cfg):
    """The names and weights of each optimizer's losses; one without a weight isn't learnt."""
    module = cfg.stage.module
    turns = [turn.losses for turn in module.turns.values()] if "turns" in module else [module.loss_weights]
    return [{name: weight for name, weight in turn.items() if weight is not None} for turn in turns]


@every_stage
def test_a_batch_loses_what_its_rows_lose_one_by_one(stage, trained):
    cfg = stage.compose(trained(stage).data)
    torch.manual_seed(0)
    module, collate = instantiate(cfg.stage.module).eval(), instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    samples = [rows[index] for index in range(0, 8, 2)]
    for turn in module.turns if hasattr(module, "turns") else [None]:
        together = losses_of(module, turn, collate(samples))
        apart = [losses_of(module, turn, collate([sample])) for sample in samples]
        for name, (loss, terms) in together.items():
            assert sum(one[name][1] for one in apart) == terms
            mean = sum(one[name][0] * one[name][1] for one in apart) / terms
            torch.testing.assert_close(mean, loss, rtol=1e-5, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}")


def losses_of(module, turn, batch):
    """Name -> loss, and of how many terms it is the mean."""
    terms = module.terms(batch)
    losses = module.losses(batch) if turn is None else module.losses_in(turn, batch)
    return {name: (loss.detach(), terms[name]) for name, loss in losses.items()}


@every_stage
def test_a_killed_run_goes_on_bit_by_bit_as_if_nothing_had_been(stage, trained):
    runs = trained(stage)
    whole, cut = runs.check("whole"), runs.check("cut")
    assert runs.codes["killed"] == [-9], runs.words["killed"]
    expected, before, after = (steps_of(place) for place in (whole / "record", cut / "before", cut / "record"))
    assert before == expected[: STEPS - 1]
    assert after == expected[SAVED:]
    weights, wanted = (recorded(run)[1] for run in (cut, whole))
    assert weights.keys() == wanted.keys()
    assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


@small_stages_always
@pytest.mark.parametrize("name", SPREAD)
def test_two_processes_learn_what_one_does(stage, trained, name):
    runs = trained(stage, spread=True)
    if refusal := re.search(r"ValueError: (.*strategy=.*)", runs.words[name]):
        pytest.skip(refusal[1])
    (losses, weights), (expected, wanted) = recorded(runs.check(name)), recorded(trained(stage).check("whole"))
    assert losses == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert weights.keys() == wanted.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(
            weight, wanted[key], rtol=3e-7, atol=1e-5, msg=lambda text, key=key: f"{key}: {text}"
        )


@small_stages_always
def test_it_is_scored_and_its_page_has_its_sections(stage, trained):
    run, cfg = trained(stage).check("whole"), stage.compose(trained(stage).data)
    metrics = evaluate.run(compose("evaluate", *stage.search, f"evaluation={find_kind(cfg)}", f"ckpt={run}"))
    assert metrics["finished"]
    assert metrics["measures"]
    # items are rows of the test file, or episodes that are played
    items = metrics.get("starts", len(instantiate(cfg.task.dataset).read(cfg.task.test_file)))
    assert all(0 < metrics[name]["all"]["n"] <= items for name in metrics["measures"])
    (page,) = run.rglob("report.html")
    html = page.read_text()
    missing = [word for word in (*metrics["measures"], *metrics.get("conditions", {})) if word not in html.lower()]
    assert not missing


@small_stages_always
def test_it_is_exported_and_loads_back(stage, trained, tmp_path):
    run = trained(stage).check("whole")
    out = export.run(compose("export", *stage.search, f"ckpt={run}", f"out={tmp_path}/out"))
    assert (out / export.MARK).is_file()
    assert len(list(out.iterdir())) > 1
