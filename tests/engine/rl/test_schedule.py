"""Which prompts a round asks, and which of its rollouts a step has: every one once a pass, by numbers alone."""

import pytest

from mirage_pl.engine.errors import find_mistake
from mirage_pl.engine.rl.schedule import Schedule, draw_prompts
from mirage_pl.engine.training import fit
from mirage_pl.engine.training.checks import check_rounds
from tests.conftest import compose


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


@pytest.mark.parametrize("stage", ["grpo", "distill", "ivideogpt/rlvr"])
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("rollouts.group=1",), "rollouts.group=1, but an answer is compared with others"),
        (
            ("rollouts.prompts=3", "rollouts.group=4", "loader.batch_size=8"),
            "12 answers, which don't go into whole steps of",
        ),
        (
            ("rollouts.prompts=4", "rollouts.group=4", "loader.batch_size=4", "trainer.accumulate_grad_batches=3"),
            "16 answers, which don't go into whole steps of 12",
        ),
    ],
)
def test_rounds_that_cannot_be_are_refused_before_anything_is_loaded_or_made(tmp_path, stage, words, line):
    cfg = compose("train", f"stage={stage}", f"run_dir={tmp_path}/run", "trainer.accelerator=cpu", *words)
    with pytest.raises(Exception, match=line) as refused:
        fit.run(cfg)
    assert line in str(find_mistake(refused.value))
    assert not (tmp_path / "run").exists()


def test_rounds_are_counted_over_processes_and_left_to_training_where_the_machine_chooses_them():
    words = ["stage=grpo", "rollouts.prompts=4", "rollouts.group=4", "loader.batch_size=16"]
    check_rounds(compose("train", *words))
    check_rounds(compose("train", *words, "trainer.devices=auto"))
    check_rounds(compose("train", "stage=sft", "loader.batch_size=3"))
    with pytest.raises(ValueError, match="16 answers, which don't go into whole steps of 32"):
        check_rounds(compose("train", *words, "trainer.devices=2"))


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
