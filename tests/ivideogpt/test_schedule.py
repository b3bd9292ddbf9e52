import pytest

from mirage_pl.ivideogpt.control.schedule import ModelSchedule, Schedule

PLAYING = {"length": 11, "seed_actions": 25, "updates": 2, "deviation": [1.0, 0.2, 80], "demonstrations": 0, "held": 1}
MODEL = {"first_updates": 5, "first_batches": 3, "every": 4, "batch": 2, "horizon": 10}
MODEL |= {"transformer_every": 2, "tokenizer_every": 3, "real": 0.75, "clips": 4}


def test_episodes_are_played_whole_before_the_updates_that_they_bring():
    playing = Schedule(**PLAYING)
    assert playing.seed_episodes == 3  # 25 random actions in episodes of 10
    assert [playing.episodes(step) for step in (0, 19, 20, 39, 40)] == [4, 4, 5, 5, 6]
    assert Schedule(**PLAYING | {"updates": 0.5}).episodes(5) == 5


def test_noise_falls_over_actions_and_then_stays():
    playing = Schedule(**PLAYING)
    assert [playing.deviation_of(action) for action in (0, 40, 80, 999)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert playing.deviation_at(0) == playing.deviation_of(30)
    assert playing.deviation_at(20) == playing.deviation_of(40)


def test_the_world_model_learns_alone_at_first_then_at_its_intervals():
    model = ModelSchedule(**MODEL)
    assert [model.acts(step) for step in (0, 4, 5)] == [False, False, True]
    learns = {step: model.learns(step) for step in range(4, 12)}
    both, first = ["transformer", "tokenizer"], ["transformer"]
    assert learns == {4: both, 5: both, 6: [], 7: first, 8: ["tokenizer"], 9: first, 10: [], 11: both}
    assert ModelSchedule(**MODEL | {"tokenizer_every": None}).learns(0) == first


def test_batches_are_imagined_once_the_world_model_has_begun_and_then_at_their_interval():
    model = ModelSchedule(**MODEL)
    assert [model.batches(step) for step in (4, 5, 8, 9, 13)] == [0, 3, 3, 4, 5]
    assert [model.num_imagined(step, 16) for step in (4, 5)] == [0, 4]
    real = ModelSchedule(**MODEL | {"real": 1.0})
    assert (real.batches(100), real.num_imagined(100, 16)) == (0, 0)


@pytest.mark.parametrize(
    "wrong", [{"length": 1}, {"seed_actions": 0}, {"updates": 0}, {"held": 0}, {"demonstrations": -1}]
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="playing has"):
        Schedule(**PLAYING | wrong)
    with pytest.raises(ValueError, match="deviation"):
        Schedule(**PLAYING | {"deviation": [1.0, 0.1]})
