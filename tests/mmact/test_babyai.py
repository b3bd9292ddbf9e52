"""BabyAI, from its data to a policy that is scored in it; and a policy in a world of other numbers."""

import json

import pytest
from hydra.utils import instantiate

from mirage_pl.engine import evaluate
from mirage_pl.engine.training import fit
from tests.conftest import compose
from tests.mmact.conftest import QUIET, compose_small

SMALL = ["task=babyai", "task.episodes={train: 6, val: 2, test: 4}"]


def test_a_policy_of_seven_actions_is_trained_played_and_asked_what_it_is_about(run, tmp_path):
    cfg = compose_small(
        "train", *QUIET, *SMALL, f"data={tmp_path}", f"run_dir={tmp_path}/run", "loader.batch_size=4", stage="mmact/mix"
    )
    instantiate(cfg.task.data.maker, num_workers=1).make()
    fit.run(cfg)
    conditions = "conditions=[wrong_instruction,expert]"
    metrics = evaluate.run(
        compose("evaluate", f"ckpt={tmp_path}/run", "evaluation=mmact/policy", "limit=40", conditions)
    )
    assert metrics["conditions"]["expert"]["measures"]["success"]["mean"] == 1
    rows = (tmp_path / "run/evaluation/babyai/predictions.jsonl").read_text().splitlines()
    assert {json.loads(row)["group"] for row in rows} <= set(cfg.task.levels)
    said = evaluate.run(compose("evaluate", f"ckpt={tmp_path}/run", "evaluation=mmact/plans", "conditions=[]"))
    assert said["exact"]["all"]["n"] > 4
    assert {folder.name for folder in (tmp_path / "run/evaluation").iterdir()} == {"babyai", "babyai-plans"}
    other = [
        f"ckpt={run}",
        "evaluation=mmact/policy",
        *SMALL,
        "task.limit=12",
        f"data={tmp_path}",
        "conditions=[]",
        "label=other",
    ]
    with pytest.raises(ValueError, match="got 29 numbers where this model's normalizer has 10"):
        evaluate.run(compose("evaluate", *other))
