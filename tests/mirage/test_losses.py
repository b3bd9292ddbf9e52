import math

import pytest
import torch

from mirage_pl.mirage.compression import Average, Grid
from mirage_pl.mirage.losses import latent_cosine, text_ce


def test_text_ce_is_the_mean_negative_log_probability():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    assert text_ce(logits, torch.tensor([0, 1])).item() == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)


def test_latent_cosine_is_zero_for_parallel_one_for_orthogonal_two_for_opposite():
    one = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    other = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    assert latent_cosine(one[:1], other[:1]).item() == pytest.approx(0)
    assert latent_cosine(one, other).item() == pytest.approx(1)


def test_average_cuts_contiguous_runs_and_drops_the_remainder():
    features = torch.arange(9.0).view(9, 1)
    assert Average()(features, (3, 3), 2).tolist() == [[1.5], [5.5]]
    assert Average()(features, (3, 3), 9).flatten().tolist() == list(range(9))


def test_grid_averages_cells_in_raster_order():
    features = torch.arange(16.0).view(16, 1)
    assert Grid()(features, (4, 4), 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert Grid()(features, (4, 4), 2).flatten().tolist() == [6.5, 8.5]
    assert Grid()(torch.arange(9.0).view(9, 1), (3, 3), 3).flatten().tolist() == [3, 4, 5]


@pytest.mark.parametrize("compression", [Average(), Grid()])
def test_more_latents_than_features_is_refused(compression):
    with pytest.raises(ValueError, match="latent_size=5 exceeds the 4 feature"):
        compression(torch.zeros(4, 2), (2, 2), 5)
