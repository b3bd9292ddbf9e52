"""What is drawn in training depends on seed, step and row, never on the batch."""

import pytest
import torch

from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.draws import draw_blocks, draw_rows, draw_slots
from tests.mirage.test_latents import ragged  # noqa: F401  a fixture


@pytest.fixture
def collate(processor):
    return Collator(processor, latent_size=4, latents=True, helpers=False)


@pytest.mark.parametrize("draw", [draw_slots, draw_blocks])
def test_a_row_is_drawn_alike_in_any_batch_and_other_steps_and_seeds_draw_others(collate, ragged, draw):  # noqa: F811
    batch = collate(ragged)
    for step in (0, 1):
        drawn_BT = draw(batch, 5, step, 0.5)
        for row, sample in enumerate(ragged):
            alone = collate([sample])
            assert drawn_BT[row, batch.latent_BT[row]].tolist() == draw(alone, 5, step, 0.5)[alone.latent_BT].tolist()
    masks = [draw(batch, seed, step, 0.5) for seed, step in ((5, 0), (5, 1), (6, 0))]
    assert not any(torch.equal(masks[0], other) for other in masks[1:])
    assert torch.equal(draw(batch, 5, 0, 1.0), batch.latent_BT)
    assert not draw(batch, 5, 0, 0.0).any()


def test_a_share_is_drawn_of_slots_one_by_one_and_of_blocks_as_a_whole(collate, ragged):  # noqa: F811
    batch = collate([ragged[5]])  # two blocks of four
    slots, blocks = (
        torch.stack([draw(batch, 0, step, 0.3)[batch.latent_BT] for step in range(200)]).float()
        for draw in (draw_slots, draw_blocks)
    )
    assert 0.25 < slots.mean() < 0.35
    assert 0.2 < blocks.mean() < 0.4
    assert blocks.view(-1, 2, 4).std(-1).max() == 0
    assert slots.view(-1, 2, 4).std(-1).mean() > 0.3


def test_what_they_are_for_makes_other_numbers(collate, ragged):  # noqa: F811
    batch = collate(ragged)
    one, other, longer = draw_rows(batch, 0, 0, "a", 2), draw_rows(batch, 0, 0, "b", 2), draw_rows(batch, 0, 0, "a", 5)
    assert not torch.equal(one, other)
    assert torch.equal(longer[:, :2], one)
