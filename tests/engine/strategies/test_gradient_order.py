"""DeepSpeed adds up the ranks' gradients in the order in which they come, so it mustn't depend on the rows."""

from hydra.utils import instantiate

from data_modules.vsp.planning import VSP
from tests.conftest import compose
from tests.engine.strategies.conftest import in_all_ways, made_ready


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


@in_all_ways
def test_gradients_come_in_one_order_whatever_images_and_blocks_a_batch_has(uneven, stage, tower_trained, memory):
    module, collate, rows = made_ready(uneven, stage, tower_trained, memory)
    batches = [*([row] for row in rows), rows[0:2], rows[5:7]]
    first, *others = (order(module, collate(batch)) for batch in batches)
    assert first
    assert all(other == first for other in others)


def test_a_batch_without_images_gives_a_trained_tower_zero_gradients(uneven):
    cfg = compose("train", "stage=stage1")
    module, collate = instantiate(cfg.stage.module).train(), instantiate(cfg.stage.collator)
    bare = VSP().read(uneven["images"])[1]
    sum(module.losses(collate([bare])).values()).backward()
    assert all(p.grad is not None and not p.grad.any() for p in module.net.tower.parameters())
