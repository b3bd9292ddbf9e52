"""Training as a user meets it: stages, resume, what a run folder holds, and mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import open_dict
from pytorch_lightning import Callback
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mirage_pl.engine.runs.starts import find_starts
from mirage_pl.engine.training import fit
from tests.conftest import REPO, SHARED, SMALL, needs_shared


class Losses(Callback):
    """Record the loss of every batch; stop after batch ``stop_at``."""

    seen: dict[int, float] = {}
    stop_at = 0

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        number = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        Losses.seen[number] = outputs["loss"].item()
        if number == Losses.stop_at:
            raise KeyboardInterrupt


def losses_of(cfg, stop_at=0):
    """Train and return the loss of each batch."""
    Losses.seen, Losses.stop_at = {}, stop_at
    with open_dict(cfg):
        cfg.callbacks.zz_losses = {"_target_": "tests.engine.training.test_train.Losses"}
    try:
        fit.run(cfg)
    except (SystemExit, KeyboardInterrupt):
        assert stop_at
    return dict(Losses.seen)


def scalars(folder):
    board = EventAccumulator(str(folder / "tensorboard"))
    board.Reload()
    return {tag: [event.value for event in board.Scalars(tag)] for tag in board.Tags()["scalars"]}, board.Tags()[
        "images"
    ]


@pytest.mark.parametrize("stage", ["sft", "stage1"])
def test_a_stage_trains_and_leaves_a_run_folder_that_describes_itself(train_config, stage):
    cfg = train_config(f"stage={stage}", "trainer.log_every_n_steps=1")
    metrics = fit.run(cfg)
    folder = Path(cfg.run_dir)
    names = {"text"} if stage == "sft" else {"text", "latent"}
    assert metrics["step"] == 3
    assert {f"{split}/{name}" for split in ("train", "val") for name in names} <= metrics.keys()
    assert 0 <= metrics["val/success"] <= 1
    assert json.loads((folder / "metrics.json").read_text())["step"] == 3
    assert json.loads((folder / "environment.json").read_text())["packages"]["torch"]
    values, images = scalars(folder)
    assert len(values["train/loss"]) == 3
    assert images
    checkpoint = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3


def test_training_lowers_the_loss_and_leaves_the_vision_tower_alone(train_config):
    from hydra.utils import instantiate

    cfg = train_config("stage=stage1", "trainer.max_steps=12", "stage.module.schedule.warmup_steps=1")
    before = instantiate(cfg.model.backbone).state_dict()
    losses = losses_of(cfg)
    assert losses[12] < 0.9 * losses[1]
    after = torch.load(Path(cfg.run_dir) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    changed = {name for name, value in before.items() if not torch.equal(after[f"net.backbone.{name}"], value)}
    assert changed == {name for name in before if "visual" not in name}


def test_a_finished_run_is_left_as_it_is_and_goes_on_when_asked_for_more_steps(train_config, tmp_path):
    first = fit.run(train_config("stage=sft", f"run_dir={tmp_path}/run"))
    written = (tmp_path / "run" / "metrics.json").read_text()
    assert fit.run(train_config("stage=sft", f"run_dir={tmp_path}/run")) == first
    assert (tmp_path / "run" / "metrics.json").read_text() == written
    more = train_config("stage=sft", f"run_dir={tmp_path}/run", "trainer.max_steps=5")
    assert fit.run(more)["step"] == 5


def test_a_run_continues_with_other_memory_settings(train_config, tmp_path):
    """As after running out of memory: these settings change nothing but last digits."""
    common = [
        "stage=stage2",
        "stage.starts=null",
        "stage.module.schedule.shape=constant",
        "trainer.limit_val_batches=0",
    ]
    straight = losses_of(train_config(*common, f"run_dir={tmp_path}/straight", "trainer.max_steps=6"))
    first = losses_of(train_config(*common, f"run_dir={tmp_path}/run"))
    lean = ["memory.checkpointing=true", "memory.ce_chunk=3", "features=null", "trainer.max_steps=6"]
    second = losses_of(train_config(*common, f"run_dir={tmp_path}/run", *lean))
    assert sorted(second) == [4, 5, 6]
    assert first | second == pytest.approx(straight, rel=1e-4)


def test_a_run_goes_on_in_its_folder_though_more_processes_share_rows_and_other_runs_note_images(
    train_config, tmp_path, monkeypatch
):
    words = ["stage=sft", f"run_dir={tmp_path}/of-${{loader.batch_size}}", f"loader.decoded={tmp_path}/decoded.txt"]
    (tmp_path / "decoded.txt").write_text("one\n")
    first = train_config(*words)
    fit.run(first)
    (tmp_path / "decoded.txt").write_text("one\ntwo\n")
    places = []
    monkeypatch.setattr(fit, "fit", lambda cfg, folder, resumed: places.extend([str(folder), cfg.run_dir]) or {})
    more = ["trainer.devices=2", "strategy=ddp", "trainer.accelerator=cpu", "trainer.max_steps=5"]
    cfg = train_config(*words, *more)
    assert cfg.loader.batch_size % 2 == 0
    fit.run(cfg)
    assert places == [first.run_dir] * 2


def test_the_best_checkpoint_is_that_of_the_lowest_validation_loss(train_config):
    cfg = train_config("stage=sft", "trainer.val_check_interval=1")
    fit.run(cfg)
    assert (Path(cfg.run_dir) / "checkpoints" / "best.ckpt").is_file()


def test_stage_2_takes_up_the_newest_fitting_stage_1_by_itself(train_config):
    stage2 = train_config("stage=stage2")
    with pytest.raises(
        ValueError, match=r"run python -m mirage_pl.train stage=stage1 task=vsp model=tiny latent_size=4"
    ):
        fit.run(stage2)
    stage1 = train_config("stage=stage1")
    fit.run(stage1)
    assert find_starts(stage2) == {"weights": stage1.run_dir}
    with pytest.raises(ValueError, match="latent_size=2"):
        fit.run(train_config("stage=stage2", "latent_size=2"))
    stage2.trainer.max_steps = 1
    stage2.stage.module.optimizer.lr = 0.0
    fit.run(stage2)
    weights = [
        torch.load(Path(cfg.run_dir) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for cfg in (stage1, stage2)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_folder_of_another_config_is_not_touched(train_config, tmp_path):
    first = train_config("stage=sft", f"run_dir={tmp_path}/run")
    fit.run(first)
    last = (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(ValueError, match="holds another run; .*seed was 42 and is 7"):
        fit.run(train_config("stage=sft", "seed=7", f"run_dir={tmp_path}/run"))
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes() == last


def test_a_checkpoint_of_another_model_is_refused(train_config, tmp_path):
    torch.save({"state_dict": {"net.x": torch.zeros(2)}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match="other.ckpt is of another model"):
        fit.run(train_config("stage=sft", f"init_from={tmp_path}/other.ckpt"))
    (tmp_path / "broken.ckpt").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match="broken.ckpt cannot be read"):
        fit.run(train_config("stage=sft", f"init_from={tmp_path}/broken.ckpt", "seed=1"))


def test_a_loss_without_a_weight_stops_at_step_one(train_config):
    cfg = train_config("stage=stage1")
    cfg.stage.module.loss_weights = {"text": 1.0}
    with pytest.raises(ValueError, match=r"losses \['latent', 'text'\] but weights for \['text'\]"):
        fit.run(cfg)


def plan(where, *items, size=None):
    """A row with one latent item for each helper image among texts."""
    sized = {} if size is None else {"latent_size": size}
    parts = [
        {"type": "latent", "helper_image": item} | sized if item.endswith(".png") else {"type": "text", "content": item}
        for item in items
    ]
    return {"text_input": "<image>Which way?", "image_input": where, "sequence_plan": parts}


@pytest.mark.parametrize("recurrence", ["sequential", "jacobi", "queries"])
def test_rows_with_any_number_of_blocks_train_in_both_stages_and_are_answered(data, train_config, tmp_path, recurrence):
    folder = data / "vsp-28px" / "images"
    maze, helpers = (
        min(folder.glob("level_3_train_*.png")),
        sorted(str(file) for file in folder.glob("*_train_*_path.png")),
    )
    rows = [
        plan(str(maze), "First ", helpers[0], " then ", helpers[15], "\\boxed{A}"),
        plan(str(maze), helpers[14], "\\boxed{B}", size=2),
        plan(str(maze), "No picture. \\boxed{C}"),
        plan(str(maze), "a", helpers[1], "b", helpers[16], "c", helpers[17], "\\boxed{D}", size=6),
    ]
    for split, question in (("train", "<image>Which way?"), ("val", "<image>Where to?")):
        asked = [json.dumps(row | {"text_input": question}) + "\n" for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("".join(asked))
    files = [f"task.{split}_file={tmp_path}/{split}.jsonl" for split in ("train", "val")]
    options = ["trainer.max_steps=8", "trainer.val_check_interval=8", f"recurrence={recurrence}", *files]
    options += ["recurrence.count=6"] if recurrence == "queries" else []
    for stage in ("stage1", "stage2", "guided"):
        losses = losses_of(train_config(f"stage={stage}", *options, "stage.module.schedule.warmup_steps=1"))
        assert losses[8] < losses[1]


@needs_shared
def test_the_official_sample_trains_as_it_is(train_config):
    rows = SHARED / "data" / "mirage_sample" / "sample.jsonl"
    files = [f"task.train_file={rows}", "task.val_file=null"]
    for stage in ("stage1", "stage2"):
        options = ["stage.starts=null", "trainer.max_steps=1"]
        assert fit.run(train_config(f"stage={stage}", *files, *options, "loader.batch_size=2"))["step"] == 1


def command(data, runs, *overrides):
    options = [*SMALL, f"data={data}", f"runs={runs}", "callbacks.progress=null", "callbacks.scores=null"]
    return [sys.executable, "-m", "mirage_pl.train", "stage=sft", *options, *overrides]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_mistake_deep_in_the_data_is_one_line_too(data, tmp_path, num_workers):
    row = json.loads((data / "vsp-28px" / "train.jsonl").read_text().splitlines()[0])
    row["image_input"] = "images/gone.png"
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    files = [f"task.train_file={tmp_path}/rows.jsonl", "task.val_file=null", f"loader.num_workers={num_workers}"]
    done = subprocess.run(command(data, tmp_path, *files), capture_output=True, text=True, cwd=REPO, check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1
    assert len(errors) == 1
    assert f"error: {tmp_path}/rows.jsonl:1: image {tmp_path}/images/gone.png does not exist" in errors[0]
    assert "Traceback" not in done.stderr


def test_a_study_without_multirun_says_what_is_missing(train_config):
    with pytest.raises(ValueError, match="study.name=study-vsp needs study.method; a whole study is run with -m"):
        fit.run(train_config("experiment=study/main"))


def test_a_mistake_ends_in_one_line_and_exit_code_1(data, tmp_path):
    done = subprocess.run(
        command(data, tmp_path, "task.train_file=nothing.jsonl"), capture_output=True, text=True, cwd=REPO, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "nothing.jsonl does not exist" in errors[0]
