"""Numbers and pictures of latents during training, and that training doesn't notice."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from callbacks.latents import Latents
from mirage_pl.mirage.model.latents import LatentVLM
from tests.engine.training.test_train import losses_of, scalars


class Probe:
    """What a module hands out; says which rows it was made of."""

    def __init__(self, samples, generations, names=("zero",)):
        self.samples, self.generations, self.names = samples, generations, names

    def describe(self):
        return {"rows": len(self.samples), "norm": torch.tensor(2.5), "retrieved": {"mean": 0.25, "low": 0, "high": 1}}

    def pictures(self, rows):
        yield "plane", Image.new("P", (4, 3))
        for row in rows:
            yield f"row-{self.samples[row]}", Image.new("P", (4, 3))


class Module:
    """Answers with what it was asked."""

    device, names = "cpu", ("zero",)

    def __init__(self):
        self.answered, self.logged = [], {}

    def eval(self):
        return self

    def generate(self, prompts, max_new_tokens):
        self.answered.append((prompts.tolist(), max_new_tokens))
        return prompts

    def interventions(self, collate, samples, generations, max_new_tokens):
        return Probe(samples, generations, self.names)

    def log(self, name, value, **options):
        self.logged[name] = value


class Untold(Module):
    interventions = property()  # hasattr says no


def trainer_of(tmp_path, rows=50, latents=True, validates=True):
    collate = SimpleNamespace(prompts=torch.tensor, latents=latents)
    datasets = {} if rows is None else {"val": list(range(100, 100 + rows))}
    return SimpleNamespace(
        datamodule=SimpleNamespace(datasets=datasets, collate=collate, loader=SimpleNamespace(eval_batch_size=5)),
        enable_validation=validates,
        logger=TensorBoardLogger(tmp_path),
        is_global_zero=True,
        global_step=7,
    )


def images_of(trainer):
    trainer.logger.experiment.flush()
    board = EventAccumulator(trainer.logger.log_dir)
    board.Reload()
    return board.Tags()["images"]


def test_each_validation_describes_the_same_rows_and_a_share_without_its_interval(tmp_path):
    trainer, module, callback = trainer_of(tmp_path), Module(), Latents(12, 2, 9)
    callback.on_validation_epoch_end(trainer, module)
    assert module.logged == {"latent/rows": 12, "latent/norm": 2.5, "latent/retrieved": 0.25}
    assert [len(rows) for rows, _ in module.answered] == [5, 5, 2]
    assert {tokens for _, tokens in module.answered} == {9}
    first = [row for rows, _ in module.answered for row in rows]
    assert len(set(first)) == 12
    module.answered.clear()
    callback.on_validation_epoch_end(trainer, module)
    assert [row for rows, _ in module.answered for row in rows] == first


def test_after_training_some_of_these_rows_are_drawn(tmp_path):
    trainer, module = trainer_of(tmp_path), Module()
    Latents(12, 2, 9).on_train_end(trainer, module)
    rows = [row for rows, _ in module.answered for row in rows]
    assert images_of(trainer) == ["latents/plane", f"latents/row-{rows[0]}", f"latents/row-{rows[1]}"]


def test_a_validation_set_may_be_smaller_than_what_is_wanted(tmp_path):
    trainer, module = trainer_of(tmp_path, rows=1), Module()
    callback = Latents(12, 2, 9)
    callback.on_validation_epoch_end(trainer, module)
    callback.on_train_end(trainer, module)
    assert module.logged["latent/rows"] == 1
    assert images_of(trainer) == ["latents/plane", "latents/row-100"]


@pytest.mark.parametrize(
    ("options", "kind"), [({"latents": False}, Module), ({"rows": None}, Module), ({}, Untold)], ids=str
)
def test_nothing_is_answered_where_there_can_be_no_latents(tmp_path, options, kind):
    trainer, module, callback = trainer_of(tmp_path, **options), kind(), Latents(12, 2, 9)
    callback.on_validation_epoch_end(trainer, module)
    callback.on_train_end(trainer, module)
    assert module.answered == []
    assert module.logged == {}


def test_nothing_is_logged_where_no_answer_has_latents_and_nothing_drawn_without_validation(tmp_path):
    trainer, module, callback = trainer_of(tmp_path, validates=False), Module(), Latents(12, 2, 9)
    module.names = ()
    callback.on_validation_epoch_end(trainer, module)
    assert module.answered
    assert module.logged == {}
    module.answered.clear()
    callback.on_train_end(trainer, module)
    assert module.answered == []


def test_training_does_not_notice_and_tensorboard_has_numbers_and_pictures(
    train_config, tmp_path, processor, monkeypatch
):
    """The model says nothing but ``<|latent_start|>``; the training loss takes its logits elsewhere."""
    start = processor.tokenizer.convert_tokens_to_ids("<|latent_start|>")
    said = torch.nn.functional.one_hot(torch.tensor(start), 384).float()
    monkeypatch.setattr(LatentVLM, "logits", lambda _, hidden_MD: said.expand(*hidden_MD.shape[:-1], -1))
    options = ["stage=stage2", "stage.starts=null", "trainer.max_steps=4", "trainer.val_check_interval=2"]
    states, losses = [], []
    for name, extra in (("with", "callbacks.latents.num_shown=1"), ("without", "callbacks.latents=null")):
        losses.append(losses_of(train_config(*options, f"run_dir={tmp_path}/{name}", extra)))
        states.append((torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()))
    assert losses[0] == losses[1]
    assert states[0] == states[1]
    numbers, images = scalars(tmp_path / "with")
    for name in ("retrieved", "cosine_across", "cosine_within", "effective_rank", "norm"):
        assert len(numbers[f"latent/{name}"]) == 2
    assert {"latents/geometry", "latents/plane", "latents/row-0"} <= set(images)
    plain = scalars(tmp_path / "without")
    assert not any(tag.startswith("latent") for tags in plain for tag in tags)
