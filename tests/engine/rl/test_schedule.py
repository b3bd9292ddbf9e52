"""Which prompts a round asks, and which of its rollouts a step has: every one once a pass, by numbers alone."""

import pytest

from mirage_pl.engine.rl.schedule import Schedule, draw_prompts


def picked(schedule, rows, kept, parts=1, steps=None):
    """Rollouts of each batch of the first round."""
    return [
        schedule.pick(0, step, part, parts, rows, kept)
        for step in range(steps or schedule.steps(rows))
        for part in range(parts)
    ]


@pytest.mark.parametrize(("kept", "parts"), [(12, 1), (12, 2), (9, 1), (5, 2)])
def test_each_rollout_is_in_one_batch_of_a_pass(kept, parts):
    schedule = Schedule(prompts=3, group=4, epochs=2)
    batches = picked(schedule, 4, kept, parts)
    assert len(batches) == schedule.steps(4) * parts == 6 * parts
    half = len(batches) // 2
    passes = [sum(batches[:half], []), sum(batches[half:], [])]
    if kept >= half:
        assert [sorted(one) for one in passes] == [list(range(kept))] * 2
    assert passes[0] != passes[1], "in another order each time"
    assert all(batches), "no batch is empty"
    assert batches == picked(schedule, 4, kept, parts)


def test_a_round_of_few_rollouts_still_has_one_for_each_batch():
    batches = picked(Schedule(prompts=4, group=4), 2, 3)
    assert len(batches) == 8
    assert {row for batch in batches for row in batch} == {0, 1, 2}


def test_rollouts_that_do_not_go_into_whole_steps_are_refused_with_both_numbers():
    with pytest.raises(ValueError, match="are 12 answers, which don't go into whole steps of 8"):
        Schedule(prompts=3, group=4).steps(8)


def test_a_group_of_one_is_refused_as_the_config_is_read():
    with pytest.raises(ValueError, match=r"rollouts\.group=1"):
        Schedule(group=1)


def test_prompts_come_all_before_any_comes_again_and_never_twice_in_a_round():
    taken, drawn = 0, []
    for _ in range(5):
        indices, taken = draw_prompts(7, taken, 4, 10)
        assert len(set(indices)) == 4
        drawn += indices
    assert [len(set(drawn[first : first + 8])) for first in (0, 8)] == [8, 8]
    assert drawn[:8] != drawn[8:16], "in another order"
    assert draw_prompts(7, 0, 4, 10)[0] == drawn[:4] != draw_prompts(8, 0, 4, 10)[0]
    assert sorted(draw_prompts(0, 5, 3, 3)[0]) == [0, 1, 2]


def test_more_prompts_than_there_are_are_refused():
    with pytest.raises(ValueError, match=r"rollouts\.prompts=4, but there are 3"):
        draw_prompts(0, 0, 4, 3)
