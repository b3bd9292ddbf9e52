"""A loss counts by its terms."""

from types import SimpleNamespace

import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.optim import parameter_groups
from tests.conftest import REPO, compose
from tests.engine.training.toy import Module, new_data, new_module, train


class Means(BaseModule):
    """A batch is a list of numbers; the loss is their mean, and another that of the positive ones."""

    def losses(self, batch):
        return {"all": torch.tensor(batch).mean(), "positive": torch.tensor([n for n in batch if n > 0]).mean()}

    def terms(self, batch):
        return {"all": len(batch), "positive": sum(n > 0 for n in batch)}

    def log_dict(self, *_, **__):
        """No trainer, no log."""


def module_in_step(batches, num_ranks=1, others=(0, 0, 0)):
    """A module whose optimizer step has these batches, and on other ranks so many terms and faults."""
    module = Means(torch.nn.Linear(1, 1), {"all": 1.0, "positive": 10.0}, None, None, 0.0)
    module._trainer = SimpleNamespace(
        world_size=num_ranks,
        accumulate_grad_batches=len(batches),
        train_dataloader=SimpleNamespace(step_batches=batches),
        strategy=SimpleNamespace(reduce=lambda own, reduce_op: own + torch.tensor(others)),
        global_step=0,
        estimated_stepping_batches=1,
    )
    return module


def test_the_mean_of_a_steps_losses_is_the_mean_over_all_its_terms():
    batches = [[1.0, 2.0, -3.0], [7.0]]
    module = module_in_step(batches)
    losses = [module.training_step(batch, index) for index, batch in enumerate(batches)]
    assert sum(losses).item() / 2 == pytest.approx((1 + 2 - 3 + 7) / 4 + 10 * (1 + 2 + 7) / 3)


def test_terms_on_other_ranks_count():
    module = module_in_step([[1.0, 5.0]], num_ranks=2, others=(6, 2, 0))  # 2 of 8 terms are here, and 2 of 4
    assert module.training_step([1.0, 5.0], 0).item() == pytest.approx(2 * (2 / 8 * 3 + 10 * 2 / 4 * 3))


def test_a_batch_alone_in_its_step_is_just_its_loss():
    assert module_in_step([[1.0, 5.0]]).training_step([1.0, 5.0], 0).item() == pytest.approx(33.0)


def test_a_cast_module_has_its_weights_in_fewer_bits_and_its_buffers_as_they_were():
    module = Means(torch.nn.Linear(1, 1), {"all": 1.0, "positive": 10.0}, None, None, 0.0)
    module.net.register_buffer("frequencies", torch.tensor([1 / 3]))
    module.net.register_buffer("places", torch.tensor([7]))
    module.to(torch.bfloat16).bfloat16()
    assert module.net.weight.dtype == torch.bfloat16
    assert module.net.frequencies.tolist() == torch.tensor([1 / 3]).tolist()
    assert module.net.places.dtype == torch.int64
    assert module.double().net.frequencies.dtype == torch.float64


def options_by_weight(optimizer, module):
    """Name of a weight -> learning rate and decay of its group."""
    names = {id(weight): name for name, weight in module.named_parameters()}
    return {names[id(w)]: (g["initial_lr"], g["weight_decay"]) for g in optimizer.param_groups for w in g["params"]}


def test_parts_have_their_own_learning_rate_and_decay(tmp_path):
    parts = {
        "net.outer": {"lr": 1e-3, "weight_decay": 0.5, "decay_all": True},
        "net.inner": {"lr": 1e-4},
        "net.inner.bias": {"lr": 1e-5},
    }
    module = new_module(Module, parts=parts)
    trainer = train(tmp_path, module, new_data(val=None), max_steps=1)
    assert options_by_weight(trainer.optimizers[0], module) == {
        "net.outer.weight": (1e-3, 0.5),
        "net.outer.bias": (1e-3, 0.5),
        "net.inner.weight": (1e-4, 0.1),
        "net.inner.bias": (1e-5, 0.0),
    }


def test_parts_that_name_nothing_trained_are_refused(tmp_path):
    for parts, frozen in (({"net.outre": {"lr": 1e-3}}, False), ({"net.outer": {"lr": 1e-3}}, True)):
        module = new_module(Module, parts=parts)
        module.net.outer.requires_grad_(not frozen)
        with pytest.raises(ValueError, match=rf"stage.module.parts.{next(iter(parts))} names nothing that is trained"):
            train(tmp_path, module, new_data(val=None), max_steps=1)


@pytest.mark.parametrize("stage", sorted(file.stem for file in (REPO / "conf" / "stage").glob("*.yaml")))
def test_every_stage_takes_parts_from_the_command_line(stage):
    given = "{net.backbone.lm_head: {lr: 1e-5}}"
    module = instantiate(compose("train", f"stage={stage}", f"stage.module.parts={given}").stage.module)
    groups = parameter_groups(module, module.weight_decay, module.part_options)
    head = module.net.backbone.lm_head.weight
    assert [group.get("lr") for group in groups if any(weight is head for weight in group["params"])] == [1e-5]
