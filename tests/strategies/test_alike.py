"""Ranks that hold parts of the weights fetch them together, so their batches are made to call the same modules."""

from itertools import zip_longest

import pytest
import torch
from hydra.utils import instantiate

from data_modules.vsp import VSP
from tests.conftest import compose
from tests.strategies.conftest import LEAN


def calls(module, batch):
    """Names of the modules that hold weights, in the order in which they are called, forward and backward."""
    seen, hooks = [], []
    for name, part in module.named_modules():
        if list(part.parameters(recurse=False)):
            hooks.append(part.register_forward_pre_hook(lambda *_, name=name: seen.append(name)))
    losses = module.losses(batch)
    sum(losses.values()).backward()
    for hook in hooks:
        hook.remove()
    return seen, losses


@pytest.mark.parametrize(("tower_trained", "memory"), [(False, []), (True, []), (False, LEAN)])
@pytest.mark.parametrize("stage", ["sft", "stage1", "stage2", "guided"])
def test_batches_made_alike_call_the_same_modules_as_often_and_lose_the_same(uneven, stage, tower_trained, memory):
    cfg = compose("train", f"stage={stage}", *memory)
    module, collate = instantiate(cfg.stage.module).train(), instantiate(cfg.stage.collator)
    module.net.tower.requires_grad_(tower_trained)
    rows = [sample for file in uneven.values() for sample in VSP(file)]
    batches = [collate(rows[:2]), *(collate([row]) for row in rows)]
    asked = []
    for batch in batches:
        module.alike(batch, lambda counts: asked.append(counts) or counts)
    most = [max(counts) for counts in zip_longest(*asked, fillvalue=0)]
    before = [calls(module, batch) for batch in batches]
    after = [calls(module, module.alike(batch, lambda _: most)) for batch in batches]
    assert stage == "sft" and not memory or any(order != before[0][0] for order, _ in before)
    assert all(order == after[0][0] for order, _ in after)
    for (_, plain), (_, made_alike) in zip(before, after, strict=True):
        torch.testing.assert_close(made_alike, plain, rtol=2e-6, atol=1e-6)
