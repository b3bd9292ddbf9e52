"""Studies: which runs are made in which order, and with which overrides."""

import json
from collections import Counter

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins

import mirage_pl.engine.cli  # noqa: F401  registers the sweeper
from tests.conftest import REPO, compose

Matrix = Plugins.instance().class_name_to_class["hydra_plugins.mirage_matrix.Matrix"]
RUNS = {
    "sft": {"set": ["stage=sft", "trainer.max_steps=9"]},
    "one": {"set": ["stage=stage1"]},
    "two": {"after": "one", "set": ["stage=stage2"]},
    "three": {"after": "two"},
}
STUDIES = sorted(file.stem for file in (REPO / "conf" / "experiment" / "study").glob("*.yaml"))


def waves(arguments, size=None, **options):
    return Matrix(runs=RUNS, **options).split_arguments(OverridesParser.create().parse_overrides(arguments), size)


def test_runs_come_after_those_they_start_from():
    found = waves(["seed=1,2", "task=vsp"])
    methods = [[item for job in wave for item in job if item.startswith("study.")] for wave in found]
    assert [Counter(wave) for wave in methods] == [
        {"study.method='sft'": 2, "study.method='one'": 2},
        {"study.method='two'": 2},
        {"study.method='three'": 2},
    ]
    assert found[1][0] == [
        "stage=stage2",
        "seed=1",
        "task=vsp",
        "study.method='two'",
        "init_from='${runs}/${study.name}/one-seed${seed}'",
    ]


def test_the_command_line_wins_over_a_run():
    job = waves(["seed=1", "trainer.max_steps=2"])[0][0]
    assert job == ["stage=sft", "seed=1", "trainer.max_steps=2", "study.method='sft'"]


def test_a_swept_key_other_than_the_seed_makes_methods_of_its_own():
    first, second = waves(["seed=1", "task.hole_rate=0.1,0.2"], only=["two"])
    assert [job[-1] for job in first] == ["study.method='one-hole_rate=0.1'", "study.method='one-hole_rate=0.2'"]
    assert second[1][-2:] == [
        "study.method='two-hole_rate=0.2'",
        "init_from='${runs}/${study.name}/one-hole_rate=0.2-seed${seed}'",
    ]


def test_a_run_says_which_key_takes_the_one_before():
    runs = RUNS | {"two": {"after": "one", "into": "stage.starts.one.run"}}
    matrix = Matrix(runs=runs, only=["two"])
    job = matrix.split_arguments(parsed(["seed=1"]), None)[1][0]
    assert job[-1] == "stage.starts.one.run='${runs}/${study.name}/one-seed${seed}'"
    given = parsed(["seed=1", "stage.starts.one.run=mine"])
    assert "stage.starts.one.run=mine" in matrix.split_arguments(given, None)[1][0][1:]


def test_a_run_of_one_seed_is_made_once_and_those_after_it_start_there_whatever_their_seed():
    runs = RUNS | {"one": {"set": ["stage=stage1"], "seed": 1}, "two": {"after": "one", "seed": 1}}
    found = Matrix(runs=runs, only=["three"]).split_arguments(parsed(["seed=1,2,3"]), None)
    assert [len(wave) for wave in found] == [1, 1, 3]
    assert [[item for item in job if item.startswith(("seed", "init_from"))] for wave in found[1:] for job in wave] == [
        ["seed=1", "init_from='${runs}/${study.name}/one-seed1'"],
        *([f"seed={seed}", "init_from='${runs}/${study.name}/two-seed1'"] for seed in (1, 2, 3)),
    ]
    alone = Matrix(runs=runs, only=["three"]).split_arguments(parsed(["seed=3"]), None)
    assert ["seed=1" in wave[0] for wave in alone] == [True, True, False]


def test_only_some_runs_are_made_and_those_before_them():
    assert [len(wave) for wave in waves(["seed=1"], only=["two"])] == [1, 1]


def test_a_wave_is_launched_in_parts_of_the_wanted_size():
    assert [len(wave) for wave in waves(["seed=1,2"], size=3)] == [3, 1, 2, 2]


@pytest.mark.parametrize(
    ("runs", "only", "message"),
    [
        ({}, None, "hydra.sweeper.runs is empty"),
        ({"a": {"after": "b"}}, None, r"runs.a.after=b: b is no run of the study"),
        ({"a": {"after": "b"}, "b": {"after": "a"}}, None, "comes after itself"),
        ({"a": {"then": "b"}}, None, r"runs.a has \['then'\]; it may have set, after, into and seed"),
        (
            {"a": {}, "b": {"after": "a", "seed": 1}},
            None,
            "runs.b is of seed 1 only, and a, which it starts from, isn't",
        ),
        ({"a": {"into": "init_from"}}, None, "runs.a has into=init_from and no after"),
        ({"a": {}}, ["b"], "only names b; the runs are a"),
        ({"words": {}, "text": {}}, ["word"], r"only names word; did you mean words\? the runs are words, text"),
        ({"a": {}}, "a", r"only=a must be a list; write hydra.sweeper.only=\[a\]"),
        ({"a": {}}, [], r"only=\[\] makes no run; leave it out for all"),
    ],
)
def test_an_impossible_study_is_refused(runs, only, message):
    with pytest.raises(ValueError, match=message):
        Matrix(runs=runs, only=only)


OTHER_THAN_ITS_START = {"writer": "feedback", "target": "compression", "imitate": "feedback"}
"""Stage -> what it has other than the run that it starts from, on purpose."""


@pytest.mark.parametrize("study", STUDIES)
def test_every_run_of_a_shipped_study_composes_into_a_folder_of_its_own(study):
    sweeper = compose("train", f"experiment=study/{study}", return_hydra_config=True).hydra.sweeper
    matrix = Matrix(runs=sweeper.runs, only=sweeper.only, params=sweeper.params)
    jobs = [
        job for wave in matrix.split_arguments(parsed([f"experiment=study/{study}", "seed=1"]), None) for job in wave
    ]
    configs = [compose("train", *job) for job in jobs]
    folders = [cfg.run_dir for cfg in configs]
    assert len(set(folders)) == len(jobs)
    evaluated, before_others = {"": set(), "_twice": set()}, {cfg.init_from for cfg in configs}
    for cfg in configs:
        starts = [cfg.init_from, *(start.run for start in (cfg.stage.starts or {}).values())]
        assert all(start is None or start in folders for start in starts)
        if cfg.init_from:
            before = configs[folders.index(cfg.init_from)]
            shared = {"latent_size", "compression", "feedback"} - {OTHER_THAN_ITS_START.get(cfg.stage.name)}
            assert all(before[key] == cfg[key] for key in shared if key in cfg), json.dumps(cfg.study.method)
            assert rows_of(before) == rows_of(cfg), "however they are served"
        longer = cfg.study.method.endswith("_longer")  # at equal compute
        if cfg.evaluate is not None and cfg.run_dir not in before_others and not longer:
            rivals = "_twice" if cfg.study.method.endswith("_twice") else ""
            evaluated[rivals].add(steps_of(cfg, configs, folders))
    assert len(evaluated[""] - {0}) == 1, "methods are compared at equal steps, or with what they start from"
    assert len(evaluated["_twice"]) < 2, "and so are those that take more"


def steps_of(cfg, configs, folders):
    """Steps of a run and of those before it."""
    before = steps_of(configs[folders.index(cfg.init_from)], configs, folders) if cfg.init_from else 0
    return before + cfg.trainer.max_steps


def rows_of(cfg):
    """A task, but for how its rows are served."""
    return {key: value for key, value in cfg.task.items() if key != "data"}


def parsed(arguments):
    return OverridesParser.create().parse_overrides(arguments)
