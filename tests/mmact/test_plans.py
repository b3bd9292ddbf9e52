"""Plans in words, scored: what is said, conditions, and rows that nobody says anything in."""

import json

import pytest
from hydra.utils import instantiate

from mirage_pl.engine import evaluate
from mirage_pl.engine.training import fit
from mirage_pl.mmact.evaluations.asking import pick_places
from mirage_pl.mmact.evaluations.plans import Saying
from tests.conftest import compose
from tests.mmact.conftest import QUIET, compose_small


@pytest.fixture(scope="module")
def mixed(told, tmp_path_factory):
    """The folder of a run of both, two steps."""
    folder = tmp_path_factory.mktemp("mix") / "run"
    words = [*QUIET, f"data={told}", f"run_dir={folder}", "loader.batch_size=4"]
    fit.run(compose_small("train", *words, stage="mmact/mix"))
    return folder


def test_a_mixed_run_is_scored_by_what_it_says_and_by_what_it_does(mixed):
    metrics = evaluate.run(compose("evaluate", f"ckpt={mixed}", "evaluation=mmact/plans", "label=plans"))
    rows = [json.loads(line) for line in (mixed / "evaluation/plans/predictions.jsonl").read_text().splitlines()]
    assert metrics["exact"]["all"]["n"] == len(rows) == 16
    assert set(metrics["conditions"]) == {"wrong_instruction", "no_instruction", "no_state", "majority"}
    assert all(row["exact"] == (row["said"] == row["plan"]) for row in rows)
    truths = [row["plan"] for row in rows]
    majority = metrics["conditions"]["majority"]["measures"]["exact"]["mean"]
    assert majority in {truths.count(plan) / 16 for plan in truths} | {0}
    acted = evaluate.run(compose("evaluate", f"ckpt={mixed}", "evaluation=mmact/policy", "conditions=[]"))
    assert acted["success"]["all"]["n"] == 4


def test_steps_are_spread_over_each_episode(told):
    cfg = compose_small("train", f"data={told}")
    rows = instantiate(cfg.task.dataset).read(cfg.task.test_file)
    places = pick_places(rows, 3)
    by_episode = {row: [rows[place].at for place in places if rows.places[place][0] == row] for row in range(4)}
    for row, steps in by_episode.items():
        assert len(steps) == 3
        assert (steps[0], steps[-1]) == (0, rows.rows[row]["length"] - 2)
    assert len(pick_places(rows, 1)) == 4


def test_a_run_that_says_nothing_and_a_condition_that_there_isnt_are_refused(run):
    with pytest.raises(ValueError, match="says no words"):
        evaluate.run(compose("evaluate", f"ckpt={run}", "evaluation=mmact/plans", "label=plans"))
    cfg = compose_small("train")
    for conditions, file, words in (
        (["expert"], "x", "unknown"),
        (["majority"], None, "needs training data"),
    ):
        with pytest.raises(ValueError, match=words):
            Saying(conditions, instantiate(cfg.decode_words), 4, instantiate(cfg.task.dataset), file)
