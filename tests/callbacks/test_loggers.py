"""What is logged reaches every logger that was chosen, and goes on where an interrupted run left off."""

import csv
import sys

import pytest
import pytorch_lightning as pl
import torch
from PIL import Image
from torch.utils.data import DataLoader

from callbacks import loggers
from callbacks.hyperparameters import Hyperparameters
from callbacks.learning_rate import LearningRate
from callbacks.showing import show_picture, show_table
from mirage_pl.engine.runs.curves import read_curves
from tests.conftest import compose


class Line(pl.LightningModule):
    """Logs its loss, and shows a picture and a table at the end."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        loss = (self.layer(batch) - 1).square().mean()
        self.log("train/loss", loss)
        return loss

    def on_train_end(self):
        step = self.trainer.global_step
        show_picture(self.trainer.loggers, "answers of mine/0", Image.new("RGBA", (8, 6), "red"), step)
        show_table(self.trainer.loggers, "answers", ["row", "text"], [["a:1", "x|y\nz"]], step)

    def configure_optimizers(self):
        return {"optimizer": (made := torch.optim.SGD(self.parameters(), 0.1)), "lr_scheduler": schedule(made)}


def schedule(optimizer):
    return {"scheduler": torch.optim.lr_scheduler.ConstantLR(optimizer), "interval": "step"}


def fit(*chosen, steps=2, ckpt_path=None, root=None):
    shown = Hyperparameters({"lr": 0.1, "stage": "a.B", "none": None}, ["train/loss"])
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        logger=list(chosen) or False,
        callbacks=[shown, LearningRate()],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=root,
    )
    trainer.fit(Line(), DataLoader(torch.arange(8.0).view(8, 1) / 8, batch_size=1))
    return trainer


def test_csv_has_curves_config_pictures_and_tables_and_keeps_what_was_there(tmp_path):
    fit(loggers.CSV(str(tmp_path / "csv")))
    fit(loggers.CSV(str(tmp_path / "csv")), steps=3)
    with (tmp_path / "csv" / "metrics.csv").open() as file:
        losses = [line for line in csv.DictReader(file) if line["train/loss"]]
    assert [line["step"] for line in losses] == ["0", "1", "0", "1", "2"]
    assert [step for step, _ in read_curves(tmp_path)["train/loss"]] == [0, 1, 2]
    assert "lr: 0.1" in (tmp_path / "csv" / "hparams.yaml").read_text()
    with Image.open(tmp_path / "csv" / "answers_of_mine" / "0" / "step-3.png") as picture:
        assert picture.size == (8, 6)
    with (tmp_path / "csv" / "answers" / "step-3.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["row", "text"], ["a:1", "x|y\nz"]]


def test_wandb_is_written_to_the_run_folder_and_goes_on_as_the_same_run(tmp_path):
    pytest.importorskip("wandb")
    identities = set()
    for _ in range(2):
        logger = loggers.wandb(str(tmp_path), offline=True, project="p", name="n", group=None, tags=None, entity=None)
        fit(logger)
        identities.add(logger.experiment.id)
        logger.experiment.finish()
    assert len(identities) == 1
    (first, *_) = sorted(tmp_path.glob("wandb/offline-run-*"))
    assert list(first.glob("*.wandb"))
    assert len(list(first.glob("files/media/images/answers of mine/*.png"))) == 1
    assert list(first.glob("files/media/table/*.json"))


def test_wandb_without_a_key_says_how_to_get_one(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(wandb.api, "settings", lambda *_: None, raising=False)
    monkeypatch.setattr(type(wandb.api), "api_key", None, raising=False)
    with pytest.raises(ValueError, match=r"logger=wandb has no API key; .*logger.wandb.offline=true"):
        loggers.wandb(str(tmp_path), offline=False)


def test_mlflow_keeps_curves_pictures_and_tables_in_a_file_and_goes_on_as_the_same_run(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    store, artifacts = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "artifacts"
    runs = set()
    for steps in (2, 3):
        logger = loggers.mlflow(str(tmp_path / "run"), store, str(artifacts), "task", "name")
        fit(logger, steps=steps)
        runs.add(logger.run_id)
    assert len(runs) == 1
    client = mlflow.tracking.MlflowClient(store)
    (run_id,) = runs
    assert {point.step for point in client.get_metric_history(run_id, "train/loss")} == {0, 1, 2}
    assert client.get_run(run_id).data.params["stage"] == "B"
    names = {file.name for file in artifacts.rglob("*") if file.is_file()}
    assert "step-3.md" in names
    assert any(name.startswith("answers_of_mine") and name.endswith(".png") for name in names)


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_logger_whose_package_is_missing_names_the_extra(tmp_path, monkeypatch, name):
    monkeypatch.setattr(loggers, "find_spec", lambda package: None)
    node = compose("train", f"logger={name}", f"runs={tmp_path}").logger[name]
    options = {key: value for key, value in node.items() if key != "_target_"}
    with pytest.raises(ValueError, match=rf"logger={name} needs the package {name}.*mirage_pl\[{name}\]"):
        getattr(loggers, name)(**options)


def test_a_run_without_any_logger_trains(tmp_path):
    assert fit(root=tmp_path).global_step == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "names"),
    [([], ["tensorboard"]), (["logger=csv"], ["csv"]), (["logger=[csv,wandb]"], ["csv", "wandb"]), (["logger=[]"], [])],
)
def test_loggers_are_chosen_one_or_several_or_none(words, names):
    assert list(compose("train", *words).logger) == names


def test_null_is_no_logger_and_no_experiment(monkeypatch, capsys):
    from mirage_pl import train

    monkeypatch.setattr(sys, "argv", ["train", "logger=null", "experiment=null", "--cfg", "job", "--package", "logger"])
    train.main()
    assert capsys.readouterr().out.splitlines()[-1] == "{}"
