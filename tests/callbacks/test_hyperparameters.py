from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from mirage_pl.engine.training import fit


def read_back(run):
    """Columns, metrics and values of the HParams tab, and whether the run has ended."""
    board = EventAccumulator(str(Path(run) / "tensorboard"))
    board.Reload()
    found = {tag: HParamsPluginData.FromString(content) for tag, content in board.PluginTagToContent("hparams").items()}
    columns = found["_hparams_/experiment"].experiment
    given = found["_hparams_/session_start_info"].session_start_info.hparams
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in given.items()}
    assert set(values) == {column.name for column in columns.hparam_infos}
    return values, [metric.name.tag for metric in columns.metric_infos], "_hparams_/session_end_info" in found


def test_every_run_has_its_row_with_the_same_columns(train_config):
    sft, stage1 = (train_config(*given) for given in (["stage=sft"], ["stage=stage1", "latent_size=2", "seed=7"]))
    fit.run(sft)
    fit.run(stage1)
    baseline, latent = read_back(sft.run_dir), read_back(stage1.run_dir)
    assert baseline[0].keys() == latent[0].keys()
    assert baseline[0]["stage"] == "sft"
    expected = {"stage": "stage1", "task": "vsp", "model": "tiny", "latent_size": 2, "seed": 7, "lr": 2e-3}
    expected |= {"compression": "Average", "feedback": "Raw", "recurrence": "Sequential", "batch_size": 4}
    assert latent[0] == expected | {"method": "none", "max_steps": 3, "strategy": "auto"}
    assert latent[1:] == (["train/loss", "val/loss", "val/success"], True)


def test_a_run_without_tensorboard_trains(train_config):
    cfg = train_config("stage=sft", "trainer.max_steps=1", "logger=csv")
    assert fit.run(cfg)["step"] == 1


def test_a_run_that_breaks_off_has_its_row_but_has_not_ended(train_config):
    cfg = train_config("stage=sft")
    cfg.stage.module.loss_weights = {"typo": 1.0}
    with pytest.raises(ValueError, match="weights for"):
        fit.run(cfg)
    values, _, ended = read_back(cfg.run_dir)
    assert (values["stage"], ended) == ("sft", False)
