"""What an audit's conditions do to answers, with a random net that enters blocks."""

import pytest
import torch

from data_modules.samples import Picture
from mirage_pl.mirage.audit.attention import share_attention
from mirage_pl.mirage.audit.interventions import hide_images, hide_markers, mix_noise
from mirage_pl.mirage.audit.names import NAMES
from mirage_pl.mirage.audit.table import gather_slots
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding


def latents_of(generations):
    return [row for generation in generations for row in generation.latents]


def test_all_conditions_can_be_made_where_rows_have_helper_images_and_counterfactuals(probe):
    assert probe.names == NAMES
    probe.dataset = None
    del probe.names, probe.changed
    assert set(NAMES) - set(probe.names) == {"flipped", "flipped_oracle"}, "a data set that knows no counterfactuals"


def test_latents_of_the_changed_question_are_what_the_model_writes_when_it_is_asked(probe):
    first, *others = probe.replace_latents("flipped")
    assert torch.equal(first, probe.latents[0]), "it has no counterfactual"
    for given, asked in zip(others, [*probe.latents[2:], probe.latents[0]], strict=True):
        torch.testing.assert_close(given, asked)
    true = [torch.cat(row) for row in probe.changed_oracle.values()]
    for given, asked in zip(true, [*probe.oracle[2:], probe.oracle[0]], strict=True):
        torch.testing.assert_close(given, asked)
    assert list(probe.list_givers("flipped").values()) == list(probe.list_givers("flipped_oracle").values())
    assert [*probe.list_givers("flipped")] == [1, 2, 3, 4, 5]
    assert probe.list_givers("donor_oracle") == probe.list_givers("donor") != {}
    assert probe.list_givers("zero") == {}


def test_noise_takes_a_share_of_the_variance_and_leaves_mean_and_spread():
    random = torch.Generator().manual_seed(0)
    latents, noise = ([torch.randn(4, 3, generator=random) * 2 + 5 for _ in range(500)] for _ in range(2))
    assert all(map(torch.allclose, mix_noise(latents, noise, 0.0), latents))
    assert all(map(torch.allclose, mix_noise(latents, noise, 1.0), noise))
    mixed, own = torch.cat(mix_noise(latents, noise, 0.25)), torch.cat(latents)
    assert mixed.mean() == pytest.approx(5, abs=0.1)
    assert mixed.std() == pytest.approx(2, abs=0.1)
    correlation = torch.corrcoef(torch.stack([mixed.flatten(), own.flatten()]))[0, 1]
    assert correlation**2 == pytest.approx(0.75, abs=0.03)


def test_the_model_may_begin_no_block_when_it_is_skipped(probe):
    assert all(map(len, probe.latents))
    skipped = list(probe.answer("skipped"))
    assert not any(map(len, latents_of(skipped)))
    assert not any(probe.collate.latent_start in tokens for generation in skipped for tokens in generation.tokens)


def test_behind_hidden_images_nothing_depends_on_them_but_their_own_columns(probe):
    net, prompts = probe.net, probe.collate.prompts(probe.samples[:2])
    embeds = net.embed(prompts)
    shows = (prompts.tokens_BT == probe.collate.image_pad).unsqueeze(-1)
    other = torch.where(shows, torch.randn_like(embeds.inputs_BTD), embeds.inputs_BTD)

    def run(inputs):
        return net.columns(prompts, embeds).peek(inputs)[:, -1]

    assert not torch.allclose(run(embeds.inputs_BTD), run(other))
    for attention in ("sdpa", "eager"):
        before = net.decoder.config._attn_implementation
        net.decoder.set_attn_implementation(attention)
        with hide_images(net.architecture):
            torch.testing.assert_close(run(embeds.inputs_BTD), run(other))
        net.decoder.set_attn_implementation(before)
    assert not torch.allclose(run(embeds.inputs_BTD), run(other)), "they are seen again afterwards"


def test_hidden_markers_are_read_as_one_vector_and_all_other_tokens_as_before(probe):
    start, end = probe.markers
    tokens = torch.tensor([[5, start, 7, end]])
    before, vector = probe.net.embed_tokens(tokens), torch.arange(probe.net.width).double()
    with hide_markers(probe.net.backbone.get_input_embeddings(), probe.markers, vector):
        during = probe.net.embed_tokens(tokens)
    assert torch.equal(during[0, [1, 3]], vector.expand(2, -1))
    assert torch.equal(during[0, [0, 2]], before[0, [0, 2]])
    assert torch.equal(probe.net.embed_tokens(tokens), before)


def test_conditions_that_leave_latents_as_they_are_replay_them(probe):
    for name in ("unmarked", "strict"):
        for own, given in zip(probe.latents, latents_of(probe.answer(name)), strict=True):
            torch.testing.assert_close(given[: len(own)], own[: len(given)])


def test_the_first_latent_of_a_block_is_the_same_forced_and_free_and_true_ones_are_the_oracles(probe):
    """Answers begin with a block, as the rows do: so far nothing differs. Of what comes after, all does."""
    short = Decoder(probe.processor, probe.collate.latent_size)
    probe.baseline = [short(probe.net, probe.collate.prompts(probe.samples[part]), Decoding(5)) for part in probe.parts]
    slots = gather_slots(probe)
    assert not slots.free_RJkD.isnan().any()
    torch.testing.assert_close(slots.forced_RJkD[:, 0, 0], slots.free_RJkD[:, 0, 0], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(slots.forced_RJkD[:, 0, 1], slots.free_RJkD[:, 0, 1])
    for row, blocks in zip(slots.true_RJkD, probe.oracle, strict=True):
        torch.testing.assert_close(row[0], blocks.float())
    assert slots.changed_RJkD[0].isnan().all()
    torch.testing.assert_close(slots.changed_RJkD[1], slots.true_RJkD[2])


def test_the_picture_before_the_first_block_is_the_input_image(probe):
    slots, (picture,) = gather_slots(probe), [p for p in probe.samples[0].question if isinstance(p, Picture)]
    features = probe.net.image_features(probe.collate.prompts(probe.samples[:1]).images)[0]
    expected = probe.net.compression(features, (3, 3), probe.collate.latent_size)
    torch.testing.assert_close(slots.last_RJkD[0, 0], expected.float())
    assert picture.path.name.startswith("level_3")


def test_attention_is_shared_among_all_that_is_seen(probe):
    shares = share_attention(probe)
    assert shares["layers"] == [0, 1, 2, 3]
    for latents, image, rest in zip(shares["latents"], shares["image"], shares["rest"], strict=True):
        assert latents + image + rest == pytest.approx(1)
        assert min(latents, image, rest) > 0
    assert 0 < shares["even"][0] < 0.5
    for part in probe.net.decoder.layers:  # zero queries see all columns alike
        part.self_attn.q_proj = Zeros(part.self_attn.q_proj)
    even = share_attention(probe)
    for part in probe.net.decoder.layers:
        part.self_attn.q_proj = part.self_attn.q_proj.inner
    assert even["latents"] == pytest.approx(even["even"])


class Zeros(torch.nn.Module):
    """A projection to zeros."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, hidden):
        return torch.zeros_like(self.inner(hidden))
