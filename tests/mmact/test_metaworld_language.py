"""Meta-World told in words, from its data to a policy that is scored in it."""

import json

from hydra.utils import instantiate

from mirage_pl.engine import evaluate
from mirage_pl.engine.training import fit
from tests.conftest import compose
from tests.data_modules.test_metaworld import needs_drawing
from tests.mmact.conftest import QUIET, compose_small

SMALL = ["task=metaworld_language", "task.scenes=[plate-slide,window-open]", "model.sizes.layers=2"]


@needs_drawing
def test_a_policy_of_both_is_trained_played_and_asked_what_it_is_about(tmp_path):
    words = [*SMALL, "task.episodes={train: 3, val: 1, test: 3}", f"data={tmp_path}", f"run_dir={tmp_path}/run"]
    cfg = compose_small("train", *QUIET, *words, "loader.batch_size=4", "task.limit=60", stage="mmact/mix")
    instantiate(cfg.task.data.maker, num_workers=1).make()
    fit.run(cfg)
    given = [f"ckpt={tmp_path}/run", "limit=8", "num_shown=1"]
    given += ["conditions=[wrong_instruction,moved_objects,moved_expert,expert]"]
    metrics = evaluate.run(compose("evaluate", *given, "evaluation=mmact/policy"))
    assert metrics["success"]["all"]["n"] == 3
    assert all(metrics["conditions"][name]["moved"]["mean"] > 0 for name in ("moved_objects", "moved_expert"))
    rows = (tmp_path / "run/evaluation/metaworld_language/predictions.jsonl").read_text().splitlines()
    assert {json.loads(row)["group"] for row in rows} <= {"plate-slide", "window-open"}
    assert {word for row in rows for word in json.loads(row)["goal"].split(", ")} <= {"left", "right", "near", "far"}
    said = evaluate.run(compose("evaluate", f"ckpt={tmp_path}/run", "evaluation=mmact/plans", "conditions=[]"))
    assert said["exact"]["all"]["n"] > 3
    assert {folder.name for folder in (tmp_path / "run/evaluation").iterdir()} == {
        "metaworld_language",
        "metaworld_language-plans",
    }
