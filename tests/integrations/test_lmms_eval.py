"""lmms-eval itself, on generated data and with a run that was trained for it: its scores are those of ``evaluate``."""

import json
import os
import subprocess
import sys

import pytest

from mirage_pl.engine.evaluation import scoring
from mirage_pl.engine.training import fit
from tests.conftest import REPO, compose

pytestmark = pytest.mark.lmms_eval
pytest.importorskip("lmms_eval", reason="lmms-eval is no dependency of the tests: make test-lmms-eval installs it")

ROWS = "task.per_level={train: 40, val: 2, test: 8}"

PLAIN = """
task: plain
dataset_path: json
dataset_kwargs: {{data_files: {{test: {folder}/plain.jsonl}}}}
test_split: test
output_type: generate_until
doc_to_visual: !function plain.show
doc_to_text: !function plain.ask
doc_to_target: answer
process_results: !function plain.grade
generation_kwargs: {{max_new_tokens: 8, until: ["\\n"]}}
metric_list: [{{metric: length, aggregation: mean, higher_is_better: true}}]
"""

FUNCTIONS = """
from PIL import Image


def show(doc):
    return [Image.new("RGBA", (56, 56), doc["colour"])]


def ask(doc, lmms_eval_specific_kwargs=None):
    return "What does <image> mean?"


def grade(doc, results):
    return {"length": float(len(results[0]))}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of stage 1, long enough that it opens latent blocks; and the folder of its data."""
    folder = tmp_path_factory.mktemp("lmms")
    places = [f"data={folder}/data", f"run_dir={folder}/run", f"features={folder}/features"]
    few = ["loader.batch_size=8", "trainer.max_steps=60", "trainer.val_check_interval=60"]
    quiet = ["callbacks.scores=null", "callbacks.progress=null", "logger=[]"]
    fit.run(compose("train", "stage=stage1", "task=vsp", ROWS, *places, *few, *quiet))
    return folder / "run"


def score(folder, run, *words):
    """Score with lmms-eval's command; return its results, and its samples by task."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(REPO)}
    options = [
        "--include_path",
        folder / "tasks",
        "--output_path",
        folder / "out",
        "--log_samples",
        "--batch_size",
        "3",
    ]
    command = [sys.executable, "-m", "lmms_eval", "--model", "mirage_pl", "--model_args", f"ckpt={run},accelerator=cpu"]
    words = list(map(str, [*command, *options, *words]))
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "answer(s) were cut at max_new_tokens=8, latents included" in done.stderr
    (results,) = (folder / "out").glob("*_results.json")
    samples = {}
    for file in (folder / "out").glob("*_samples_*.jsonl"):
        samples[file.stem.rpartition("_samples_")[2]] = [json.loads(line) for line in file.read_text().splitlines()]
    return json.loads(results.read_text())["results"], samples


def test_scores_and_answers_are_those_of_evaluate_latents_included(run, tmp_path):
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    overrides = json.dumps([f"data={run.parent}/data", ROWS])
    include = REPO / "integrations" / "lmms_eval" / "tasks" / "vsp.yaml"
    (tasks / "few.yaml").write_text(
        f"include: {include}\ntask: few\ndataset_kwargs: {{task: vsp, overrides: {overrides}}}\n"
    )
    (tasks / "plain.yaml").write_text(PLAIN.format(folder=tmp_path))
    (tasks / "plain.py").write_text(FUNCTIONS)
    (tmp_path / "plain.jsonl").write_text('{"colour": "red", "answer": "?"}\n{"colour": "blue", "answer": "?"}\n')

    ours = scoring.run(compose("evaluate", f"ckpt={run}", "task=own", "interventions=[]"))
    predictions = [json.loads(line) for line in (run / "evaluation/vsp/predictions.jsonl").read_text().splitlines()]
    theirs, samples = score(tmp_path, run, "--tasks", "few,plain")

    assert all(row["latents"] for row in predictions)
    for measure in ("success", "optimal", "invalid"):
        assert theirs["few"][f"{measure},none"] == pytest.approx(ours[measure]["all"]["mean"], abs=1e-12)
    answers = {sample["doc_id"]: sample["filtered_resps"] for sample in samples["few"]}
    assert [answers[number] for number in range(len(predictions))] == [row["text"] for row in predictions]
    assert len(samples["plain"]) == 2


def test_decoding_of_a_task_is_ours_and_what_is_not_is_one_line(run):
    from integrations.lmms_eval.model import Run

    model = Run(ckpt=str(run), accelerator="cpu", batch_size="2", device="cpu", max_batch_size=None)
    own = {"stop": [], "seed": 0, "max_new_tokens": 48}
    assert model.read_decoding({}) == own
    sampled = {
        "max_new_tokens": 16,
        "temperature": 0.7,
        "top_p": None,
        "do_sample": True,
        "until": ["\n"],
        "num_beams": 1,
    }
    assert model.read_decoding(sampled) == {"stop": ["\n"], "seed": 0, "max_new_tokens": 16, "temperature": 0.7}
    greedy = model.read_decoding(sampled | {"do_sample": False, "until": "Q"})
    assert (greedy["temperature"], greedy["stop"]) == (0, ["Q"])
    assert Run(ckpt=str(run), accelerator="cpu", max_new_tokens=512).read_decoding(sampled)["max_new_tokens"] == 512
    with pytest.raises(ValueError, match="num_beams=4: runs decode greedily or sample"):
        model.read_decoding({"num_beams": 4})
    with pytest.raises(ValueError, match="--batch_size=auto must be a whole number"):
        Run(ckpt=str(run), accelerator="cpu", batch_size="auto")
    with pytest.raises(ValueError, match=r"--model_args has unknown \['pretrained'\]"):
        Run(ckpt=str(run), accelerator="cpu", pretrained="x")
    with pytest.raises(ValueError, match="output_type is generate_until"):
        model.loglikelihood([])
