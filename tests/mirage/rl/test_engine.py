"""What acts in the policy's place is given its weights, and the policy learns from what it did as from its own."""

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mirage_pl.engine.rl import acting
from mirage_pl.engine.rl.engines import load_weights
from mirage_pl.engine.training import fit
from tests.contract.stages import Stage
from tests.mirage.rl.elsewhere import Elsewhere
from tests.mirage.rl.test_policy import roll

FEW = ["trainer.max_steps=4", "trainer.val_check_interval=4", "trainer.limit_val_batches=0", "rollouts.epochs=2"]
TARGET = "tests.mirage.rl.elsewhere.Elsewhere"


def train(data, folder, *more):
    cfg = Stage("grpo").compose(data, f"runs={folder}", "stage.starts=null", "callbacks.scores=null", *FEW, *more)
    metrics = fit.run(cfg)
    return metrics, torch.load(f"{cfg.run_dir}/checkpoints/last.ckpt", weights_only=True)


@pytest.fixture(scope="module")
def alone(data, tmp_path_factory):
    return train(data, tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("likely", [False, True])
def test_a_run_with_an_engine_learns_what_one_without_it_does(alone, data, tmp_path, likely, monkeypatch):
    engines, init = [], Elsewhere.__init__
    monkeypatch.setattr(Elsewhere, "__init__", lambda self, *a, **k: engines.append(self) or init(self, *a, **k))
    engine = f"engine={{_target_: {TARGET}, _partial_: true, data: {data}, likely: {likely}}}"
    metrics, saved = train(data, tmp_path, engine)
    (elsewhere,) = engines
    assert elsewhere.loaded == 2, "once a round"
    assert [step for step, _ in elsewhere.rolled] == [0, 2]
    for name in ("train/reward", "train/length", "train/loss"):
        assert metrics[name] == pytest.approx(alone[0][name], rel=1e-4, abs=1e-6)
    for name, weight in alone[1]["state_dict"].items():
        torch.testing.assert_close(saved["state_dict"][name], weight, rtol=1e-4, atol=1e-7)
    for own, other in zip(alone[1]["round"]["rollouts"], saved["round"]["rollouts"], strict=True):
        assert own["record"]["tokens"] == other["record"]["tokens"]
        torch.testing.assert_close(own["old"]["text"], other["old"]["text"], rtol=0, atol=1e-4)


def test_only_training_makes_an_engine(data):
    given = f"engine={{_target_: {TARGET}, data: {data}}}"
    with pytest.raises(InstantiationException, match="engine=Elsewhere is there already; give it _partial_: true"):
        instantiate(Stage("grpo").compose(data, given).stage.module)
    module = instantiate(Stage("grpo").compose(data, given.replace("}", ", _partial_: true}")).stage.module)
    assert module.engine is None


def test_weights_that_an_engine_does_not_take_are_read_all_the_same(data, random_net):
    """Where they are in parts, all processes have to gather each of them."""
    read = []
    net = torch.nn.ModuleDict({"a": torch.nn.Linear(2, 2), "b": torch.nn.Linear(2, 2)})
    load_weights(type("Lazy", (), {"load": lambda self, weights: read.append(next(weights)[0])})(), net)
    assert read == ["a.weight"]
    seen = []
    load_weights(type("Keen", (), {"load": lambda self, weights: seen.extend(weights)})(), net)
    assert [name for name, _ in seen] == [name for name, _ in net.named_parameters()]


@pytest.mark.parametrize("latents", ["recompute", "sampled", "vlpo"])
def test_rollouts_are_scored_action_by_action_of_each_kind(data, latents, monkeypatch):
    """As many as were recorded, each rollout's by itself, though they are scored together."""
    torch.manual_seed(0)
    cfg = Stage("grpo").compose(data, f"latents={latents}", "answering.max_new_tokens=20")
    module, collate = instantiate(cfg.stage.module).eval(), instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    logits = module.net.logits

    def eager(hidden):
        values = logits(hidden).clone()
        values[..., module.decoder.latent_start] = values.amax(-1) - 1
        return values

    module.net.logits = eager
    rollouts = roll(module.policy, collate, {0: rows[0], 5: rows[5]}, group=3)
    monkeypatch.setattr(acting.Acting, "collate", collate)
    loader = type("Data", (), {"loader": type("Loader", (), {"batch_size": 4})})
    module._trainer = type("Trainer", (), {"datamodule": loader})()
    with torch.no_grad():
        scores = module.score(rollouts)
    for rollout, score in zip(rollouts, scores, strict=True):
        assert score.keys() == rollout.old.keys()
        for kind, values in score.items():
            assert len(values) == len(rollout.old[kind])
            torch.testing.assert_close(values.float(), rollout.old[kind].float(), rtol=1e-4, atol=1e-3)
