"""Several optimizers take one step a batch, each its own; a run of them resumes like any other."""

import pytest
import torch
from omegaconf import OmegaConf

from mirage_pl.engine.strategies.ready import check_optimizers
from mirage_pl.engine.training.optim import warmup
from mirage_pl.engine.training.turns import Turn, Turns
from tests.engine.training.test_ranks import TWO, Write, written
from tests.engine.training.toy import Net, Recorder, Stopped, new_data, places_of, same, train, weights_of


class Critical(Turns):
    """The inner layer guesses, and the outer one criticizes; ``calls`` counts who was asked."""

    def losses_in(self, turn, batch):
        self.calls[turn] = self.calls.get(turn, 0) + 1
        guess = self.net(batch.x) + 0.1 * torch.randn(len(batch))
        loss = (guess - batch.x).square().mean() if turn == "guess" else (guess + 1).square().mean()
        return {turn: loss}


def new_turns(begin=0, clip=None, kind=Critical, minimize=torch.optim.AdamW):
    torch.manual_seed(0)

    def turn(of, loss, begin=0, clip=None):
        optimizer = lambda groups: minimize(groups, lr=1e-2)  # noqa: E731
        schedule = lambda optimizer, steps: warmup(optimizer, steps, 1, "linear", 0.0)  # noqa: E731
        return Turn([of], {loss: [1.0, 2.0]}, optimizer, schedule, begin, clip)

    module = kind(Net(), {"guess": turn("net.inner", "guess"), "critic": turn("net.outer", "critic", begin, clip)})
    module.calls, module.seed = {}, 7
    return module


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("way", [{"max_steps": 5}, {"max_epochs": 2}])
def test_a_step_is_a_step_of_all_and_the_trainers_own_keys_hold(tmp_path, accumulate, way):
    recorder = Recorder(tmp_path)
    data = new_data(size=12)
    options = {"accumulate_grad_batches": accumulate, "gradient_clip_val": 0.5, **way}
    trainer = train(tmp_path, new_turns(), data, [recorder], **options)
    steps = way.get("max_steps", 2 * 4 // accumulate)
    assert trainer.global_step == steps
    assert len(recorder.batches) == steps * accumulate
    for optimizer in trainer.optimizers:
        states = list(optimizer.state.values())
        assert {int(state["step"]) for state in states} == {steps}
    assert [round(config.scheduler.get_last_lr()[0], 6) for config in trainer.lr_scheduler_configs] == [0.0, 0.0]


def test_each_trains_its_own_part_and_one_that_hasnt_begun_costs_nothing(tmp_path):
    before = {name: value.clone() for name, value in new_turns().state_dict().items()}
    module = new_turns(begin=3)
    metrics = train(tmp_path, module, new_data(val=None), max_steps=3).callback_metrics
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"net.inner.weight", "net.inner.bias"}
    assert module.calls == {"guess": 3}
    assert "train/critic" not in metrics
    module = new_turns(begin=3)
    metrics = train(tmp_path, module, new_data(), max_steps=4, val_check_interval=2).callback_metrics
    assert {"train/critic", "val/critic", "val/guess", "val/loss"} <= metrics.keys()
    assert not torch.equal(module.state_dict()["net.outer.weight"], before["net.outer.weight"])


def clipped_norm(folder, clip, **options):
    """Norm of the critic's gradient as its optimizer sees it."""
    norms = []

    class Norms(Critical):
        def on_before_optimizer_step(self, optimizer):
            norms.append(
                torch.nn.utils.get_total_norm(
                    [p.grad for group in optimizer.param_groups for p in group["params"]]
                ).item()
            )

    train(folder, new_turns(clip=clip, kind=Norms), new_data(), max_steps=1, **options)
    return norms


def test_each_has_its_own_clip_or_the_trainers(tmp_path):
    assert clipped_norm(tmp_path, 1e-5, gradient_clip_val=1e-4) == pytest.approx([1e-4, 1e-5], rel=1e-2)
    assert clipped_norm(tmp_path, None, gradient_clip_val=1e-4)[1] == pytest.approx(1e-4, rel=1e-2)
    assert clipped_norm(tmp_path, None)[1] > 1e-2


def test_accumulated_batches_are_one_larger_batch(tmp_path):
    class Exact(Critical):
        def losses_in(self, turn, batch):
            x = places_of(batch)[:, None] / 10
            guess = self.net.inner(x) if turn == "guess" else self.net.outer(x.expand(-1, 8))
            return {turn: (guess - x).square().mean()}

    ways = {4: {"max_steps": 3}, 2: {"max_steps": 3, "accumulate_grad_batches": 2}}
    runs = [
        train(tmp_path, new_turns(kind=Exact, minimize=torch.optim.SGD), new_data(size=24, batch_size=size), **way)
        for size, way in ways.items()
    ]
    for name, value in weights_of(runs[0]).items():
        torch.testing.assert_close(value, weights_of(runs[1])[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("way", [{"max_steps": 6}, {"max_epochs": 2}, {"max_steps": 4, "accumulate_grad_batches": 2}])
def test_it_resumes_bit_by_bit(tmp_path, way):
    straight = train(tmp_path, new_turns(begin=2), new_data(), [whole := Recorder(tmp_path)], **way)
    every = way.get("accumulate_grad_batches", 1)
    for stop in (every, 3 * every):
        folder = tmp_path / f"{stop}"
        folder.mkdir()
        first, second = Recorder(folder, stop), Recorder(folder)
        with pytest.raises(Stopped):
            train(folder, new_turns(begin=2), new_data(), [first], **way)
        trainer = train(folder, new_turns(begin=2), new_data(), [second], True, **way)
        assert first.batches + second.batches == whole.batches
        assert trainer.global_step == straight.global_step
        assert same(weights_of(trainer), weights_of(straight))


def test_two_ranks_learn_the_same_weights(tmp_path):
    train(tmp_path, new_turns(begin=1), new_data(size=12, batch_size=2), [Write(tmp_path)], max_steps=3, **TWO)
    assert written(tmp_path, 0)["weights"] == written(tmp_path, 1)["weights"]


def test_what_cant_be_is_refused_in_a_line(tmp_path):
    turn = new_turns().turns["guess"]
    with pytest.raises(ValueError, match="needs a first turn with begin: 0"):
        Critical(Net(), {"late": Turn(["net"], {"a": 1.0}, turn.optimizer, turn.schedule, begin=3)})
    with pytest.raises(ValueError, match="have a loss of the same name"):
        Critical(Net(), {"a": turn, "b": turn})
    for strategy in ("deepspeed_zero2", "fsdp2"):
        stage = {"name": "vae", "module": {"_target_": f"{__name__}.Critical"}}
        cfg = OmegaConf.create({"stage": stage, "strategy": {"name": strategy}})
        with pytest.raises(ValueError, match=f"strategy={strategy} takes one optimizer and stage=vae has several"):
            check_optimizers(cfg)
    module = new_turns()
    module.losses_in = lambda turn, batch: {"other": torch.zeros(())}
    with pytest.raises(ValueError, match=r"losses \['other'\] but weights for \['guess'\]"):
        train(tmp_path, module, new_data(), max_steps=1)


class Seldom(Critical):
    """The outer layer learns at every step but the first two, the inner one at those and then at every second step."""

    def begun(self):
        if not self.training:
            return list(self.turns)
        first = ["guess"] if self.step < 2 or self.step % 2 == 0 else []
        return [*first, *(["critic"] if self.step >= 2 else [])]


def test_turns_that_are_taken_at_some_steps_only_leave_steps_counted_once(tmp_path):
    recorder, module = Recorder(tmp_path), new_turns(kind=Seldom)
    trainer = train(tmp_path, module, new_data(size=12, val=None), [recorder], max_steps=7)
    assert (trainer.global_step, len(recorder.batches)) == (7, 7)
    taken = [{int(state["step"]) for state in optimizer.state.values()} for optimizer in trainer.optimizers]
    assert taken == [{5}, {5}]
    assert module.calls == {"guess": 5, "critic": 5}
