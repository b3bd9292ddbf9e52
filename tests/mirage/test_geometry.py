"""What is said of latents as vectors, against values by hand."""

from math import isnan, sqrt

import pytest
import torch

from mirage_pl.mirage.probing.geometry import cosine_across, cosine_within, effective_rank, find_retrieved, mean_norm


def rows(*vectors):
    return [torch.tensor(row, dtype=torch.float64).view(-1, 3) for row in vectors]


X, Y, Z = torch.eye(3).tolist()


def test_parallel_latents_have_cosine_1_whatever_their_length():
    latents = rows([X, [5.0, 0.0, 0.0]], [Y, [0.0, 0.1, 0.0]])
    assert cosine_within(latents) == pytest.approx(1.0)


def test_orthogonal_latents_have_cosine_0_and_opposite_ones_minus_1():
    assert cosine_within(rows([X, Y, Z])) == pytest.approx(0.0)
    assert cosine_within(rows([X, [-2.0, 0.0, 0.0]])) == pytest.approx(-1.0)


def test_every_pair_of_a_row_counts_once_and_rows_are_not_mixed():
    """Three pairs in the first row, of cosines 0, 1 / sqrt(2) twice; one of 1 in the second; none in the last two."""
    latents = rows([X, Y, [1.0, 1.0, 0.0]], [Z, Z], [X], [])
    assert cosine_within(latents) == pytest.approx((0 + 2 / sqrt(2) + 1) / 4)


def test_latents_that_do_not_depend_on_the_question_have_cosine_1_across():
    """Though those of a row are orthogonal."""
    latents = rows([X, Y], [X, Y], [X, Y])
    assert (cosine_across(latents), cosine_within(latents)) == pytest.approx((1.0, 0.0))


def test_latents_are_compared_across_rows_place_by_place():
    """First place: X, X, Y, of cosines 1, 0, 0; second: Z and -Z; the third stands alone."""
    latents = rows([X, Z, X], [X, [0.0, 0.0, -3.0]], [Y], [])
    assert cosine_across(latents) == pytest.approx((1 / 3 - 1) / 2)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_the_effective_rank_counts_equal_orthogonal_directions(rank):
    basis_rD = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)).double())[0][:rank]
    mean_D = torch.full((8,), 7.0, dtype=torch.float64)
    assert effective_rank([mean_D + basis_rD, mean_D - basis_rD]) == pytest.approx(rank)


def test_unequal_directions_count_less():
    """Singular values 3 and 1 about the mean: the exponential of the entropy of 3/4 and 1/4."""
    latents = rows([[3.0, 0.0, 9.0], [-3.0, 0.0, 9.0]], [[0.0, 1.0, 9.0], [0.0, -1.0, 9.0]])
    assert effective_rank(latents) == pytest.approx(0.75**-0.75 * 0.25**-0.25)


def scattered(count, seed, depth=2, width=16):
    return list(torch.randn(count, depth, width, generator=torch.Generator().manual_seed(seed)).double())


def test_latents_near_their_targets_are_found_however_large_what_all_share():
    targets = scattered(50, seed=1)
    common = 1000 * scattered(1, seed=2)[0]
    latents = [target + common + 0.1 * noise for target, noise in zip(targets, scattered(50, seed=3), strict=True)]
    assert find_retrieved(latents, targets) == [True] * 50
    assert find_retrieved(targets, latents) == [True] * 50


def test_latents_of_other_rows_are_not_taken_for_the_row_s_own():
    targets = scattered(50, seed=1)
    assert find_retrieved(targets[1:] + targets[:1], targets) == [False] * 50
    half = [*targets[:25], *targets[26:], targets[25]]
    assert find_retrieved(half, targets) == [True] * 25 + [False] * 25


def test_unrelated_latents_are_found_about_as_often_as_chance():
    found = [hit for seed in range(20) for hit in find_retrieved(scattered(20, 2 * seed), scattered(20, 2 * seed + 1))]
    assert sum(found) / len(found) == pytest.approx(1 / 20, abs=4 * sqrt(1 / 20 * 19 / 20 / 400))


def test_of_rows_of_different_sizes_the_places_that_all_have_are_compared():
    targets = scattered(10, seed=1, depth=4)
    latents = [target[: 2 + row % 3] for row, target in enumerate(targets)]
    assert find_retrieved(latents, targets) == [True] * 10


def test_the_mean_norm_is_that_of_the_vectors():
    assert mean_norm(torch.tensor([[3.0, 4.0], [0.0, 1.0]])) == 3.0


@pytest.mark.parametrize("latents", [[], rows([]), rows([], [])])
def test_nothing_is_found_in_nothing(latents):
    assert isnan(cosine_within(latents))
    assert isnan(cosine_across(latents))
    assert effective_rank(latents) == 0.0
    assert find_retrieved(latents, latents) == []
