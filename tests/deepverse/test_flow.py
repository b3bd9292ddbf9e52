"""Pyramid flow and the transformer by what must hold whatever the reference says."""

import pytest
import torch

from mirage_pl.deepverse.model.flow import (
    PyramidFlow,
    build_noise_pyramid,
    build_pyramid,
    enlarge,
    list_history,
)
from mirage_pl.deepverse.model.mmdit import MMDiT, MmditSizes, Said
from mirage_pl.deepverse.model.positions import crop_table, draw_table

TINY = MmditSizes(layers=2, heads=2, head_dim=8, channels=6, patch=2, text_dim=5, pooled_dim=4, table=16, base_grid=8)
PUBLISHED = MmditSizes(24, 24, 64, 38, 2, 4096, 2048, 192, 64)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def say(on=None):
    memory = () if on is None else (draw(2, 6, 1, 8, 8, seed=3), torch.tensor(on))
    return Said(draw(2, 3, 5), torch.tensor([[1, 1, 0]] * 2), draw(2, 4), *memory)


def wake(net):
    """Weights that aren't 0."""
    for number, weight in enumerate(net.parameters()):
        weight.data = 0.3 * draw(*weight.shape, seed=number)
    return net.eval()


def test_what_is_entered_is_where_the_next_stage_begins_in_mean_and_in_variance():
    for gamma in (0.3333, 0.2, 1 / 3):
        flow = PyramidFlow(3, gamma)
        for before, after in zip(flow.stages[:-1], flow.stages[1:], strict=True):
            keeps, adds = after.jump
            assert keeps * (1 - before.end) == pytest.approx(1 - after.start)
            assert keeps**2 * before.end**2 + adds**2 == pytest.approx(after.start**2)
            between = keeps**2 * before.end**2 - adds**2 * gamma  # neighbours of a block that was one place
            assert between == pytest.approx(0, abs=1e-12)


def test_no_step_is_wasted_and_the_last_one_ends_at_no_noise():
    flow, released = PyramidFlow(), PyramidFlow(compat=True)
    for stage in range(3):
        steps = flow.list_steps(stage, 5)
        assert [ratio - following for _, ratio, following in steps] == pytest.approx([0.2] * 5)
        assert steps[-1][2] == 0
        assert released.list_steps(stage, 5)[-1][1] == pytest.approx(0.001)
    assert flow.list_steps(0, 1) == [(1000.0, 1.0, 0.0)]


def test_walking_along_the_direction_leads_from_the_beginning_of_a_stage_to_its_end():
    flow = PyramidFlow()
    clean, noise = build_pyramid(draw(2, 4, 1, 8, 8), 3), build_noise_pyramid(draw(2, 4, 1, 8, 8, seed=1), 3)
    assert torch.equal(flow.draw_pair(clean, noise, 0, torch.ones(2))[0], noise[0])
    for stage in range(3):
        state, direction = flow.draw_pair(clean, noise, stage, torch.tensor([1.0, 1.0]))
        for _, ratio, following in flow.list_steps(stage, 4):
            state = state + (following - ratio) * direction
        end = flow.draw_pair(clean, noise, stage, torch.zeros(2))[0]
        torch.testing.assert_close(state, end, atol=1e-5, rtol=0)
    torch.testing.assert_close(end, clean[2])


def test_block_noise_of_the_largest_gamma_sums_to_nothing_and_its_variance_is_one():
    noise = PyramidFlow(gamma=1 / 3).draw_block_noise(draw(64, 3, 16, 16))
    assert noise.shape == (64, 3, 16, 16)
    assert noise.var().item() == pytest.approx(1, abs=0.02)
    blocks = noise.unflatten(-1, (8, 2)).unflatten(2, (8, 2)).sum((3, 5))
    assert blocks.abs().max() < 1e-5
    for gamma in (0, 0.4):
        with pytest.raises(ValueError, match="gamma"):
            PyramidFlow(gamma=gamma)
    with pytest.raises(ValueError, match="nothing enters it"):
        PyramidFlow().enter(noise, 0, noise)


def test_the_newer_a_unit_the_finer_it_is_and_none_is_lost():
    units = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(1, 1, 6, 8, 8)
    pyramid = build_pyramid(units, 3)
    for stage in range(3):
        for count in range(6):
            entries = list_history(pyramid, count, stage)
            numbers = [int(unit) for entry in entries for unit in entry[0, 0, :, 0, 0]]
            assert numbers == list(range(count))
            sides = [entry.shape[-1] for entry in entries]
            assert sides == sorted(sides)
            assert not count or sides[-1] == 2 * 2**stage
            assert all(entry.shape[2] == 1 for entry in entries[1:])


def test_a_new_transformer_answers_nothing_and_learns_in_all_its_parts():
    torch.manual_seed(0)
    net, sequence = MMDiT(TINY), [draw(2, 6, 2, 4, 4), draw(2, 6, 1, 8, 8), draw(2, 6, 1, 8, 8, seed=1)]
    assert net(sequence, torch.tensor([500.0, 20.0]), say()).abs().max() == 0
    net = wake(net).train()
    net(sequence, torch.tensor([500.0, 20.0]), say(on=[1, 1])).square().mean().backward()
    idle = {name for name, weight in net.named_parameters() if not weight.grad.any()}
    asked = (
        "transformer_blocks.1.attn."  # what the context asks in the last block, nobody hears; the release has it, too
    )
    assert idle == {asked + "add_q_proj.weight", asked + "add_q_proj.bias", asked + "norm_add_q.weight"}


@torch.no_grad()
def test_rows_know_nothing_of_each_other_and_a_memory_that_is_off_or_padding_changes_nothing():
    net = wake(MMDiT(TINY))
    sequence, times = [draw(2, 6, 1, 4, 4), draw(2, 6, 1, 8, 8)], torch.tensor([500.0, 20.0])
    told = say(on=[1, 0])
    both = net(sequence, times, told)
    alone = net([entry[:1] for entry in sequence], times[:1], Said(*(part[:1] for part in vars(told).values())))
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-4)
    forgotten = net(sequence, times, say())
    torch.testing.assert_close(both[1], forgotten[1], atol=1e-5, rtol=1e-4)
    assert (both[0] - forgotten[0]).abs().max() > 1e-3
    said = say()
    said.tokens_BnE[:, 2] += 100
    torch.testing.assert_close(net(sequence, times, said), forgotten)


def test_coarse_pictures_lie_over_fine_ones_and_too_large_ones_are_refused():
    table = draw_table(16, 8, 32)
    fine, coarse = crop_table(table, (8, 8), (8, 8)), crop_table(table, (4, 4), (8, 8))
    torch.testing.assert_close(coarse.mean(0), fine.mean(0), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="17 x 8 tokens is larger than the table of 16 x 16"):
        crop_table(table, (17, 8), (17, 8))


def test_the_published_sizes_have_two_billion_parameters_under_the_released_names():
    with torch.device("meta"):
        net = MMDiT(PUBLISHED)
    assert sum(weight.numel() for weight in net.parameters()) / 1e9 == pytest.approx(2.029, abs=5e-4)
    names = net.state_dict().keys()
    stems = ("pos_embed.proj_history", "time_text_embed.timestep_embedder.linear_1", "context_embedder", "proj_out")
    assert all(f"{stem}.weight" in names for stem in (*stems, "norm_out.linear", "transformer_blocks.23.attn.to_out.0"))
    assert net.proj_out.weight.shape == (152, 1536)


def test_enlarging_repeats_places():
    assert enlarge(torch.tensor([[1.0, 2.0]])[None])[0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
