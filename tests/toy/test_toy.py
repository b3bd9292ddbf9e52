"""The toy family through the verbs: its data, its second stage's start, its session, its scores, its export."""

import io
import json

import pytest
import torch
from hydra.utils import instantiate
from safetensors.torch import load_file

from mirage_pl.engine import evaluate, export
from mirage_pl.engine.checkpoints.started import load_starts
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.datasets import description
from mirage_pl.engine.runs.entry import open_run
from mirage_pl.engine.runs.starts import find_starts
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.training import fit
from tests.conftest import compose
from tests.contract.stages import TOYS

WAVES = [([0, 0.1, 0.3], "slow"), ([0.1, 0.2, 0.6, 0.9], "fast"), ([0, 0.5, 0], "slow")]
ADDED = 0.25
"""What the run of the fixture guesses: the number before, and this."""
QUIET = ["callbacks.progress=null", "callbacks.scores=null", "trainer.accelerator=cpu", "trainer.max_steps=1"]
FEW = "task.rows={train: 8, val: 2, test: 4}"


def train(tmp_path, stage, *overrides):
    cfg = compose(
        "train", TOYS, f"stage={stage}", FEW, f"data={tmp_path}/data", f"runs={tmp_path}/runs", *QUIET, *overrides
    )
    fit.run(cfg)
    return cfg


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of one step, whose weights are then such that its guesses are known."""
    cfg = train(tmp_path_factory.mktemp("toy"), "toy/predict", "callbacks.best=null")
    last = f"{cfg.run_dir}/checkpoints/last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["state_dict"]["net.predictor.outer.weight"].zero_()
    checkpoint["state_dict"]["net.predictor.outer.bias"].copy_(torch.tensor([ADDED, 0]))
    torch.save(checkpoint, last)
    return cfg.run_dir


def write_waves(file, waves=WAVES):
    file.write_text("".join(json.dumps({"numbers": numbers, "pace": pace}) + "\n" for numbers, pace in waves))
    return file


def test_its_measures_and_conditions_are_those_computed_by_hand(run, tmp_path):
    file = write_waves(tmp_path / "by_hand.jsonl")
    options = [f"ckpt={run}", "evaluation=toy/next_number", f"task.test_file={file}", "label=by_hand"]
    metrics = evaluate.run(compose("evaluate", TOYS, *options, "loader.eval_batch_size=3"))
    # Guesses 0.35, 0.85 and 0.75 of 0.3, 0.9 and 0.
    assert metrics["hit"]["all"]["mean"] == pytest.approx(2 / 3)
    assert metrics["error"]["all"]["mean"] == pytest.approx((0.05 + 0.05 + 0.75) / 3, abs=1e-6)
    assert metrics["error"]["slow"]["mean"] == pytest.approx((0.05 + 0.75) / 2, abs=1e-6)
    assert metrics["hit"]["fast"]["mean"] == 1
    assert metrics["wave"]["bias"] == pytest.approx((0.05 - 0.05 + 0.75) / 3, abs=1e-6)
    copied, shuffled = (metrics["conditions"][name]["measures"] for name in ("copy_last", "shuffled"))
    # The numbers before: 0.1, 0.6 and 0.5.
    assert copied["error"]["mean"] == pytest.approx((0.2 + 0.3 + 0.5) / 3, abs=1e-6)
    assert copied["hit"]["mean"] == 0
    # The next wave's guess: 0.85, 0.75 and 0.35.
    assert shuffled["error"]["mean"] == pytest.approx((0.55 + 0.15 + 0.35) / 3, abs=1e-6)
    assert shuffled["hit"]["mean"] == 0


def use(run, out, *overrides):
    return infer.run(compose("infer", TOYS, "session=toy/go_on", f"ckpt={run}", f"out={out}", *overrides))


def test_its_session_goes_on_from_numbers_and_draws_them(run, tmp_path, monkeypatch):
    (once,) = use(run, tmp_path, "numbers='0.1 0.3'")
    assert float(once["text"]) == pytest.approx(0.3 + ADDED)
    assert once["files"] == [str(tmp_path / "wave.png")]
    assert (tmp_path / "wave.png").stat().st_size > 0
    monkeypatch.setattr("sys.stdin", io.StringIO("-0.5\n\n"))
    *_, further = use(run, tmp_path, "numbers='0.1 0.3'", "loop=true")
    assert float(further["text"]) == pytest.approx(-0.5 + ADDED)
    for numbers, mistake in (("0.1", "too few; give 2 or more"), ("'0.1 up'", "must be numbers with spaces")):
        with pytest.raises(ValueError, match=mistake):
            use(run, tmp_path, f"numbers={numbers}")


def test_its_second_stage_begins_with_the_firsts_weights_and_a_fresh_critic(tmp_path):
    first = train(tmp_path, "toy/predict")
    still = [f"stage.module.turns.{turn}.optimizer.lr=0" for turn in ("predictor", "critic")]
    second = train(tmp_path, "toy/spar", *still)
    before, after = (load_trained(cfg.run_dir).module for cfg in (first, second))
    for name, weight in after.net.predictor.state_dict().items():
        assert torch.equal(weight, before.net.predictor.state_dict()[name])
    assert all(weight.abs().sum() > 0 for weight in after.net.critic.parameters())
    with pytest.raises(ValueError, match=r"net.critic.inner.weight is absent there and \(18, 3\) here"):
        train(tmp_path, "toy/spar", "stage.starts.predictor.fresh=[]", f"run_dir={tmp_path}/not_fresh")
    with pytest.raises(ValueError, match="toy/predict"):
        train(tmp_path, "toy/spar", "width=6", f"run_dir={tmp_path}/refused")


def test_its_data_is_made_described_drawn_and_checked(tmp_path, capsys):
    shared = [TOYS, "task=toy/waves", f"data={tmp_path}", "task.rows={train: 6, val: 2, test: 4}"]
    description.run(compose("data", *shared, f"sheet={tmp_path}/sheet", "num_shown=2"))
    told = capsys.readouterr().out
    assert "fast 3, slow 3" in told
    assert "train and val and test share no sample" in told
    page = (tmp_path / "sheet" / "sheet.html").read_text()
    assert page.count("<img") == 6
    assert "slow, " in page
    bad = write_waves(tmp_path / "bad.jsonl", [*WAVES, ([0, 1], "slow")])
    only = [f"task.train_file={bad}", "task.val_file=null", "task.test_file=null", "validate=true"]
    with pytest.raises(ValueError, match="1 in .*bad.jsonl"):
        description.run(compose("data", *shared, *only))
    assert f"{bad}:4: numbers must be 3 or more" in capsys.readouterr().out


def test_its_export_is_the_predictor_alone(run, tmp_path):
    out = export.run(compose("export", TOYS, f"ckpt={run}", f"out={tmp_path}/out"))
    module = load_trained(run).module
    weights = load_file(out / "model.safetensors")
    assert json.loads((out / "config.json").read_text()) == {"width": 18}
    assert weights.keys() == module.net.predictor.state_dict().keys()
    assert all(torch.equal(weights[name], weight) for name, weight in module.net.predictor.state_dict().items())


def test_its_parts_take_adapters_and_its_next_stage_begins_with_them_merged(tmp_path):
    lora = ["lora=lora", "lora.parts=[predictor]", "lora.rank=2"]
    with pytest.raises(ValueError, match="this model's are drawn anew each time it is made; .* init_from="):
        train(tmp_path, "toy/predict", *lora, "seed=7")
    whole = train(tmp_path, "toy/predict", "callbacks.best=null")
    lora += [f"init_from={whole.run_dir}", "callbacks.best=null", "stage.module.optimizer.lr=1"]
    first = train(tmp_path, "toy/predict", *lora, f"run_dir={tmp_path}/adapted")
    learnt = load_trained(first.run_dir).module
    assert set(torch.load(f"{first.run_dir}/checkpoints/last.ckpt", weights_only=True)["state_dict"]) == {
        f"net.predictor.{layer}.lora_{side}.default.weight" for layer in ("inner", "outer") for side in "AB"
    }
    cfg = compose("train", TOYS, "stage=toy/spar", FEW, f"runs={tmp_path}/runs", *QUIET, f"init_from={first.run_dir}")
    module = instantiate(cfg.stage.module)
    load_starts(cfg, open_run(cfg, find_starts(cfg)), module, None)
    waves_BT = torch.rand(3, 5)
    for ours, theirs in zip(module.net.predictor(waves_BT), learnt.predictor(waves_BT), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_part_that_it_has_not_is_refused_with_those_that_it_has(tmp_path):
    with pytest.raises(
        ValueError, match=r"lora.parts=\['language'\]: the model has no part language; .* are predictor"
    ):
        train(tmp_path, "toy/predict", "lora=lora")
