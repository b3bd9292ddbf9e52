"""The tokenizer's own behaviour, where the reference has none: painting over the context, fewer frames, bad input."""

from functools import partial

import pytest
import torch

from mirage_pl.ivideogpt.model.coders import Sizes
from mirage_pl.ivideogpt.model.quantizer import VQ, FiniteScalar, LookupFree
from mirage_pl.ivideogpt.model.tokenizer import Tokenizer, shrink_context

SIZES = {"resolution": 16, "block_out_channels": [8], "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4}
PAINTINGS = ("plain", "residual", "gated")


def build(decode="plain", fold=2, context_length=2, **sizes):
    torch.manual_seed(0)
    quantizer = partial(FiniteScalar, levels=[5, 3])
    return Tokenizer(
        Sizes(**SIZES | sizes, fold=fold, context_length=context_length), quantizer, quantizer, decode
    ).eval()


def draw_clips(clips=3, frames=5, side=16):
    return torch.rand(clips, frames, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("decode", PAINTINGS)
def test_a_batch_is_its_clips_one_by_one(decode):
    tokenizer, frames = build(decode), draw_clips()
    together = tokenizer(frames)
    for number, clip in enumerate(frames):
        alone = tokenizer(clip[None])
        assert torch.equal(alone.dynamics.ids_MN, together.dynamics.ids_MN.unflatten(0, (3, 3))[number])
        torch.testing.assert_close(alone.dynamics_BFCHW[0], together.dynamics_BFCHW[number])
        torch.testing.assert_close(alone.context_BTCHW[0], together.context_BTCHW[number])


@pytest.mark.parametrize("decode", PAINTINGS)
def test_codes_and_the_contexts_pixels_are_all_that_decoding_needs(decode):
    tokenizer, frames = build(decode), draw_clips()
    clip, (context, dynamics) = tokenizer(frames), tokenizer.encode(frames)
    scene = tokenizer.decode_context(context, frames[:, :2])
    torch.testing.assert_close(scene.frames_BTCHW, clip.context_BTCHW)
    torch.testing.assert_close(tokenizer.decode_frames(dynamics, scene), clip.dynamics_BFCHW)
    own = tokenizer.decode_context(context)
    assert torch.equal(own.newest_BCHW, own.frames_BTCHW[:, -1].clamp(0, 1))


def test_untrained_a_residual_decoder_copies_the_context():
    frames = draw_clips()
    assert torch.equal(build("residual")(frames).dynamics_BFCHW, frames[:, [1] * 3])


def test_untrained_a_gated_decoder_heeds_codes_and_each_in_its_own_patch():
    tokenizer, frames = build("gated"), draw_clips()
    context, dynamics = tokenizer.encode(frames)
    scene = tokenizer.decode_context(context, frames[:, :2])
    other = dynamics.clone()
    other[:, :, 0] = (other[:, :, 0] + 1) % tokenizer.dynamics_quantize.num_codes
    changed = (tokenizer.decode_frames(other, scene) - tokenizer.decode_frames(dynamics, scene)).abs()
    side = frames.shape[-1] // tokenizer.sizes.dynamics_grid
    own = changed[..., :side, :side].mean()
    assert own > 2 * (changed.sum() - changed[..., :side, :side].sum()) / (
        changed.numel() - changed[..., :side, :side].numel()
    )


def test_every_weight_learns_and_the_context_reaches_the_other_frames():
    for decode in PAINTINGS:
        tokenizer = build(decode)
        frames = draw_clips().requires_grad_()
        clip = tokenizer(frames)
        noise = torch.rand(clip.dynamics_BFCHW.shape)
        ((clip.dynamics_BFCHW * noise).mean() + clip.context_BTCHW.square().mean()).backward()
        still = {name for name, weight in tokenizer.named_parameters() if weight.grad is None}
        assert not still
        assert frames.grad[:, 0].abs().sum() > 0


def test_sizes_and_clips_that_dont_fit_are_refused_in_a_line():
    tokenizer = build()
    for refused, words in (
        (lambda: tokenizer(draw_clips(frames=2)), "2 frame.*none after its context_length=2"),
        (lambda: tokenizer(draw_clips(side=8)), "don't fit resolution=16"),
        (lambda: build(resolution=20), "multiple of 8"),
        (lambda: build("painted"), "decode=painted is unknown"),
        (lambda: shrink_context(tokenizer.state_dict(), 2, 3), "can't grow"),
    ):
        with pytest.raises(ValueError, match=words):
            refused()


def test_a_learnt_book_takes_the_nearest_vector_and_draws_both_together():
    quantizer = VQ(2, 3, commitment=0.25)
    quantizer.embedding.weight.data = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    vectors = torch.tensor([[[0.75, 0.0], [0.0, 1.5]]], requires_grad=True)
    ids, codes, loss = quantizer(vectors)
    assert ids.tolist() == [[1, 2]]
    assert torch.equal(codes, quantizer.look_up(ids))
    assert loss.item() == pytest.approx(1.25 * (0.25**2 + 0.5**2) / 4)
    codes.sum().backward()
    assert torch.equal(vectors.grad, torch.ones_like(vectors))


def test_an_untrained_rounding_quantizer_uses_most_of_its_codes_whatever_the_vectors_scale():
    torch.manual_seed(0)
    quantizer = FiniteScalar(32, [8, 5, 5, 5])
    vectors = torch.randn(8, 500, 32)
    for scale in (0.01, 1, 100):
        assert len(quantizer(scale * vectors).ids_MN.unique()) > 500


def test_signs_are_the_bits_of_a_code_the_first_channel_the_highest():
    quantizer = LookupFree(3, bits=3, entropy=0.1, commitment=0.25).eval()
    vectors = torch.tensor([[[0.5, -0.5, 2.0], [-0.1, 0.2, -3.0]]])
    ids, codes, loss = quantizer(vectors)
    assert ids.tolist() == [[0b101, 0b010]]
    assert codes.tolist() == quantizer.look_up(ids).tolist() == [[[1, -1, 1], [-1, 1, -1]]]
    assert (quantizer.num_codes, loss.item()) == (8, 0)


def test_signs_learn_straight_through_and_are_drawn_to_corners_and_apart():
    quantizer = LookupFree(2, bits=2, entropy=0.0, commitment=1.0).train()
    vectors = torch.tensor([[[0.5, -0.5], [1.5, 1.0]]], requires_grad=True)
    _, codes, loss = quantizer(vectors)
    assert loss.item() == pytest.approx(3 * 0.25 / 4)
    codes.sum().backward()
    assert torch.equal(vectors.grad, torch.ones_like(vectors))
    spread, alike = torch.tensor([[[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]]), torch.ones(1, 4, 2)
    entropies = LookupFree(2, bits=2, entropy=1.0, commitment=0.0).train()
    assert entropies(spread).loss.item() == pytest.approx(-torch.tensor(4.0).log().item(), abs=1e-3)
    assert entropies(alike).loss.item() == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match="bits=0"):
        LookupFree(2, bits=0, entropy=0.1, commitment=0.25)


def test_an_untrained_sign_quantizer_uses_most_of_its_codes_and_reads_them_back():
    torch.manual_seed(0)
    quantizer = LookupFree(32, bits=8, entropy=0.1, commitment=0.25).eval()
    ids, codes, _ = quantizer(100 * torch.randn(8, 500, 32))
    assert len(ids.unique()) > 200
    torch.testing.assert_close(quantizer.look_up(ids), codes)
