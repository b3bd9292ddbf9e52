"""The causal VAE: what a frame depends on, pieces and tiles, sizes, weights in folders."""

import pytest
import torch
import torch.distributed
from hydra.utils import instantiate

from mirage_pl.deepverse.model.causal import shuffle_space, unshuffle_space
from mirage_pl.deepverse.model.released import build_vae, write_folder
from mirage_pl.deepverse.model.straight import draw_waves
from mirage_pl.deepverse.model.tiling import blend, work_in_tiles
from mirage_pl.deepverse.model.vae import CausalVAE, Codes
from mirage_pl.deepverse.model.vae_coders import VaeSizes
from tests.conftest import compose

SIZES = VaeSizes(2, (8, 8), 1, 1, 4, (1, 2), (2, 1), patch=2, time_kernel=3)


def build(sizes=SIZES):
    torch.manual_seed(0)
    return CausalVAE(sizes).double().eval()


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_unit_depends_on_its_frames_and_those_before_and_a_frame_on_its_unit_and_those_before():
    vae, clip = build(), draw(1, 3, 7, 8, 8)
    assert (vae.sizes.space, vae.sizes.time) == (4, 2)
    codes = vae.encode(clip).mean_BCNhw
    assert codes.shape == (1, 2, 4, 2, 2)
    later = clip.clone()
    later[:, :, 5:] += 1
    changed = (vae.encode(later).mean_BCNhw - codes).abs().amax((0, 1, 3, 4))
    assert changed[:3].max() == 0
    assert changed[3] > 0
    back, moved = vae.decode(codes), codes.clone()
    assert back.shape == clip.shape
    moved[:, :, 2] += 1
    changed = (vae.decode(moved) - back).abs().amax((0, 1, 3, 4))
    assert changed[:3].max() == 0
    assert changed[3:].min() > 0


def test_pieces_of_any_length_give_what_the_whole_gives_and_frames_that_make_no_unit_are_left_out():
    lean = {"time_kernel": 1, "attends": False, "straight": True}
    for sizes in (SIZES, VaeSizes(2, (8, 8, 8), 1, 1, 4, (2, 1, 1), (2, 2, 1), patch=2, **lean)):
        vae, clip = build(sizes), draw(2, 3, 6 * sizes.time + 1, 8, 8)
        codes = vae.encode(clip).mean_BCNhw
        back = vae.decode(codes)
        for piece in (1, 2, 4, 9):
            torch.testing.assert_close(vae.encode(clip, piece=piece).mean_BCNhw, codes)
            torch.testing.assert_close(vae.decode(codes, piece=piece), back)
        longer = torch.cat((clip, clip[:, :, :1]), 2)
        torch.testing.assert_close(vae.encode(longer, piece=2).mean_BCNhw, codes)
        assert vae.count_units(longer.shape[2]) == codes.shape[2]


def test_a_running_process_group_changes_nothing(tmp_path):
    vae, clip = build(), draw(1, 3, 5, 8, 8)
    alone = vae(clip)[1]
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        assert torch.equal(vae(clip)[1], alone)
    finally:
        torch.distributed.destroy_process_group()


def test_tiles_change_nothing_where_places_know_only_themselves_and_seams_are_lines():
    clip = draw(1, 2, 1, 11, 13)
    doubled = work_in_tiles(lambda part: part * 2, clip, 8, 8)
    torch.testing.assert_close(doubled, clip * 2)
    enlarged = work_in_tiles(lambda part: part.repeat_interleave(2, -1).repeat_interleave(2, -2), clip, 4, 8)
    torch.testing.assert_close(enlarged, clip.repeat_interleave(2, -1).repeat_interleave(2, -2))
    mixed = blend(torch.zeros(1, 4), torch.ones(1, 4), 4, -1)
    assert mixed.tolist() == [[0, 0.25, 0.5, 0.75]]


def test_waves_are_of_length_one_and_across_each_other_and_those_that_there_arent_are_nothing():
    waves = draw_waves(2, 2, 30).flatten(1)
    torch.testing.assert_close(waves @ waves.T, torch.diag((torch.arange(30) < 24).float()), atol=1e-6, rtol=0)
    assert waves[0].unique().numel() == 1


def test_a_vae_with_straight_ways_begins_with_the_lowest_waves_of_what_it_sees():
    vae = build(VaeSizes(24, (8, 8), 1, 1, 4, (1, 1), (2, 1), patch=2, attends=False, straight=True))
    clip = draw(1, 3, 5, 4, 6)
    torch.testing.assert_close(vae(clip)[1], clip, atol=1e-5, rtol=0)  # all waves are there
    few = build(VaeSizes(1, (8, 8), 1, 1, 4, (1, 1), (2, 1), patch=2, attends=False, straight=True))
    gray = few(clip)[1]
    torch.testing.assert_close(
        gray[:, :, 1:3, :2, :2], clip[:, :, 1:3, :2, :2].mean().expand(1, 3, 2, 2, 2), atol=1e-5, rtol=0
    )
    assert few.encode(clip).spread_BCNhw.unique().tolist() == [-6]


def test_channels_become_places_and_places_channels_again():
    clip = draw(1, 12, 2, 3, 4)
    torch.testing.assert_close(unshuffle_space(shuffle_space(clip, 2), 2), clip)
    assert shuffle_space(clip, 2)[0, 0, 0, 0, :2].tolist() == clip[0, :2, 0, 0, 0].tolist()


def test_codes_are_drawn_and_their_information_is_that_of_normal_distributions():
    codes = Codes(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0]))
    assert codes.draw(torch.tensor([2.0, 1.0])).tolist() == pytest.approx([3, torch.e])
    ours = torch.distributions.Normal(codes.mean_BCNhw, (codes.spread_BCNhw / 2).exp())
    wanted = torch.distributions.kl_divergence(ours, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(codes.measure_information(), wanted)


def test_the_released_sizes_have_the_published_parameters():
    cfg = compose("train", "stage=deepverse/vae", "model=deepverse/deepverse_2b")
    with torch.device("meta"):
        vae = instantiate(cfg.model.vae)
    counts = [sum(weight.numel() for weight in part.parameters()) / 1e6 for part in (vae.encoder, vae.decoder)]
    assert counts == pytest.approx([109.6, 225.8], abs=0.05)
    assert (vae.sizes.space, vae.sizes.time) == (8, 8)
    assert instantiate(cfg.model.codec).channels == 38


def test_sizes_that_cant_be_and_frames_that_dont_fit_are_refused():
    with pytest.raises(ValueError, match=r"time_strides=\[2\] must have a 1 or 2 for each of 2 blocks"):
        VaeSizes(2, (8, 8), 1, 1, 4, (1, 2), (2,))
    with pytest.raises(ValueError, match="frames of 8 x 6 pixels; both must be multiples of 4"):
        build().encode(draw(1, 3, 1, 8, 6))


def test_weights_are_read_from_a_folder_and_another_models_are_refused(tmp_path):
    vae = build().float()
    write_folder(vae, tmp_path)
    again = build_vae(str(tmp_path), SIZES)
    assert all(torch.equal(weight, vae.state_dict()[name]) for name, weight in again.state_dict().items())
    with pytest.raises(ValueError, match="is of other sizes: decoder.conv_in.conv.weight is"):
        build_vae(str(tmp_path), VaeSizes(3, (8, 8), 1, 1, 4, (1, 2), (2, 1), patch=2))
    with pytest.raises(ValueError, match="gone has no diffusion_pytorch_model.safetensors"):
        build_vae(str(tmp_path / "gone"), SIZES)
