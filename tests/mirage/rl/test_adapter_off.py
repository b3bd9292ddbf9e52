"""The reference without a second model: the policy, its adapter off."""

import pytest
import torch
from hydra.utils import instantiate

from mirage_pl.engine.adapters.off import AdapterOff, check_new_adapter, list_adapters
from mirage_pl.engine.checkpoints.adapted import adapt
from mirage_pl.engine.training import fit
from tests.contract.stages import Stage
from tests.mirage.rl.test_policy import roll

LORA = ["lora=lora", "lora.rank=2"]


def build(data, *more, lora=LORA):
    torch.manual_seed(0)
    cfg = Stage("grpo").compose(data, "reference=adapter_off", *lora, *more)
    module = instantiate(cfg.stage.module)
    if cfg.lora:
        adapt(module, instantiate(cfg.lora))
    return module.eval(), cfg


def shake(module):
    with torch.no_grad():
        for weight in module.parameters():
            if weight.requires_grad:
                weight += 0.3 * torch.randn_like(weight)


@pytest.mark.parametrize("options", [[], ["lora.dora=true"], ["lora.layers=[q_proj]"]])
def test_the_reference_is_what_the_adapter_stands_beside_and_only_while_it_is_asked(data, options):
    module, cfg = build(data, *options)
    collate = instantiate(cfg.stage.collator)
    rows = instantiate(cfg.task.dataset).read(cfg.task.train_file)
    inputs = collate(roll(module.policy, collate, {0: rows[0]})).inputs
    with torch.no_grad():
        start = module.policy.logprobs(inputs).values["text"]
        shake(module)
        learnt = module.policy.logprobs(inputs).values["text"]
        with module.policy.reference():
            reference = module.policy.logprobs(inputs).values["text"]
    torch.testing.assert_close(reference, start, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(learnt, start, atol=1e-3)
    after = module.policy.logprobs(inputs).values["text"]
    assert torch.equal(after, learnt)
    after.sum().backward()
    trained = [weight for weight in module.net.parameters() if weight.requires_grad]
    assert trained
    assert all(weight.grad is not None for weight in trained if weight.dim() == 2)


def test_all_is_on_again_after_an_error(data):
    module, _ = build(data)
    states = []

    def fail():
        states.extend(layer.disable_adapters for layer in list_adapters(module))
        raise KeyError

    with pytest.raises(KeyError), AdapterOff()(module.net):
        fail()
    assert states
    assert all(states)
    assert not any(layer.disable_adapters for layer in list_adapters(module))


def test_without_an_adapter_or_with_one_that_has_learnt_it_is_refused_with_what_to_set(data):
    check_new_adapter(build(data)[0])
    module, _ = build(data, lora=[])
    with pytest.raises(ValueError, match="this run has none; set lora=lora"):
        check_new_adapter(module)
    module, _ = build(data)
    shake(module)
    with pytest.raises(ValueError, match="the adapter of its start is trained on; change a value of lora="):
        check_new_adapter(module)
    module, _ = build(data, "lora.whole=[merger]")
    with pytest.raises(ValueError, match=r"merger.* has learnt, which lora.whole trains itself"):
        check_new_adapter(module)


def test_a_run_is_held_near_its_start_without_a_second_model(data, tmp_path):
    folders = [f"runs={tmp_path}", "trainer.max_steps=2", "trainer.val_check_interval=2"]
    cfg = Stage("grpo").compose(
        data, *folders, *LORA, "reference=adapter_off", "rollouts.epochs=2", "stage.module.optimizer.lr=1e-3"
    )
    metrics = fit.run(cfg)
    saved = torch.load(f"{cfg.run_dir}/checkpoints/last.ckpt", weights_only=True)
    assert metrics["train/kl"] > 0
    assert saved["round"]["rollouts"][0]["reference"]["text"].isfinite().all()
    assert {"lora_" in name or ".rows." in name for name in saved["state_dict"]} == {True}
