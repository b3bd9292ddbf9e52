import math

import pytest
import torch

from mirage_pl.mirage.losses import can_fuse, fused_ce, latent_contrast, latent_cosine, text_ce, weigh_changes
from mirage_pl.mirage.model.compression import Average, Grid


def test_text_ce_is_the_mean_negative_log_probability():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    loss = text_ce(logits, torch.nn.Identity(), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)


@pytest.fixture
def problem():
    torch.manual_seed(0)
    return (
        torch.randn(10, 8, dtype=torch.float64, requires_grad=True),
        torch.nn.Linear(8, 30).double(),
        torch.arange(10),
    )


def outcome(hidden, head, loss):
    hidden.grad = None
    head.zero_grad()
    loss.backward()
    return loss.item(), hidden.grad.clone(), head.weight.grad.clone(), head.bias.grad.clone()


@pytest.mark.parametrize("chunk", [1, 3, 5, 10, 11])
def test_chunks_change_no_number(problem, chunk):
    hidden, head, targets = problem
    whole, pieces = (outcome(hidden, head, text_ce(hidden, head, targets, size)) for size in (None, chunk))
    for one, other in zip(whole, pieces, strict=True):
        assert torch.allclose(torch.as_tensor(one), torch.as_tensor(other), rtol=1e-12)


def test_no_more_than_a_chunk_of_logits_is_ever_there(problem):
    hidden, _, targets = problem
    sizes = []

    class Head(torch.nn.Linear):
        def forward(self, hidden):
            sizes.append(len(hidden))
            return super().forward(hidden)

    text_ce(hidden, Head(8, 30).double(), targets, 4).backward()
    assert sizes == [4, 3, 3, 3, 3, 4]  # and once more for the gradient


def test_a_rank_with_fewer_positions_than_another_calls_the_head_as_often(problem):
    hidden, head, targets = problem
    calls = []
    hook = head.register_forward_pre_hook(lambda *_: calls.append(1))
    loss = text_ce(hidden, head, targets, 4, most=44)
    hook.remove()
    assert len(calls) == 11
    torch.testing.assert_close(loss, text_ce(hidden, head, targets))


@pytest.mark.gpu
def test_ligers_kernel_gives_the_same_numbers():
    torch.manual_seed(0)
    hidden, head = torch.randn(300, 64, device="cuda", requires_grad=True), torch.nn.Linear(64, 5000, bias=False).cuda()
    targets = torch.randint(5000, (300,), device="cuda")
    assert can_fuse(hidden, head)
    losses, grads = [], []
    for loss in (text_ce(hidden, head, targets, 64), fused_ce(hidden, head, targets)):
        hidden.grad = None
        loss.backward()
        losses.append(loss.item())
        grads.append(hidden.grad.clone())
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert torch.allclose(*grads, atol=1e-6, rtol=1e-3)


def test_ligers_kernel_is_for_gpus_and_plain_heads_only(problem):
    assert not can_fuse(*problem[:2])


def test_latent_cosine_is_zero_for_parallel_one_for_orthogonal_two_for_opposite():
    one = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    other = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    assert latent_cosine(one[:1], other[:1]).item() == pytest.approx(0)
    assert latent_cosine(one, other).item() == pytest.approx(1)


def test_centred_it_sees_only_what_tells_latents_in_the_same_place_apart():
    """A vector common to all latents of a place, however long, changes nothing."""
    torch.manual_seed(0)
    predicted, target, places = torch.randn(6, 8), torch.randn(6, 8), torch.tensor([0, 1, 0, 1, 0, 1])
    common = 100 * torch.randn(2, 8)[places]
    plain = latent_cosine(predicted, target, places).item()
    assert latent_cosine(predicted, target + common, places).item() == pytest.approx(plain, abs=1e-4)
    assert latent_cosine(predicted + common, target + common).item() < 0.1
    by_hand = []
    for place in (0, 1):
        p, t = (each[place::2] - each[place::2].mean(0) for each in (predicted, target))
        by_hand += [1 - float(a @ b / (a.norm() * b.norm())) for a, b in zip(p, t, strict=True)]
    assert plain == pytest.approx(sum(by_hand) / 6, abs=1e-5)


def test_contrast_is_the_divergence_of_what_a_prediction_and_its_latent_resemble():
    """Of two latents, less their mean: cosines 1 and -1, so that softmax gives s = sigmoid(2 / T) to the right one."""
    target = torch.tensor([[6.0, 8.0], [8.0, 6.0]])  # of length 1, less their mean: opposite
    right, wrong, between = 0.1 * target, target.flip(0), torch.tensor([[0.0, 0.0]] * 2)
    s = 1 / (1 + math.exp(-2 / 0.5))
    assert latent_contrast(right, target, 0.5).item() == pytest.approx(0, abs=1e-6)
    assert latent_contrast(wrong, target, 0.5).item() == pytest.approx((2 * s - 1) * math.log(s / (1 - s)), rel=1e-5)
    entropy = -s * math.log(s) - (1 - s) * math.log(1 - s)
    assert latent_contrast(between, target, 0.5).item() == pytest.approx(math.log(2) - entropy, rel=1e-5)


def test_latents_that_are_alike_need_not_be_told_apart():
    target = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-2.0, 0.0]])
    assert latent_contrast(target, target, 0.1).item() == pytest.approx(0, abs=1e-6)
    assert latent_contrast(target[[1, 0, 2]], target, 0.1).item() == pytest.approx(0, abs=1e-6)
    assert latent_contrast(target[[2, 1, 0]], target, 0.1).item() > 1


def test_contrast_hears_hidden_states_that_are_far_shorter_than_latents():
    """Of features around (80, 0), and hidden states of length 0.1 that have their directions."""
    target = torch.tensor([[80.0, 30.0], [80.0, -30.0]])
    hidden = 0.1 * torch.tensor([[0.9, 0.4], [0.9, -0.4]])
    assert latent_contrast(hidden, target, 0.5).item() < 0.01 < 1 < latent_contrast(hidden.flip(0), target, 0.5).item()


def test_latents_weigh_by_how_far_they_are_from_the_block_before():
    """Two rows: blocks of 2 and 2, the second of which changes one latent by 3; and blocks of 1 and 2."""
    target = torch.tensor([[1.0], [2.0], [1.0], [5.0], [0.0], [1.0], [7.0]])
    sizes = [(2, 2), (1, 2)]  # squared distances 0, 9 and 1; the rest has none: first blocks, and a place that is new
    mean = 10 / 3
    shares = torch.tensor([1, 1, 0, 9 / mean, 1, 1 / mean, 1])
    assert torch.allclose(weigh_changes(target, sizes, 0.0), shares)
    assert torch.allclose(weigh_changes(target, sizes, 0.5), 0.5 + 0.5 * shares)
    assert torch.equal(weigh_changes(target, sizes, 1.0), torch.ones(7))
    assert shares.mean() == pytest.approx(1)
    assert torch.equal(weigh_changes(torch.ones(4, 1), [(2, 2)], 0.0), torch.ones(4)), "nothing changes"
    assert torch.equal(weigh_changes(torch.ones(2, 1), [(2,)], 0.0), torch.ones(2)), "one block"
    loss = latent_cosine(-target[:4], target[:4], weights_N=shares[:4])
    assert loss.item() == pytest.approx(2 * shares[:4].mean().item())


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
