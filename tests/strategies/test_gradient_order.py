"""DeepSpeed adds up the ranks' gradients in the order in which they come, so it mustn't depend on the rows."""

import pytest
from hydra.utils import instantiate

from data_modules.vsp import VSP
from tests.conftest import compose


def order(module, batch):
    """Names of the parameters in the order in which their gradients are complete."""
    seen = []
    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: seen.append(name))
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    ]
    sum(module.losses(batch).values()).backward()
    for hook in hooks:
        hook.remove()
    return seen


LEAN = ["memory.checkpointing=true", "memory.ce_chunk=4"]


@pytest.mark.parametrize(("tower_trained", "memory"), [(False, []), (True, []), (False, LEAN)])
@pytest.mark.parametrize("stage", ["sft", "stage1", "stage2", "guided"])
def test_gradients_come_in_one_order_whatever_images_and_blocks_a_batch_has(uneven, stage, tower_trained, memory):
    cfg = compose("train", f"stage={stage}", *memory)
    module, collate = instantiate(cfg.stage.module).train(), instantiate(cfg.stage.collator)
    module.net.tower.requires_grad_(tower_trained)
    rows = [sample for file in uneven.values() for sample in VSP(file)]
    batches = [*([row] for row in rows), rows[0:2], rows[5:7]]
    first, *others = (order(module, collate(batch)) for batch in batches)
    assert first
    assert all(other == first for other in others)


def test_a_batch_without_images_gives_a_trained_tower_zero_gradients(uneven):
    cfg = compose("train", "stage=stage1")
    module, collate = instantiate(cfg.stage.module).train(), instantiate(cfg.stage.collator)
    bare = VSP(uneven["images"])[1]
    sum(module.losses(collate([bare])).values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.net.tower.parameters())
