"""What stands beside a rollout: counts of codes, draws, curves over frames."""

import numpy as np
import pytest
import torch

from mirage_pl.ivideogpt.evaluations.horizon import find_lead, measure_horizon
from mirage_pl.ivideogpt.evaluations.imagining import repeat_share, summarize_draws
from mirage_pl.ivideogpt.evaluations.measures import FrameScores
from mirage_pl.ivideogpt.evaluations.unigram import PRIOR, Unigram


def test_the_frame_from_which_on_copying_is_beaten_is_the_first_after_the_last_that_it_isnt():
    def gains(*lows):
        return [{"difference": low + 1, "low": low} for low in lows]

    assert find_lead(gains(0.1, 0.2)) == 1
    assert find_lead(gains(-0.1, 0.2, 0.3)) == 2
    assert find_lead(gains(0.1, -0.2, 0.3)) == 3
    assert find_lead(gains(0.1, 0.2, 0.0)) is None
    assert find_lead([]) is None
    assert find_lead([{"difference": 1, "low": None}]) is None
    assert measure_horizon({"own": [[1.0, 2.0]], "unigram": [[]]}, "copy_last", ["a"]) == {
        "psnr": {"own": [1.0, 2.0]},
        "gain": [],
    }


def test_a_code_repeats_if_all_of_a_frames_do():
    codes = torch.tensor([[[1, 2], [1, 2], [1, 3], [1, 3]], [[1, 2], [2, 1], [1, 2], [0, 0]]])
    assert repeat_share(codes) == pytest.approx([2 / 3, 0])
    assert repeat_share(codes[:, :1]) == [None, None]


def test_codes_are_counted_in_their_places_in_other_episodes_alone():
    stream = torch.Generator().manual_seed(0)
    codes = {name: torch.randint(3, (2, 2), generator=stream) for name in "abcd"}
    units = {"a": "x", "b": "x", "c": "y", "d": "z"}
    rewards = {name: torch.tensor([float(place), 2.0]) for place, name in enumerate("abcd")}
    unigram = Unigram(codes, rewards, units, 3)
    for name, own in codes.items():
        others = torch.cat([each for other, each in codes.items() if units[other] != units[name]])
        nats = []
        for frame in own.tolist():
            for place, code in enumerate(frame):
                count = sum(other[place] == code for other in others.tolist())
                nats.append(-np.log((count + PRIOR) / (len(others) + 3 * PRIOR)))
        assert unigram.nats(name) == pytest.approx(np.mean(nats), rel=1e-5)
    assert unigram.reward_error("c") == pytest.approx(np.mean([(2 - 10 / 6) ** 2] * 2))
    assert Unigram(codes, {}, units, 3).reward_error("a") is None
    assert Unigram({"a": codes["a"]}, {"a": rewards["a"]}, {"a": "x"}, 3).reward_error("a") is None


def test_the_best_of_draws_is_each_measures_own_and_the_mean_is_over_all():
    draws = [
        {"psnr": torch.tensor([[1.0, 3.0], [6.0, 6.0]]), "mse": torch.tensor([[4.0, 4.0], [1.0, 1.0]])},
        {"psnr": torch.tensor([[4.0, 4.0], [5.0, 5.0]]), "mse": torch.tensor([[5.0, 5.0], [3.0, 3.0]])},
    ]
    summary = summarize_draws([{**each, "repetition": torch.tensor([0.5, 0.0])} for each in draws], FrameScores(None))
    assert summary["mean"] == {"psnr": [3, 5.5], "mse": [4.5, 2], "repetition": [0.5, 0]}
    assert summary["best"] == {"psnr": [4, 6], "mse": [4, 1], "repetition": [0.5, 0]}
    assert summary["mean_curves"] == [[2.5, 3.5], [5.5, 5.5]]
    assert summary["best_curves"] == [[4, 4], [6, 6]]
