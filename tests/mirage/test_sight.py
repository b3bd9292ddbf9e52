"""What latents see: against loops, against stock attention, and by hand."""

from dataclasses import replace
from io import BytesIO
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cosine_similarity

from data_modules.samples import Latent, Picture, Text
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.probing.geometry import (
    compare_across,
    compare_with_targets,
    compare_within,
    cosine_across,
    cosine_within,
)
from mirage_pl.mirage.probing.interventions import ORACLES, Interventions
from mirage_pl.mirage.probing.panels import Panels
from mirage_pl.mirage.probing.reading import count_latents, embed_latents, join_answers, mask_stray_tokens
from mirage_pl.mirage.probing.sight import (
    compare_patches,
    compute_features,
    divide_attention,
    find_peaks,
    project_on_plane,
    record_attention,
    thin_vectors,
    use_eager_attention,
)
from mirage_pl.mirage.probing.sight_pictures import (
    ACROSS,
    ATTENTION,
    MAX_LINES,
    RESEMBLANCE,
    Strip,
    draw_geometry,
    draw_strips,
)


def probe_of(net, collator, rows, widths=(2, 4)):
    decoder = Decoder(collator.processor, collator.latent_size)
    parts = [rows[end - width : end] for end, width in zip(accumulate(widths), widths, strict=True)]
    baseline = [decoder(net, collator.prompts(part), Decoding(24)) for part in parts]
    return Interventions(net, collator.processor, collator, Decoding(24), rows, baseline)


@pytest.fixture
def probe(talkative, collator, questions, samples):
    """Answers with none, one, two and three blocks, one row planned with blocks of 1 and 5."""
    talkative.level = 0.8
    return probe_of(talkative, collator, [*questions, *samples[4:]])


@pytest.fixture
def read(probe):
    """All answers in one ragged batch, read again."""
    answers = [tokens for generation in probe.baseline for tokens in generation.tokens]
    batch = join_answers(probe.collate, probe.collate.prompts(probe.samples), answers)
    return batch, embed_latents(probe.net, batch, probe.latents)


def panels_of(probe, *rows):
    answers = [tokens for generation in probe.baseline for tokens in generation.tokens]
    return Panels(probe.net, probe.collate, probe.samples, answers, probe.latents, probe.targets, rows)


def test_attention_is_that_of_the_stock_model_row_by_row(probe, read):
    batch, embeds = read
    shares = record_attention(probe.net, batch, embeds).split(batch.latent_BT.sum(1).tolist(), dim=1)
    seen = 0
    for row, answer in enumerate(tokens for generation in probe.baseline for tokens in generation.tokens):
        alone = join_answers(probe.collate, probe.collate.prompts([probe.samples[row]]), [answer])
        tokens_1T = alone.tokens_BT
        embeds_1TD = embed_latents(probe.net, alone, [probe.latents[row]]).inputs_BTD
        kinds_1T = (tokens_1T == probe.collate.image_pad).int()
        positions_31T, _ = probe.net.backbone.model.get_rope_index(
            tokens_1T, kinds_1T, image_grid_thw=torch.tensor(alone.images.grids)
        )
        with torch.no_grad(), use_eager_attention(probe.net.decoder):
            stock = probe.net.decoder(
                inputs_embeds=embeds_1TD, position_ids=positions_31T, use_cache=False, output_attentions=True
            ).attentions
        for layer, weights_1HTT in enumerate(stock):
            expected_nT = weights_1HTT[0].mean(0)[alone.latent_BT[0]]
            found_nT = shares[row][layer][:, batch.real_BT[row]]
            assert torch.allclose(found_nT.double(), expected_nT.double(), atol=1e-6)
            seen += len(expected_nT)
    assert seen > 50


def test_shares_of_attention_sum_to_1_and_nothing_looks_at_padding_or_ahead(probe, read):
    batch, embeds = read
    shares_LNT = record_attention(probe.net, batch, embeds)
    rows_N, columns_N = batch.latent_BT.nonzero().T
    assert shares_LNT.shape == (len(probe.net.decoder.layers), len(rows_N), batch.tokens_BT.shape[1])
    assert torch.allclose(shares_LNT.sum(-1), torch.ones(shares_LNT.shape[:2]), atol=1e-5)
    assert not batch.real_BT[rows_N].all(), "there is padding to look at"
    assert not shares_LNT[:, ~batch.real_BT[rows_N]].any()
    ahead_NT = torch.arange(shares_LNT.shape[2]) > columns_N.unsqueeze(1)
    assert not shares_LNT[:, ahead_NT].any()


def test_the_pass_that_hands_out_attention_computes_the_engine_s_hidden_states(probe, read):
    batch, embeds = read
    found = []
    hook = probe.net.decoder.norm.register_forward_hook(lambda _module, _inputs, output: found.append(output))
    record_attention(probe.net, batch, embeds)
    with torch.no_grad():
        probe.net.columns(batch, embeds).peek(embeds.inputs_BTD)
    hook.remove()
    eager_BTD, engine_BTD = found
    real_BT = batch.real_BT
    assert torch.allclose(eager_BTD[real_BT], engine_BTD[real_BT], atol=1e-5), "stock softmax works in float32"


class Broken(RuntimeError):
    pass


def test_the_model_s_own_attention_comes_back_even_after_an_error(probe, read):
    batch, embeds = read
    decoder = probe.net.decoder
    before = decoder.config._attn_implementation
    hooks = [len(layer.self_attn._forward_hooks) for layer in decoder.layers]
    assert before == "sdpa"

    def fail(*_):
        assert decoder.config._attn_implementation == "eager"
        raise Broken

    hook = decoder.layers[1].register_forward_hook(fail)
    with pytest.raises(Broken):
        record_attention(probe.net, batch, embeds)
    hook.remove()
    assert decoder.config._attn_implementation == before
    assert [len(layer.self_attn._forward_hooks) for layer in decoder.layers] == hooks
    record_attention(probe.net, batch, embeds)
    assert decoder.config._attn_implementation == before


def test_attention_is_divided_among_patches_latents_and_text():
    shares_kT = torch.tensor([[0.1, 0.2, 0.05, 0.15, 0.25, 0.05, 0.2]])  # text, image of 1 x 2, text, image of 2 x 1, …
    image_T = torch.tensor([False, True, True, False, True, True, False])
    latent_T = torch.tensor([False] * 6 + [True])
    images, totals = divide_attention(shares_kT, image_T, latent_T, [(1, 2), (2, 1)])
    assert torch.equal(images[0], torch.tensor([[[0.2, 0.05]]]))
    assert torch.equal(images[1], torch.tensor([[[0.25], [0.05]]]))
    assert {name: share.item() for name, share in totals.items()} == pytest.approx(
        {"image": 0.55, "latents": 0.2, "text": 0.25}
    )


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("centred", [False, True])
def test_resemblance_is_the_cosine_to_each_feature(centred):
    latents_kD, features_RCD, means = drawn(3, 8), drawn(2, 5, 8, seed=1), (drawn(3, 8, seed=2), drawn(8, seed=3))
    found_kRC = compare_patches(latents_kD, features_RCD, means if centred else None)
    assert found_kRC.shape == (3, 2, 5)
    for k in range(3):
        for row in range(2):
            for column in range(5):
                latent_D, feature_D = latents_kD[k], features_RCD[row, column]
                if centred:
                    latent_D, feature_D = latent_D - means[0][k], feature_D - means[1]
                assert found_kRC[k, row, column].item() == pytest.approx(
                    cosine_similarity(latent_D, feature_D, dim=0).item()
                )


def test_centring_finds_the_patch_that_what_all_share_hides():
    """Latents and features share a large part each; latent 1 says what patch (1, 2) says beyond that."""
    features_RCD = drawn(2, 3, 16) + 40 * drawn(16, seed=1)
    common_D = 30 * drawn(16, seed=2)
    latents_kD = torch.stack([common_D, common_D + features_RCD[1, 2] - features_RCD.mean((0, 1))])
    means = common_D.expand(2, 16), features_RCD.mean((0, 1))
    assert find_peaks(compare_patches(latents_kD, features_RCD, means)[1:])[0][0] == (1, 2)
    raw_RC = compare_patches(latents_kD, features_RCD)[1]
    assert raw_RC.max() - raw_RC.min() < 0.1


def test_the_highest_cells_come_first_and_there_may_be_few():
    heat_kRC = torch.tensor([[[0.1, 0.9], [0.5, -1.0]], [[0.0, 0.1], [0.2, 0.3]]])
    assert find_peaks(heat_kRC) == [[(0, 1), (1, 0), (0, 0)], [(1, 1), (1, 0), (0, 1)]]
    assert find_peaks(heat_kRC[:1, :1]) == [[(0, 1), (0, 0)]]


def test_the_plane_is_that_of_the_singular_vectors_whatever_the_lengths():
    groups = {"few": drawn(5, 12), "many": drawn(30, 12, seed=1)}
    found, shares = project_on_plane({"few": 100 * groups["few"], "many": groups["many"]})
    points_PD = torch.cat([each / each.norm(dim=1, keepdim=True) for each in groups.values()])
    points_PD = points_PD - points_PD.mean(0)
    _, values, directions = torch.linalg.svd(points_PD, full_matrices=False)
    expected_P2 = points_PD @ directions[:2].T
    found_P2 = torch.cat(list(found.values()))
    assert [len(each) for each in found.values()] == [5, 30]
    assert torch.allclose(found_P2.abs(), expected_P2.abs(), atol=1e-10)
    assert torch.allclose(found_P2.T @ found_P2, expected_P2.T.abs() @ expected_P2.abs() * torch.eye(2), atol=1e-8)
    assert shares == pytest.approx((values.square() / values.square().sum())[:2].tolist())
    assert torch.allclose(found["few"], project_on_plane(groups)[0]["few"]), "signs too"


def test_few_vectors_are_kept_and_many_thinned_evenly():
    vectors_PD = torch.arange(10).view(-1, 1)
    assert thin_vectors(vectors_PD, 10) is vectors_PD
    assert thin_vectors(vectors_PD, 4).flatten().tolist() == [0, 3, 6, 9]


def test_features_lie_on_the_grid_of_their_image(probe):
    images = probe.collate.prompts(probe.samples[:2]).images
    found = compute_features(probe.net, images)
    flat = probe.net.image_features(images)
    assert [tuple(each.shape[:2]) for each in found] == [(3, 3), (4, 4)]
    assert all(torch.equal(each[1, 2], row[each.shape[1] + 2]) for each, row in zip(found, flat, strict=True))


def test_blocks_of_an_answer_are_counted_as_they_were_written(collator):
    start, pad, end = collator.latent_start, collator.latent_pad, collator.latent_end
    answer = [5, pad, start, pad, pad, end, start, end, 7, start, pad]  # a pad as a word, an empty block, one cut off
    assert count_latents(collator, answer) == [2, 1]
    assert mask_stray_tokens(collator, answer)[1] == collator.pad


def test_cosines_of_pairs_have_the_means_that_are_reported():
    latents = [*drawn(6, 3, 8), drawn(0, 8)]
    assert len(compare_within(latents)) == 6 * 3
    assert len(compare_across(latents)) == 3 * 15
    assert compare_within(latents).mean().item() == pytest.approx(cosine_within(latents))
    assert compare_across(latents).mean().item() == pytest.approx(cosine_across(latents))


def test_similarities_have_the_own_helper_image_on_the_diagonal():
    latents, targets = list(drawn(5, 2, 8)), list(drawn(5, 2, 8, seed=1))
    found_RR = compare_with_targets(latents, targets)
    own_RX, theirs_RX = (
        torch.stack(each).flatten(1) - torch.stack(each).flatten(1).mean(0) for each in (latents, targets)
    )
    for row in range(5):
        for column in range(5):
            expected = cosine_similarity(own_RX[row], theirs_RX[column], dim=0).item()
            assert found_RR[row, column].item() == pytest.approx(expected)


def names_of(probe, rows):
    pictures = dict(probe.pictures(rows))
    for picture in pictures.values():
        written = BytesIO()
        picture.save(written, "PNG")
        assert len(written.getvalue()) < 150_000
        assert picture.width == 960
    return list(pictures)


def test_rows_with_latents_are_drawn_and_those_without_are_skipped(probe):
    without = [row for row, latents in enumerate(probe.latents) if not len(latents)]
    assert len(without) == 1
    drawn_rows = [f"row-{row}" for row in range(6) if row not in without]
    assert names_of(probe, range(6)) == ["geometry", "plane", *drawn_rows]
    assert names_of(probe, without) == ["geometry", "plane"]


def test_a_strip_stands_for_each_block_and_image_and_blocks_without_helper_image_have_attention_alone(probe):
    panels, row = panels_of(probe), 2
    sizes, helpers = count_latents(probe.collate, panels.answers[row]), 2
    assert sizes[:2] == [1, 5]
    strips = list(panels.strips(row))
    assert [strip.color for strip in strips] == [ATTENTION, RESEMBLANCE] * helpers + [ATTENTION] * (
        len(sizes) - helpers
    )
    assert [len(strip.heat_kRC) for strip in strips[:4]] == [1, 1, 5, 5]
    assert strips[2].captions[0].startswith("latent 2\n"), "counted through the row"
    means = panels.places[1], panels.mean_D
    expected = compare_patches(
        panels.latents[row][1:2], panels.encode_images(row)[1][1], (means[0].unsqueeze(0), means[1])
    )
    assert torch.allclose(strips[3].heat_kRC[:1], expected)
    batch = join_answers(probe.collate, probe.collate.prompts([probe.samples[row]]), [panels.answers[row]])
    shares_nT = record_attention(probe.net, batch, embed_latents(probe.net, batch, [panels.latents[row]])).mean(0)
    image_T = batch.tokens_BT[0] == probe.collate.image_pad
    assert torch.equal(strips[2].heat_kRC.flatten(1), shares_nT[1:6][:, image_T])


def test_every_input_image_has_a_strip_of_its_own(talkative, collator, samples):
    """The second sample's maze stands behind the first's."""
    talkative.level = -1e9
    maze = next(part for part in samples[1].question if isinstance(part, Picture))
    both = replace(samples[0], question=(*samples[0].question, maze))
    probe = probe_of(talkative, collator, [both, samples[1]], (2,))
    first, second = list(panels_of(probe).strips(0))[:2]
    assert [tuple(strip.heat_kRC.shape[1:]) for strip in (first, second)] == [(3, 3), (4, 4)]
    assert not torch.equal(first.heat_kRC[:, :2, :2], second.heat_kRC[:, :2, :2])


def test_a_question_without_image_has_its_helper_image_alone(talkative, collator, samples):
    talkative.level = -1e9
    blind = replace(samples[0], question=tuple(part for part in samples[0].question if isinstance(part, Text)))
    probe = probe_of(talkative, collator, [blind, samples[1]], (2,))
    strips = list(panels_of(probe).strips(0))
    assert [strip.color for strip in strips] == [RESEMBLANCE]
    assert names_of(probe, [0, 1]) == ["geometry", "plane", "row-0", "row-1"]


def lost(sample):
    parts = [replace(part, path=Path("nothing.png")) if isinstance(part, Latent) else part for part in sample.answer]
    return replace(sample, answer=tuple(parts))


def test_without_helper_images_attention_and_the_plane_are_left(probe):
    probe.samples = [lost(sample) for sample in probe.samples]
    panels = panels_of(probe)
    assert {strip.color for row in (0, 2) for strip in panels.strips(row)} <= {ATTENTION}
    assert panels.points().keys() == {"input images", "words of questions", "words of answers", "latents"}
    assert "geometry" in names_of(probe, [2])


def test_a_row_is_drawn_though_it_is_not_among_the_first_and_alone_has_a_helper_image(probe, monkeypatch):
    monkeypatch.setattr("mirage_pl.mirage.probing.panels.MAX_ROWS", 1)
    probe.samples = [sample if row == 2 else lost(sample) for row, sample in enumerate(probe.samples)]
    panels = panels_of(probe, 0, 2)
    assert panels.sources == [0, 2]
    assert [strip.color for strip in panels.strips(2)][:2] == [ATTENTION, RESEMBLANCE]
    assert names_of(probe, [2]) == ["geometry", "plane", "row-2"]


def test_a_helper_image_too_small_for_its_block_is_no_oracle(talkative, processor, samples):
    """3 x 3 patches; stage 2 trains all the same, since it opens no helper image."""
    talkative.level = -1e9
    probes = [
        probe_of(talkative, Collator(processor, size, latents=True, helpers=False), samples[:2], (2,))
        for size in (9, 10)
    ]
    assert [set(ORACLES) <= set(probe.names) for probe in probes] == [True, False]
    assert "retrieved" not in probes[1].describe()


def test_there_are_no_pictures_without_latents(talkative, collator, samples):
    talkative.level = 1e9
    assert list(probe_of(talkative, collator, samples[:2], (2,)).pictures([0, 1])) == []


def test_a_single_latent_is_drawn_too(talkative, processor, samples):
    """No pair, no spread, one singular value, all of it rounding."""
    talkative.level = -1e9
    collator = Collator(processor, 1, latents=True, helpers=False)
    decoder = Decoder(processor, 1)
    baseline = [decoder(talkative, collator.prompts(samples[:1]), Decoding(2))]
    probe = Interventions(talkative, processor, collator, Decoding(2), samples[:1], baseline)
    assert names_of(probe, [0]) == ["geometry", "plane", "row-0"]


def test_pictures_leave_the_model_and_the_random_state_alone(probe):
    probe.net.zero_grad()  # the fixture's model is shared with tests that train it
    before, state = torch.get_rng_state(), np.random.get_state()[1].copy()
    logits = probe.net.logits(probe.latents[2])
    first = [np.asarray(picture) for _, picture in probe.pictures([0, 2])]
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == state).all()
    assert torch.equal(probe.net.logits(probe.latents[2]), logits)
    assert not any(parameter.grad is not None for parameter in probe.net.parameters())
    again = [np.asarray(picture) for _, picture in probe.pictures([0, 2])]
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))


def strip(heat_kRC, color=ATTENTION, marks=(), side=60):
    captions = [f"latent {k + 1}" for k in range(len(heat_kRC))]
    return Strip(Image.new("RGB", (side, side), "white"), "label", heat_kRC, captions, color, marks)


def test_heat_stands_where_the_patch_is():
    heat_kRC = torch.zeros(1, 2, 2)
    heat_kRC[0, 1, 0] = 1.0
    pixels = np.asarray(draw_strips("", [strip(heat_kRC)]).convert("RGB")).astype(int)
    reddish = (pixels[..., 0] - pixels[..., 1]) > 100
    down, across = (axis.mean() for axis in reddish.nonzero())
    side = 160 * 0.95
    assert across == pytest.approx(160 + side / 4, abs=3), "in the left half of the second picture"
    assert down == pytest.approx(32 + 160 - side / 4, abs=3), "in its lower half"
    assert reddish.sum() == pytest.approx((side / 2) ** 2, rel=0.05)


def test_heat_of_one_colour_has_one_scale_across_strips():
    weak, strong = torch.full((1, 1, 1), 0.1), torch.full((1, 1, 1), 0.4)
    both = np.asarray(draw_strips("", [strip(weak), strip(strong)]).convert("RGB")).astype(int)
    apart = np.asarray(draw_strips("", [strip(weak), strip(strong, RESEMBLANCE)]).convert("RGB")).astype(int)
    redness = [image[80, 240, 0] - image[80, 240, 1] for image in (both, apart)]
    assert 0 < 3 * redness[0] < redness[1]


def test_many_latents_go_into_lines_and_too_many_lines_are_left_out():
    heights = [draw_strips("", [strip(torch.rand(k, 2, 2), side=60)]).height for k in (ACROSS, ACROSS + 1)]
    assert heights[1] - 32 == pytest.approx(2 * (heights[0] - 32), abs=2)
    many = [draw_strips("", [strip(torch.rand(2, 2, 2))] * count).height for count in (MAX_LINES, MAX_LINES + 5)]
    assert many[0] == many[1]


def test_geometry_is_drawn_without_targets_and_without_pairs():
    spectrum, norms = torch.tensor([0.75, 0.25]), {"latents": torch.tensor([1.0, 2.0])}
    cosines = {"same row": torch.zeros(0), "other row": torch.tensor([0.5, 1.0])}
    without = draw_geometry(cosines, spectrum, norms, None)
    own = draw_geometry(cosines, spectrum, norms, torch.eye(3))
    assert without.size == own.size
    lower_right = [np.asarray(picture.convert("RGB"))[340:, 520:] for picture in (without, own)]
    assert (lower_right[0] == 255).all()
    assert not (lower_right[1] == 255).all()
