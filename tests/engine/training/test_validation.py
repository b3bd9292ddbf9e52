"""A validation loss is the mean over its terms, however the rows are cut into batches."""

from types import SimpleNamespace

import pytest
import torch

from mirage_pl.engine.training.means import Means
from tests.engine.training.toy import Module, new_data, new_module, train

WORDS = [1, 2, 30, 4, 5]


class Words(Module):
    """``near`` is a mean over the words of all rows, ``small`` over rows, ``rare`` over rows of one word."""

    def losses(self, batch):
        words = torch.tensor([float(WORDS[int(sample.where.split(":")[1]) - 1]) for sample in batch.samples])
        self.observe({"longest": words.max()})
        rare = words[words == 1]
        near = (words * words).sum() / words.sum() + 0 * self.net(batch.x).sum()
        return {"near": near, "small": words.mean(), "rare": rare.sum() / max(1, len(rare))}

    def terms(self, batch):
        words = [WORDS[int(sample.where.split(":")[1]) - 1] for sample in batch.samples]
        return {"near": sum(words), "small": len(words), "rare": words.count(1)}


@pytest.mark.parametrize("eval_batch_size", [1, 2, 3, 4, 5])
def test_it_doesnt_depend_on_the_batch_size(tmp_path, eval_batch_size):
    module = new_module(Words, loss_weights={"near": 2.0, "small": 0.5, "rare": 1.0})
    data = new_data(size=5, val=5, batch_size=5, eval_batch_size=eval_batch_size)
    metrics = train(tmp_path, module, data, max_steps=1, val_check_interval=1).callback_metrics
    near, small = sum(n * n for n in WORDS) / sum(WORDS), sum(WORDS) / len(WORDS)
    assert metrics["val/near"].item() == pytest.approx(near, rel=1e-6)
    assert metrics["val/small"].item() == pytest.approx(small, rel=1e-6)
    assert metrics["val/rare"].item() == 1
    assert metrics["val/loss"].item() == pytest.approx(2 * near + 0.5 * small + 1, rel=1e-6)
    assert "train/longest" in metrics
    assert "val/longest" in metrics


def test_what_isnt_a_loss_is_logged_and_not_weighed(tmp_path):
    module = new_module(Words, loss_weights={"near": 0.0, "small": 1.0, "rare": 0.0})
    metrics = train(
        tmp_path, module, new_data(size=5, val=5, batch_size=5, eval_batch_size=5), max_steps=1, val_check_interval=1
    ).callback_metrics
    assert metrics["train/longest"] == metrics["val/longest"] == 30
    assert metrics["train/loss"] == metrics["train/small"]


def test_ranks_add_up_and_a_name_without_terms_is_left_out():
    here, there = Means(), Means()
    here.add("text", torch.tensor(2.0), 3)
    there.add("text", torch.tensor(4.0), 1)
    here.add("latent", torch.tensor(0.0), 0)
    there.add("latent", torch.tensor(5.0), 2)
    for means in (here, there):
        means.add("none", torch.tensor(float("nan")), 0)
    sent = []
    cpu = torch.device("cpu")
    there.over_all(SimpleNamespace(root_device=cpu, reduce=lambda own, reduce_op: sent.append(own) or own + 1))
    means = here.over_all(SimpleNamespace(root_device=cpu, reduce=lambda own, reduce_op: own + sent[0]))
    assert means == {"latent": 5.0, "text": 2.5}
