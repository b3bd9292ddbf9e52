"""How far chosen actions are from demonstrated ones, by hand, under conditions, and without a simulator."""

import json

import numpy as np
import pytest
from hydra.utils import instantiate

from mirage_pl.engine import evaluate
from mirage_pl.mmact.evaluations.imitation import Imitating
from tests.conftest import compose
from tests.mmact.conftest import compose_small


def test_actions_are_compared_with_those_of_demonstrations_within_their_episode(run, told):
    given = ["evaluation=mmact/imitation", "label=imitation", "per_episode=2"]
    metrics = evaluate.run(compose("evaluate", f"ckpt={run}", *given))
    rows = [json.loads(line) for line in (run / "evaluation/imitation/predictions.jsonl").read_text().splitlines()]
    assert metrics["off"]["all"]["n"] == len(rows) == 8
    assert set(metrics["conditions"]) == {"wrong_instruction", "no_instruction", "no_state", "mean"}
    cfg = compose_small("train", f"data={told}")
    data = instantiate(cfg.task.dataset)
    test, mean = data.read(cfg.task.test_file), data.read(cfg.task.train_file).gather()[1].mean(0)
    with pytest.raises(ValueError, match="needs a view, and this policy reads 0"):
        evaluate.run(compose("evaluate", f"ckpt={run}", *given[:1], "conditions=[blank_image]", "label=none"))
    with pytest.raises(ValueError, match="doesn't learn to code pictures; score one of stage=mmact/vq"):
        evaluate.run(compose("evaluate", f"ckpt={run}", "evaluation=mmact/pictures", "label=none"))
    assert metrics["decode"]["steps"] == 1
    steps = {test[place].where: test[place] for place in range(len(test))}
    for row in rows:
        step = steps[row["where"]]
        away = np.abs(step.actions_HA[: step.real] - mean).mean()
        assert row["conditions"]["mean"]["off"] == pytest.approx(away, abs=1e-5)


def test_a_condition_that_there_isnt_and_one_without_data_are_refused():
    cfg = compose_small("train")
    for conditions, file, words in ((["expert"], "x", "unknown"), (["mean"], None, "needs training data")):
        with pytest.raises(ValueError, match=words):
            Imitating(conditions, instantiate(cfg.decode), 4, instantiate(cfg.task.dataset), file)


def test_what_a_policy_cant_be_compared_with_is_refused_before_it_plays(run):
    for words, line in (
        (["task.train_file=null"], "conditions=.nearest. needs training data"),
        (["task.train_file=null", "conditions=[mean]"], "conditions=.mean. needs training data"),
        (["conditions=[blank_image]"], "conditions=.blank_image. needs 1 view"),
        (["conditions=[moved_objects]"], "this world can't place things elsewhere"),
    ):
        given = [f"ckpt={run}", "evaluation=mmact/policy", "label=never", *words]
        with pytest.raises(ValueError, match=line):
            evaluate.run(compose("evaluate", *given))
    assert not [*(run / "evaluation/never").glob("**/own*")]
