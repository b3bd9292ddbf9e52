"""Rollouts of a policy as a LeRobot data set on which another one is trained; tasks without a simulator."""

import json

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mirage_pl.engine import evaluate
from mirage_pl.engine.evaluation.setup import add_kind
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.training import fit
from mirage_pl.mmact.codes import Codes
from mirage_pl.mmact.model.coder import Coder, CoderSizes
from mirage_pl.mmact.pictures import prepare_views
from tests.conftest import compose
from tests.mmact.conftest import QUIET, compose_small


@pytest.fixture(scope="module")
def played(run, tmp_path_factory):
    """A folder of rollouts, and the rows that were scored."""
    folder = tmp_path_factory.mktemp("rollouts") / "set"
    given = [f"ckpt={run}", "evaluation=mmact/policy", "conditions=[]", "limit=6", "label=rollouts", "num_shown=0"]
    evaluate.run(compose("evaluate", *given, f"rollouts.folder={folder}", "rollouts.version=v2.1"))
    lines = (run / "evaluation/rollouts/predictions.jsonl").read_text().splitlines()
    return folder, [json.loads(line) for line in lines]


def compose_lerobot(folder, *words, stage="mmact/action"):
    files = [f"task.train_file={folder}", "task.val_file=null", "task.test_file=null"]
    small = ["model.sizes.layers=2", "task=episodes/lerobot", "task.numbers={state: 10, action: 2}", "task.chunk=4"]
    return compose("train", f"stage={stage}", *small, *files, *words)


def test_what_a_policy_plays_is_a_data_set_that_another_is_trained_on(played, told, tmp_path):
    folder, scored = played
    cfg = compose_lerobot(folder, *QUIET, f"run_dir={tmp_path}/run", "loader.batch_size=4")
    rows = instantiate(cfg.task.dataset).read(str(folder))
    assert [rows.recall(row).text for row in range(4)] == [row["instruction"] for row in scored]
    assert [len(rows.open(row).actions_PA) for row in range(4)] == [row["length"] for row in scored]
    step = rows[0]
    own = compose_small("train", f"data={told}")
    first = instantiate(own.task.dataset).read(own.task.test_file)[0]
    np.testing.assert_allclose(step.state_S, first.state_S, atol=1e-6)
    assert np.abs(step.actions_HA).max() <= 1
    assert step.look()[0].shape == (96, 96, 3)
    fit.run(cfg)
    with pytest.raises(ValueError, match="evaluation=policy doesn't score task=lerobot"):
        evaluate.run(compose("evaluate", f"ckpt={tmp_path}/run", "evaluation=mmact/policy"))
    given = ["session=mmact/act", f"ckpt={tmp_path}/run", f"out={tmp_path}"]
    with pytest.raises(ValueError, match="no simulator, so no episode can be played"):
        infer.run(compose("infer", *given))
    (use,) = infer.run(compose("infer", *given, "instruction=go", f'state="{" ".join(["0.1"] * 10)}"'))
    assert len(use["text"].splitlines()) == 4


@pytest.mark.parametrize("stage", ["mmact/action", "mmact/regression"])
def test_a_policy_without_a_state_is_trained_and_scored_on_a_data_set_that_has_none(played, tmp_path, stage):
    blind = ["task.numbers={state: 0, action: 2}", "task.form.keys.states=observation.joints", "reads_state=false"]
    folder, words = played[0], [*QUIET, f"run_dir={tmp_path}/run", "loader.batch_size=4"]
    fit.run(compose_lerobot(folder, *words, *blind, f"task.test_file={folder}", stage=stage))
    given = [f"ckpt={tmp_path}/run", "evaluation=mmact/imitation", "conditions=[mean,wrong_instruction]"]
    metrics = evaluate.run(compose("evaluate", *given, "per_episode=2"))
    assert metrics["off"]["all"]["n"] == 8
    assert add_kind([f"ckpt={tmp_path}/run"])[1:] == ["evaluation=mmact/imitation"]
    files = [f"task.{name}_file={folder}" for name in ("train", "test")]
    anew = ["task=episodes/lerobot", "task.chunk=4", "label=anew", *files, *blind[:2]]
    again = evaluate.run(compose("evaluate", *given, *anew, "per_episode=2"))
    assert again["off"]["all"]["n"] == 8
    with pytest.raises(
        ValueError, match="doesn't score task=lerobot and a run of stage=mmact/.*; give evaluation=mmact/imitation or"
    ):
        evaluate.run(compose("evaluate", f"ckpt={tmp_path}/run", "evaluation=ivideogpt/reconstruction"))
    with pytest.raises(ValueError, match="this run reads no state"):
        infer.run(compose("infer", "session=mmact/act", f"ckpt={tmp_path}/run", 'state="0.1 0.2"'))


def test_a_folder_that_is_there_and_training_that_would_play_without_a_simulator_are_refused(run, played, tmp_path):
    folder, _ = played
    given = [f"ckpt={run}", "evaluation=mmact/policy", "conditions=[]", "label=again"]
    with pytest.raises(ValueError, match="rollouts.folder=.* is there already"):
        evaluate.run(compose("evaluate", *given, f"rollouts.folder={folder}"))
    quiet = [word for word in QUIET if "scores" not in word]
    with pytest.raises(InstantiationException, match="callbacks.scores=null"):
        fit.run(compose_lerobot(folder, *quiet, f"run_dir={tmp_path}/run"))
    with pytest.raises(ValueError, match="task.numbers.state=null must be a whole number"):
        fit.run(compose_lerobot(folder, *QUIET, "task.numbers={state: null, action: null}", f"run_dir={tmp_path}/run"))


def test_nothing_is_written_where_no_episode_is_wanted(run, tmp_path, caplog):
    given = [f"ckpt={run}", "evaluation=mmact/policy", "conditions=[]", "limit=1", "label=none", "num_shown=0"]
    evaluate.run(compose("evaluate", *given, f"rollouts.folder={tmp_path}/set", "rollouts.successes=true"))
    assert not (tmp_path / "set").exists()
    assert "no episode reached its goal" in caplog.text


def test_pictures_of_a_recorded_episode_are_coded_and_those_after_a_chunk_foreseen(played):
    rows = instantiate(compose_lerobot(played[0]).task.dataset).read(str(played[0]))
    step, later = rows[0], next(rows[place] for place in range(9) if rows[place].at == 4)
    coder, codes = Coder(CoderSizes(16, 2, 1, 8, 4)), Codes(None)
    assert torch.equal(codes.see(step, coder), coder.encode(prepare_views(step.look(), 16)))
    assert torch.equal(codes.foresee(step, coder), codes.see(later, coder)[0])
    assert np.array_equal(step.look_ahead(), later.look())
    assert len({rows[place].episode for place in range(len(rows))}) == 4
