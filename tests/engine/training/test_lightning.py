"""What is used of Lightning beyond its public interface; and no StopIteration ends an epoch."""

import json

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy

from mirage_pl.engine.training.lightning import attached_trainer, expect_unused
from tests.engine.training.toy import Rows, collate, new_data, new_module, train


def test_a_module_knows_its_trainer_or_that_it_has_none(tmp_path):
    module = new_module()
    assert attached_trainer(module) is None
    assert attached_trainer(train(tmp_path, module, max_steps=1).lightning_module) is not None


def test_gradients_are_clipped_with_a_fused_optimizer_and_bfloat16(tmp_path):
    fused = lambda groups: torch.optim.AdamW(groups, fused=True)  # noqa: E731
    options = {"precision": "bf16-mixed", "gradient_clip_val": 1.0}
    assert train(tmp_path, new_module(optimizer=fused), max_steps=1, **options).global_step == 1


def test_ddp_takes_the_option_to_wait_only_for_what_was_used():
    strategy = DDPStrategy()
    expect_unused(strategy)
    assert strategy._ddp_kwargs["find_unused_parameters"] is True


class Ends(pl.Callback):
    """A hook that leaves by StopIteration, as a bare ``next()`` does."""

    def __init__(self, hook):
        setattr(self, hook, lambda *_: next(iter([])))


@pytest.mark.parametrize(
    "hook", ["on_train_batch_start", "on_train_batch_end", "on_before_zero_grad", "on_validation_batch_end"]
)
def test_a_stop_iteration_in_a_callback_is_an_error_that_names_it(tmp_path, hook):
    with pytest.raises(RuntimeError, match=f"StopIteration left .*Ends.*{hook}"):
        train(tmp_path, callbacks=[Ends(hook)], max_steps=2, val_check_interval=1)


def test_a_stop_iteration_in_a_stage_is_an_error(tmp_path):
    module = new_module()
    module.losses = lambda batch: next(iter([]))
    with pytest.raises(RuntimeError, match="StopIteration left .*training_step"):
        train(tmp_path, module, max_steps=2)


class Ending(Rows):
    def __getitem__(self, index):
        return super().__getitem__(index) if index != 2 else next(iter([]))


def ending_collate(samples):
    return collate(samples) if all(sample.where != "rows:3" for sample in samples) else next(iter([]))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("split", ["training", "validation"])
@pytest.mark.parametrize("place", ["rows", "collator"])
def test_a_stop_iteration_in_a_data_set_or_collator_is_an_error_that_names_the_row(tmp_path, place, split, workers):
    size = {"size": 10, "val": 2} if split == "training" else {"size": 2, "val": 4}
    data = new_data(**size, rows=Ending if place == "rows" else Rows, num_workers=workers)
    if place == "collator":
        data.collate = ending_collate
    words = "StopIteration left Ending at row 2" if place == "rows" else "StopIteration left the collator .*rows:3"
    with pytest.raises(RuntimeError, match=words):
        train(tmp_path, data=data, max_steps=4, val_check_interval=1)


def test_an_epoch_that_yields_too_few_batches_is_an_error():
    data = new_data()
    data.setup("fit")
    loader = data.train_dataloader()
    loader.batches.global_batches = lambda generator: [[0, 1, 2]] * 2
    loader.batches.__class__ = type("Short", (type(loader.batches),), {"__iter__": lambda self: iter([[0], [1]])})
    with pytest.raises(RuntimeError, match="epoch 0 ended after 2 of 3 batches"):
        list(loader)


def test_steps_are_counted_with_one_optimizer_of_several():
    """See ``test_turns``; here only that Lightning's wrapper still has the two hooks."""
    optimizer = pl.core.optimizer.LightningOptimizer(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 1.0))
    assert callable(optimizer._on_before_step)
    assert callable(optimizer._on_after_step)


def test_the_place_in_the_data_is_plain_json(tmp_path):
    data = new_data()
    train(tmp_path, data=data, max_steps=2)
    assert json.loads(json.dumps(data.state_dict()))["handed_out"] == 2
