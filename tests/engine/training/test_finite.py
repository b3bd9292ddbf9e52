"""What isn't a number ends a run, in one line that says where, before a sound checkpoint is overwritten."""

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from callbacks.best import Best
from mirage_pl.engine.training.finite import Watch
from tests.engine.training.toy import Module, Recorder, new_data, new_module, train

BAD = "rows:4"


def has_bad(batch):
    return any(sample.where == BAD for sample in batch.samples)


class BadLoss(Module):
    value = float("nan")

    def losses(self, batch):
        losses = super().losses(batch)
        if self.training and has_bad(batch):
            losses["small"] = losses["small"] * self.value
        return losses


class InfiniteLoss(BadLoss):
    value = float("inf")


class BadGradient(Module):
    """A finite loss whose gradient isn't: the root of 0."""

    def losses(self, batch):
        losses = super().losses(batch)
        if self.training and has_bad(batch):
            losses["small"] = losses["small"] + (self.net.outer.weight * 0).sum().sqrt()
        return losses


class BadStep(Module):
    """Finite gradients, but the optimizer writes infinite weights."""

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if has_bad(batch):
            self.net.outer.weight.data.fill_(float("inf"))


def bad_place(folder, **way):
    """In which batch the bad row comes, from 1, and at which step."""
    recorder = Recorder(folder)
    train(folder, new_module(), new_data(), [recorder], max_epochs=2, **way)
    number = next(at for at, batch in enumerate(recorder.batches) if BAD in batch[1])
    return number + 1, recorder.batches[number][1], recorder.batches


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (BadLoss, "small is nan"),
        (InfiniteLoss, "small is inf"),
        (BadGradient, "the largest gradient is (nan|inf)"),
    ],
)
def test_a_run_ends_with_step_loss_and_rows_and_its_checkpoint_is_sound(tmp_path, kind, words, accumulate):
    way = {"accumulate_grad_batches": accumulate}
    number, rows, _ = bad_place(tmp_path, **way)
    step = -(-number // accumulate)
    saver = ModelCheckpoint(tmp_path, "last", every_n_train_steps=1, enable_version_counter=False)
    with pytest.raises(ValueError, match=f"^step {step}: {words}, with the rows .*{BAD}") as error:
        train(tmp_path, new_module(kind), new_data(), [saver], max_epochs=2, **way)
    assert "\n" not in str(error.value)
    if kind is BadLoss:
        assert all(row in str(error.value) for row in rows)
    last = tmp_path / "last.ckpt"
    if step > 1:
        checkpoint = torch.load(last, weights_only=True)
        assert checkpoint["global_step"] == step - 1
        assert all(weight.isfinite().all() for weight in checkpoint["state_dict"].values())
    else:
        assert not last.exists()


@pytest.mark.parametrize("kind", [BadLoss, BadGradient])
def test_the_last_step_counts_too(tmp_path, kind):
    number, *_ = bad_place(tmp_path)
    with pytest.raises(ValueError, match=f"^step {number}: "):
        train(tmp_path, new_module(kind), new_data(), max_steps=number)


def test_weights_that_an_optimizer_spoils_are_not_saved(tmp_path):
    saver = ModelCheckpoint(tmp_path, "last", every_n_train_steps=1, enable_version_counter=False)
    with pytest.raises(ValueError, match="(near|the largest weight) is (nan|inf|-inf)"):
        train(tmp_path, new_module(BadStep), new_data(), [saver], max_epochs=2)
    assert all(w.isfinite().all() for w in torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"].values())


class BadValidation(Module):
    """Validation isn't a number at first."""

    def losses(self, batch):
        losses = super().losses(batch)
        return (
            losses if self.training or self.global_step > 2 else {n: loss * float("nan") for n, loss in losses.items()}
        )


def test_a_validation_loss_that_isnt_a_number_makes_no_best_checkpoint(tmp_path):
    options = {"filename": "best", "monitor": "val/loss", "save_weights_only": True, "enable_version_counter": False}
    best = Best(tmp_path, **options)
    way = {"val_check_interval": 2}
    train(tmp_path, new_module(BadValidation), new_data(), [best], max_steps=2, **way)
    assert not list(tmp_path.glob("best*"))
    train(tmp_path, new_module(BadValidation), new_data(), [Best(tmp_path, **options)], max_steps=4, **way)
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["global_step"] == 4


def test_a_best_checkpoint_by_what_is_not_measured_is_refused_with_what_is(tmp_path):
    best = Best(tmp_path, filename="best", monitor="val/success")
    with pytest.raises(ValueError, match=r"callbacks.best.monitor=val/success isn't measured.*val/loss.*best=null"):
        train(tmp_path, new_module(Module), new_data(), [best], max_steps=2, val_check_interval=1)


def test_sound_values_pass_and_are_forgotten():
    watch = Watch()
    for step in range(3000):
        watch.note(step, {"loss": torch.tensor(1e30), "other": torch.tensor(-1e-30)}, ["a"])
        watch.await_flag(watch.take_flag(torch.device("cpu")))
        watch.check(None)
    assert len(watch.known) <= 1024
