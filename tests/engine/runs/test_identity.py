"""A run's folder is named by what makes its results, whatever words the command used."""

from pathlib import Path

import pytest

from mirage_pl.engine.place import HOME
from mirage_pl.engine.runs.identity import defining_values, list_differences
from tests.conftest import compose


def folder(*overrides):
    return str(compose("train", "stage=stage2", *overrides).run_dir)


PLAIN = "runs/vsp/tiny/stage2-k4-seed42"


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=2",
        "trainer.devices=1",
        "trainer.num_nodes=2",
        "trainer.max_steps=9",
        "trainer.max_epochs=2",
        "trainer.val_check_interval=7",
        "trainer.limit_val_batches=0",
        "trainer.gradient_clip_val=1",
        "seed=42",
        "model=tiny",
        "task=vsp",
        "latent_size=4",
        "init_from=null",
        "callbacks.progress=null",
        "callbacks.last.every_n_train_steps=3",
        "callbacks=default",
        "loader.num_workers=3",
        "loader.prefetch=9",
        "loader.eval_batch_size=5",
        "loader.batch_size=32",
        "stage.batch_size=32",
        "stage.max_steps=7",
        "stage.module.optimizer.lr=2e-3",
        "stage.module.optimizer.lr=0.002",
        "memory.checkpointing=true",
        "memory.ce_chunk=3",
        "features=null",
        "async_checkpoint=true",
        "evaluate={}",
        "strategy=ddp",
        "data=elsewhere",
        "logger=csv",
        "logger=[tensorboard,csv]",
        "callbacks.scores=null",
        "trainer.enable_progress_bar=false",
        "trainer.log_every_n_steps=1",
        "trainer.profiler=simple",
        "trainer.num_sanity_val_steps=2",
        "trainer.detect_anomaly=true",
        "+stage.module.note=null",
    ],
)
def test_what_changes_no_result_or_is_the_default_names_the_same_folder(override):
    assert folder(override) == PLAIN


CHANGES = [
    "loader.batch_size=4",
    "stage.batch_size=4",
    "loader.max_length=100",
    "loader.on_overlong=drop",
    "stage.module.optimizer.lr=1e-3",
    "stage.module.loss_weights.text=0.5",
    "stage.module.schedule.warmup_steps=3",
    "stage.collator.helpers=true",
    "stage.freeze=[]",
    "stage.starts=null",
    "stage.starts.weights.stage=auxiliary",
    "init_from=runs/other",
    "compression=grid",
    "recurrence=jacobi",
    "feedback=matched",
    "pixels.input.max=784",
    "task.hole_rate=0.3",
    "task.per_level.train=100",
    "model.dtype=bfloat16",
    "trainer.precision=bf16-mixed",
    "trainer.accumulate_grad_batches=2",
    "trainer.gradient_clip_val=null",
    "trainer.limit_train_batches=3",
    "trainer.overfit_batches=1",
    "experiment=study/vsp",
]


def test_whatever_changes_results_names_a_folder_of_its_own():
    names = [folder(override, "run_dir=${runs}/${stage.tag}-seed${seed}${variant:}") for override in CHANGES]
    assert len({*names, f"runs/{Path(PLAIN).name}"}) == len(CHANGES), "stage.batch_size is loader.batch_size"
    assert folder("loader.batch_size=4") == folder("stage.batch_size=4", "trainer.devices=2", "callbacks.progress=null")


def test_the_same_values_name_the_same_folder_in_whatever_words_they_come():
    assert folder("compression=grid") == folder("compression._target_=mirage_pl.mirage.model.compression.Grid")
    name = folder("loader.batch_size=4", "task.hole_rate=0.3")
    assert name == folder("task.hole_rate=0.30", "loader.batch_size=4")
    assert folder("init_from=runs/a") == folder("init_from=runs/a/")
    assert folder("init_from=q/a", "runs=q").removeprefix("q/") == folder("init_from=runs/a").removeprefix("runs/")


def test_a_name_tells_what_its_tag_tells_without_a_hash():
    assert folder("latent_size=8", "seed=3") == "runs/vsp/tiny/stage2-k8-seed3"
    assert folder("model=qwen2_5_vl_7b", "runs=r") == "r/vsp/qwen2_5_vl_7b/stage2-k4-seed42"
    assert folder("latent_size=8", "stage=sft").startswith("runs/vsp/tiny/sft-seed42-"), "its tag has no latent size"


def test_a_task_with_a_name_of_its_own_has_a_hash_that_its_seeds_share():
    first, second = (folder("task=jsonl", "task.name=mine", f"seed={seed}") for seed in (1, 2))
    assert first.startswith("runs/mine/tiny/stage2-k4-seed1-")
    assert first.rpartition("-")[2] == second.rpartition("-")[2]


def test_an_experiments_values_are_hashed_and_devices_do_not_add_to_them():
    name = folder("experiment=paper/vsp_stage2_7b")
    assert name.startswith("runs/vsp/qwen2_5_vl_7b/stage2-k4-seed42-")
    assert name == folder("experiment=paper/vsp_stage2_7b", "trainer.devices=8", "callbacks.last.every_n_train_steps=5")


def test_what_a_run_is_refused_for_is_what_names_it_but_for_rows_that_processes_share():
    plain = compose("train", "stage=stage2")
    for override in ("trainer.max_steps=9", "memory.ce_chunk=3", "loader.num_workers=3", "data=elsewhere"):
        assert list_differences(plain, compose("train", "stage=stage2", override)) == []
    assert list_differences(plain, compose("train", "stage=stage2", "loader.batch_size=16", "trainer.devices=2")) == []
    (change,) = list_differences(plain, compose("train", "stage=stage2", "task.hole_rate=0.3"))[:1]
    assert change == "task.hole_rate was 0.2 and is 0.3"
    begun = compose("train", "stage=stage2", "init_from=runs/a")
    assert list_differences(begun, plain) == [], "where weights came from needn't be said again"
    assert list_differences(plain, begun) == ["init_from was None and is <runs>/a"]


def test_data_and_the_projects_own_files_may_lie_elsewhere():
    here, there = compose("train", "stage=sft"), compose("train", "stage=sft", "data=/other/disk")
    assert defining_values(here) == defining_values(there)
    assert defining_values(here)["task.folder"] == "<data>/vsp-28px"
    moved = compose("train", "stage=sft", f"model.path={HOME}/assets/tiny")
    for path, same in (
        ("/a/colleague/mirage_pl/assets/tiny", True),
        ("/a/colleague/mirage_pl/assets/other", False),
        ("assets/tiny", False),
    ):
        assert (not list_differences(compose("train", "stage=sft", f"model.path={path}"), moved)) == same, path


@pytest.mark.parametrize("may_change", [["module.ce_chunk"], []])
def test_a_key_that_only_begins_like_one_that_may_change_may_not(may_change):
    both = [compose("train", "stage=sft", f"+stage.module.ce_chunked={number}") for number in (1, 2)]
    for config in both:
        config.stage.may_change = may_change
    assert list_differences(*both) == ["stage.module.ce_chunked was 1 and is 2"]


@pytest.fixture
def own_stage(tmp_path):
    """A stage and a task of somebody's own, whose names aren't those of their files."""
    (tmp_path / "stage" / "own").mkdir(parents=True)
    stage = "# @package _global_\ndefaults: [sft, _self_]\nstage: {name: mine, tag: mine}\n"
    (tmp_path / "stage" / "own" / "mine.yaml").write_text(stage)
    return f"hydra.searchpath=[file://{tmp_path}]"


def test_a_command_compares_with_the_files_it_chose_whatever_their_names(own_stage):
    from hydra.core.hydra_config import HydraConfig

    def named(*overrides):
        config = compose("train", own_stage, "stage=own/mine", *overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        try:
            return config.run_dir
        finally:
            HydraConfig.instance().cfg = None

    assert named() == named("trainer.devices=2", "loader.batch_size=32") == "runs/vsp/tiny/mine-seed42"
    assert named("task.name=other") == "runs/other/tiny/mine-seed42"
    assert len({named(), named("loader.batch_size=3"), named("compression=grid")}) == 3
    assert compose("train", own_stage, "stage=own/mine").run_dir == "runs/vsp/tiny/mine-seed42"
