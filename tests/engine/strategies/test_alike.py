"""Ranks that hold parts of the weights fetch them together, so their batches are made to call the same modules."""

from itertools import zip_longest

import torch

from tests.engine.strategies.conftest import in_all_ways, made_ready


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


@in_all_ways
def test_batches_made_alike_call_the_same_modules_as_often_and_lose_the_same(uneven, stage, tower_trained, memory):
    module, collate, rows = made_ready(uneven, stage, tower_trained, memory)
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
