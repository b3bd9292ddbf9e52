"""Measures, numbers and pictures during training, and that training doesn't notice."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.scores import Scores, side_by_side
from mirage_pl.mirage.model.latents import LatentVLM
from tests.engine.training.test_train import losses_of, scalars

MEASURES = {
    "near": SimpleNamespace(kind="share", better="higher"),
    "error": SimpleNamespace(kind="mean", better="lower"),
    "spread": SimpleNamespace(kind="set", better="lower"),
    "same": SimpleNamespace(kind="share", better="higher"),
}


class Trial:
    """Says of each number how far it is from 110; every fifth can't be graded."""

    hidden = ("same",)

    def __init__(self, evaluation, numbers):
        self.evaluation, self.numbers = evaluation, numbers

    def score(self, condition):
        self.evaluation.scored.append((condition, self.numbers))
        for number in self.numbers:
            error = None if number % 5 == 0 else float(abs(number - 110))
            yield [{"where": f"n:{number}", "id": "x", "near": error and error < 10, "error": error, "same": True}]

    def over_all(self, condition, rows):
        return {"spread": len(rows)}

    def describe(self):
        return (
            {"norm": torch.tensor(2.5), "found": {"mean": 0.25, "low": 0, "high": 1}} if self.evaluation.looks else {}
        )

    def pictures(self, rows):
        if self.evaluation.looks:
            yield "plane", Image.new("P", (4, 3))
            for row in rows:
                yield f"row-{self.numbers[row]}", Image.new("P", (4, 3))

    def draw(self, row):
        if row["where"] in self.evaluation.broken:
            raise StopIteration
        yield "", Image.new("RGB", (4, 3))
        yield "truth", [Image.new("RGB", (4, 3))] * 2


class Evaluation:
    name, measures, numbers_in, looks = "closeness", MEASURES, "insides", True

    def __init__(self):
        self.scored, self.broken = [], ()

    def open(self, module, data, once, split="test", picks=None):
        assert split == "val"
        return Trial(self, [data.datasets[split][index] for index in picks])


class Module(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.logged = {}

    def log(self, name, value, **options):
        self.logged[name] = value


def trainer_of(tmp_path, rows=50, validates=True, first=True, checkpoints=()):
    datasets = {} if rows is None else {"val": list(range(100, 100 + rows))}
    return SimpleNamespace(
        datamodule=SimpleNamespace(datasets=datasets),
        enable_validation=validates,
        sanity_checking=False,
        loggers=[TensorBoardLogger(tmp_path)],
        is_global_zero=first,
        global_step=7,
        checkpoint_callbacks=list(checkpoints),
        strategy=SimpleNamespace(broadcast=lambda content: content),
    )


def board_of(trainer):
    trainer.loggers[0].experiment.flush()
    board = EventAccumulator(trainer.loggers[0].log_dir)
    board.Reload()
    return board


@pytest.fixture
def callback():
    return Scores(Evaluation(), num_items=12, num_shown=2, numbers="inside")


def test_each_validation_scores_the_same_items_once_and_logs_means_of_what_was_graded(tmp_path, callback):
    trainer, module = trainer_of(tmp_path), Module()
    callback.on_validation_epoch_end(trainer, module)
    ((condition, numbers),) = callback.evaluation.scored
    assert condition == "own"
    assert len(set(numbers)) == 12
    errors = [abs(number - 110) for number in numbers if number % 5]
    assert module.logged == {
        "val/near": pytest.approx(sum(error < 10 for error in errors) / len(errors)),
        "val/error": pytest.approx(sum(errors) / len(errors)),
        "val/spread": 12,
        "inside/norm": 2.5,
        "inside/found": 0.25,
    }
    callback.on_validation_epoch_end(trainer, module)
    assert [scored[1] for scored in callback.evaluation.scored] == [numbers, numbers]


def test_some_items_are_shown_as_pictures_and_as_a_table(tmp_path, callback):
    trainer = trainer_of(tmp_path)
    callback.on_validation_epoch_end(trainer, Module())
    board, numbers = board_of(trainer), callback.evaluation.scored[0][1]
    assert board.Tags()["images"] == ["closeness/0", "closeness/1"]
    (text,) = board.Tensors("closeness/text_summary")
    table = text.tensor_proto.string_val[0].decode()
    assert table.splitlines()[0] == "| where | near | error |"
    assert [line.split(" | ")[0] for line in table.splitlines()[2:]] == [f"| n:{number}" for number in numbers[:2]]


def test_an_item_that_can_not_be_drawn_stops_nothing(tmp_path, callback):
    trainer = trainer_of(tmp_path)
    callback.evaluation.broken = [f"n:{number}" for number in range(100, 150)]
    with pytest.warns(UserWarning, match=r"n:\d+ can't be drawn"):
        callback.on_validation_epoch_end(trainer, Module())
    assert board_of(trainer).Tags()["images"] == []


def test_after_training_the_last_validations_items_are_drawn_without_scoring_them_again(tmp_path, callback):
    trainer, module = trainer_of(tmp_path), Module()
    callback.on_validation_epoch_end(trainer, module)
    callback.on_train_end(trainer, module)
    ((_, numbers),) = callback.evaluation.scored
    shown = [tag for tag in board_of(trainer).Tags()["images"] if tag.startswith("insides")]
    assert shown == ["insides/plane", f"insides/row-{numbers[0]}", f"insides/row-{numbers[1]}"]
    trainer.global_step = 9
    callback.on_train_end(trainer, module)
    assert len(callback.evaluation.scored) == 2, "the weights are others now"
    assert module.training


def test_a_validation_set_may_be_smaller_than_what_is_wanted(tmp_path, callback):
    trainer, module = trainer_of(tmp_path, rows=2), Module()
    callback.on_validation_epoch_end(trainer, module)
    callback.on_train_end(trainer, module)
    assert module.logged["val/spread"] == 2
    assert callback.evaluation.scored == [("own", [100, 101])]


def test_nothing_is_scored_without_a_validation_set_or_an_evaluation_nor_drawn_without_validation(tmp_path, callback):
    module = Module()
    for other, trainer in (
        (callback, trainer_of(tmp_path, rows=None)),
        (Scores(None, 12, 2, "inside"), trainer_of(tmp_path)),
    ):
        other.setup(trainer, module, "fit")
        other.on_validation_epoch_end(trainer, module)
        other.on_train_end(trainer, module)
    callback.on_train_end(trainer_of(tmp_path, validates=False), module)
    assert (module.logged, callback.evaluation.scored) == ({}, [])


def test_what_is_not_there_is_not_logged(tmp_path, callback):
    trainer, module = trainer_of(tmp_path), Module()
    callback.evaluation.looks = False
    callback.on_validation_epoch_end(trainer, module)
    callback.on_train_end(trainer, module)
    assert set(module.logged) == {"val/near", "val/error", "val/spread"}
    assert not any(tag.startswith("insides") for tag in board_of(trainer).Tags()["images"])


@pytest.mark.parametrize("split", [False, True])
def test_other_ranks_log_what_the_first_found_and_score_only_where_weights_are_in_parts(tmp_path, callback, split):
    trainer, module = trainer_of(tmp_path, first=False), Module()
    module.split = split
    trainer.strategy.broadcast = lambda content: ({"near": 0.5}, {"norm": 1.0})
    callback.on_validation_epoch_end(trainer, module)
    callback.on_train_end(trainer, module)
    assert module.logged == {"val/near": 0.5, "inside/norm": 1.0}
    assert len(callback.evaluation.scored) == split
    assert board_of(trainer).Tags()["images"] == []


def test_a_checkpoint_chosen_by_a_measure_takes_its_direction(tmp_path, callback):
    monitors = {"val/near": "max", "val/error": "min", "val/loss": "min"}
    checkpoints = [ModelCheckpoint(tmp_path, monitor=name, mode="min") for name in monitors]
    callback.setup(trainer_of(tmp_path, checkpoints=checkpoints), Module(), "fit")
    assert [checkpoint.mode for checkpoint in checkpoints] == list(monitors.values())
    better = checkpoints[0]
    assert better.check_monitor_top_k(SimpleNamespace(strategy=None), torch.tensor(0.1))
    assert better.kth_value == -np.inf


def test_the_best_checkpoint_may_be_the_one_of_most_success(train_config, tmp_path, monkeypatch):
    from mirage_pl.engine.evaluation.answers import AnswersTrial
    from mirage_pl.engine.training import fit

    shares = iter([0.25, 0.75, 0.5])
    monkeypatch.setattr(
        AnswersTrial,
        "score",
        lambda self, condition: iter([[{"where": "x:1", "success": share} for share in [next(shares)]]]),
    )
    options = ["stage=sft", "trainer.max_steps=3", "trainer.val_check_interval=1", f"run_dir={tmp_path}/run"]
    options += ["callbacks.best.monitor=val/success", "callbacks.scores.evaluation.interventions=null"]
    fit.run(train_config(*options))
    best = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["global_step"] == 2


def test_training_does_not_notice_and_tensorboard_has_numbers_and_pictures(
    train_config, tmp_path, processor, monkeypatch
):
    """The model says nothing but ``<|latent_start|>``; the training loss takes its logits elsewhere."""
    start = processor.tokenizer.convert_tokens_to_ids("<|latent_start|>")
    spoken = torch.nn.functional.one_hot(torch.tensor(start), 384).float()
    monkeypatch.setattr(LatentVLM, "logits", lambda _, hidden_MD: spoken.expand(*hidden_MD.shape[:-1], -1))
    options = ["stage=stage2", "stage.starts=null", "trainer.max_steps=4", "trainer.val_check_interval=2"]
    states, losses = [], []
    for name, extra in (("with", "callbacks.scores.num_shown=1"), ("without", "callbacks.scores=null")):
        losses.append(losses_of(train_config(*options, f"run_dir={tmp_path}/{name}", extra)))
        states.append((torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()))
    assert losses[0] == losses[1]
    assert states[0] == states[1]
    numbers, images = scalars(tmp_path / "with")
    for name in ("retrieved", "cosine_across", "cosine_within", "effective_rank", "norm"):
        assert len(numbers[f"latent/{name}"]) == 2
    assert len(numbers["val/success"]) == len(numbers["val/invalid"]) == 2
    assert {"latents/geometry", "latents/plane", "latents/row-0", "answers/0"} <= set(images)
    plain = scalars(tmp_path / "without")
    assert not any(tag.startswith(("latent", "answers", "val/success")) for tags in plain for tag in tags)


def test_pictures_of_different_sizes_share_a_panel():
    panel = side_by_side([Image.new("RGB", (84, 84), "red"), Image.new("RGB", (200, 320), "blue")], gap=4)
    assert panel.size == (168 + 4 + 200, 320)
    assert panel.getpixel((0, 0)) == (255, 0, 0)
    assert panel.getpixel((170, 0)) == (255, 255, 255)
