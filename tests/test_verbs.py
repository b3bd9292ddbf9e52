"""Evaluate, infer, data and export, on a model trained for two steps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from mirage_pl.engine import evaluate, export
from mirage_pl.engine.arguments import check_annotation
from mirage_pl.engine.datasets import description as data_verb
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.training import fit
from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.losses import Weights
from mirage_pl.engine.training.optim import parameter_groups, warmup
from tests.conftest import REPO, SMALL, compose


@pytest.fixture(scope="module")
def run_folder(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    quiet = [
        "callbacks.progress=null",
        "callbacks.scores=null",
        "trainer.limit_val_batches=0",
        "trainer.max_steps=2",
    ]
    fit.run(compose("train", *SMALL, "stage=stage1", f"data={data}", f"run_dir={folder}", *quiet))
    return folder


def test_evaluation_writes_metrics_predictions_pictures_and_a_report(run_folder, data):
    test = ["task.per_level={train: 12, val: 4, test: 4}", f"data={data}"]
    metrics = evaluate.run(compose("evaluate", f"ckpt={run_folder}", *test))
    out = run_folder / "evaluation" / "vsp"
    assert metrics["success"].keys() == {"level_3", "level_4", "all"}
    assert metrics["success"]["all"].keys() == {"mean", "low", "high", "n"}
    assert metrics["success"]["all"]["n"] == 8
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    assert sum(row["success"] for row in rows) == metrics["success"]["all"]["mean"] * 8
    assert len(list((out / "gallery").glob("*.png"))) == 16
    assert "<html" in (out / "report.html").read_text()[:300]
    again = evaluate.run(compose("evaluate", f"ckpt={run_folder}", "loader.eval_batch_size=3", *test))
    assert again["success"] == metrics["success"]
    assert not any(row["latents"] for row in rows), "two steps teach no blocks"
    assert "interventions" not in metrics
    assert metrics["latents"].keys() == {"columns"}, "answers have a length, and no latents"
    assert "latents matter" not in (out / "report.html").read_text()


@pytest.fixture
def starting_with_a_block(monkeypatch, processor):
    """Let every answer start with a latent block."""
    from mirage_pl.mirage.decoding.columns import AnswerColumns
    from mirage_pl.mirage.model.latents import LatentVLM

    logits, prefill, first = LatentVLM.logits, AnswerColumns.prefill, []
    start = processor.tokenizer.convert_tokens_to_ids("<|latent_start|>")

    def prefilled(columns):
        first.append(True)
        return prefill(columns)

    def scripted(net, hidden):
        found = logits(net, hidden)
        if first:
            found[:, start] = 1e9
            first.clear()
        return found

    monkeypatch.setattr(AnswerColumns, "prefill", prefilled)
    monkeypatch.setattr(LatentVLM, "logits", scripted)


def tampered(run_folder, data, *overrides):
    shrunk = ["task.per_level={train: 12, val: 4, test: 4}", "loader.eval_batch_size=3", "decoding.max_new_tokens=16"]
    return evaluate.run(
        compose("evaluate", f"ckpt={run_folder}", f"data={data}", *("label=tampered", *shrunk), *overrides)
    )


@pytest.mark.usefixtures("starting_with_a_block")
def test_evaluation_answers_again_with_other_latents(run_folder, data, capsys):
    from mirage_pl.mirage.probing.interventions import NAMES

    metrics = tampered(run_folder, data)
    assert tuple(metrics["interventions"]) == NAMES
    identity = metrics["interventions"]["identity"]
    assert {key: identity[key] for key in ("mean", "low", "high", "n")} == metrics["success"]["all"]
    assert identity["groups"].keys() == {"level_3", "level_4"}
    assert (identity["changed"]["mean"], identity["difference"]["difference"]) == (0.0, 0.0)
    assert identity["kl"] == {"mean": pytest.approx(0.0, abs=1e-6), "n": 8}
    assert metrics["interventions"]["zero"]["kl"]["mean"] > 1e-6
    assert metrics["latents"]["rows"] == metrics["latents"]["retrieved"]["n"] == 8
    out = run_folder / "evaluation" / "tampered"
    written = json.loads((out / "metrics.json").read_text())
    assert {key: written[key] for key in ("interventions", "latents")} == {
        key: metrics[key] for key in ("interventions", "latents")
    }
    assert "Under other conditions" in (out / "report.html").read_text()
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)


@pytest.mark.usefixtures("starting_with_a_block")
def test_some_interventions_are_made_or_none(run_folder, data):
    assert list(tampered(run_folder, data, "interventions=[zero]", "label=z")["interventions"]) == ["zero"]
    empty = tampered(run_folder, data, "interventions=none", "label=n")
    assert list(empty["interventions"]) == ["none"], "an empty block"
    assert not {"interventions", "latents"} & tampered(run_folder, data, "interventions=null", "label=o").keys()
    with pytest.raises(ValueError, match="interventions=typo is unknown; choose from identity, zero, .*or all"):
        tampered(run_folder, data, "interventions=typo")


def test_comparing_with_a_run_that_was_not_evaluated_says_what_to_run(run_folder, tmp_path, data):
    given = [f"ckpt={run_folder}", f"compare=[{tmp_path}]", "label=mine", f"data={data}"]
    with pytest.raises(ValueError, match=f"^compare={tmp_path} is no run folder; give those of evaluated runs"):
        evaluate.run(compose("evaluate", *given))
    (tmp_path / "config.yaml").write_text("seed: 1")
    with pytest.raises(ValueError, match=f"run python -m mirage_pl.evaluate ckpt={tmp_path} label=mine first, with"):
        evaluate.run(compose("evaluate", *given))


@pytest.mark.parametrize("place", ["nowhere", "empty"])
def test_a_checkpoint_that_is_not_there_is_refused(tmp_path, place):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="looked for .*; give a run folder or a .ckpt file"):
        infer.run(compose("infer", f"ckpt={tmp_path / place}", "image=x.png"))


def test_infer_streams_an_answer_and_shows_each_latent(run_folder, data, capsys, monkeypatch):
    from mirage_pl.mirage.model.latents import LatentVLM

    image = data / "vsp-28px" / "images" / "level_3_test_0.png"
    original = LatentVLM.logits
    calls = []

    def starts_with_a_block(net, hidden):
        logits = original(net, hidden)
        if not calls:
            logits[:, calls_start] = 1e9
        calls.append(1)
        return logits

    from mirage_pl.mirage.model.backbone import load_processor

    calls_start = load_processor(str(REPO / "assets" / "tiny")).tokenizer.convert_tokens_to_ids("<|latent_start|>")
    monkeypatch.setattr(LatentVLM, "logits", starts_with_a_block)
    infer.run(compose("infer", f"ckpt={run_folder}", f"image={image}", "decoding.max_new_tokens=8"))
    printed = capsys.readouterr().out
    assert printed.startswith("[latent 1][latent 2][latent 3][latent 4]")
    assert printed.count("read as words:") == 4


def test_infer_wants_a_prompt_where_every_row_has_a_question_of_its_own(run_folder, data, monkeypatch):
    from omegaconf import OmegaConf

    asked = compose("infer", f"ckpt={run_folder}", f"image={data / 'vsp-28px/images/level_3_test_0.png'}")
    load = OmegaConf.load

    def without_prompt(file):
        config = load(file)
        del config.task["prompt"]
        return config

    monkeypatch.setattr(OmegaConf, "load", without_prompt)
    with pytest.raises(ValueError, match="each row of task=vsp has a question of its own; give prompt="):
        infer.run(asked)


def test_many_questions_load_the_model_once_and_an_empty_answer_is_said_to_be_one(run_folder, data, tmp_path):
    from mirage_pl.mirage.model.latents import LatentVLM

    picture = str(data / "vsp-28px/images/level_3_test_0.png")
    rows = [{"prompt": "Is it a cat, or a dog?", "image": picture}, {"prompt": "And now?"}, {"image": "none.png"}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    from mirage_pl.engine.checkpoints.trained import load_trained

    end = load_trained(str(run_folder)).module.decoder.end

    def ends_at_once(net, hidden):
        return torch.nn.functional.one_hot(torch.full((len(hidden),), end), net.backbone.config.text_config.vocab_size)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(LatentVLM, "logits", ends_at_once)
        answers = infer.run(compose("infer", f"ckpt={run_folder}", f"file={tmp_path / 'rows.jsonl'}"))
    assert [answer["text"] for answer in answers] == ["(the answer is empty)\n"] * 2
    written = [json.loads(line) for line in (run_folder / "inference" / "answers.jsonl").read_text().splitlines()]
    assert "none.png" in written[2]["error"]


def test_an_export_loads_in_stock_transformers_with_identical_logits(run_folder, tmp_path, processor, samples):
    from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

    from mirage_pl.engine.checkpoints.trained import load_trained
    from mirage_pl.mirage.collator import Collator

    out = export.run(compose("export", f"ckpt={run_folder}", f"out={tmp_path}/hf"))
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in out.iterdir()}
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(out).eval()
    AutoProcessor.from_pretrained(out)
    prompts = Collator(processor, 4, latents=False, helpers=False).prompts(samples[:1])
    with torch.no_grad():
        theirs = stock(
            input_ids=prompts.tokens_BT,
            pixel_values=prompts.images.pixels_PF,
            image_grid_thw=torch.tensor(prompts.images.grids),
            mm_token_type_ids=(prompts.tokens_BT == processor.image_token_id).int(),
        ).logits
        net = load_trained(str(run_folder)).module.net
        ours = net.logits(net.recurrent(prompts))
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_code_on_a_card_runs(run_folder, tmp_path, data, monkeypatch, capsys):
    out = export.run(compose("export", f"ckpt={run_folder}", f"out={tmp_path}/hf"))
    card = (out / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    image = next((data / "vsp-28px" / "images").glob("*_test_*.png"))
    (out / "image.png").write_bytes(image.read_bytes())
    monkeypatch.chdir(out)
    monkeypatch.syspath_prepend(str(out))
    capsys.readouterr()
    exec(code, {})
    assert capsys.readouterr().out.split()[-1].isdigit()
    assert "Not evaluated." in card or "95 % interval" in card


def test_data_is_made_described_and_validated(tmp_path, capsys):
    settings = [f"data={tmp_path}", "task.per_level={train: 3, val: 1, test: 1}"]
    data_verb.run(compose("data", *settings))
    assert "share no sample" in capsys.readouterr().out
    data_verb.run(compose("data", *settings, "validate=true"))
    file = tmp_path / "vsp-28px" / "train.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1][:40], *lines[2:], '{"text_input": 1}']))
    with pytest.raises(ValueError, match="bad rows: 2 in .*train.jsonl"):
        data_verb.run(compose("data", *settings, "validate=true"))
    printed = capsys.readouterr().out
    assert "train.jsonl:2: broken JSON" in printed
    assert "train.jsonl:7: missing key" in printed


def test_reading_aloud_names_every_cell_and_every_move(data):
    from data_modules.vsp.reading import Reading

    rows = Reading({"map": "Read the map.", "path": "Read the path."}).read(data / "vsp-28px" / "val.jsonl")
    assert len(rows) == 16
    for index in range(2):
        sample = rows[index]
        words = sample.answer_text.split()
        assert len([word for word in words if word not in "/;"]) >= 9
        assert rows.grade(sample, sample.answer_text).values["success"]
        assert rows.grade(sample, sample.answer_text.replace("ice", "hole", 1)).outcome == "misread"
        assert np.asarray(rows.draw(sample, "")).shape == (84, 84, 3)
    assert rows[0].answer_text.split().count("start") == rows[0].answer_text.split().count("goal") == 1
    assert rows.grade(rows[1], rows[1].answer_text + " UP").outcome == "misordered"


def test_the_schedule_warms_up_and_decays_to_its_floor():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warmup(optimizer, total_steps=12, warmup_steps=2, shape="linear", final=0.1)
    rates = []
    for _ in range(13):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0])
    assert rates[7] == pytest.approx(0.55)
    assert rates[12] == pytest.approx(0.1)


def test_norms_biases_and_embeddings_do_not_decay():
    net = torch.nn.ModuleDict({"e": torch.nn.Embedding(3, 2), "l": torch.nn.Linear(2, 2), "n": torch.nn.LayerNorm(2)})
    decayed, rest = parameter_groups(net, 0.1)
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    assert [p is net["l"].weight for p in decayed["params"]] == [True]
    assert len(rest["params"]) == 4
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing is trainable"):
        parameter_groups(net, 0.1)


class Two(BaseModule):
    def losses(self, batch):
        return {"a": batch[0], "b": batch[1]}


def test_losses_are_weighed_and_summed():
    module = Two(torch.nn.Linear(1, 1), {"a": 0.1, "b": 2.0}, lambda p: None, lambda o, n: None, weight_decay=0.0)
    assert module.weigh(module.losses(torch.tensor([1.0, 3.0]))).item() == pytest.approx(6.1)
    with pytest.raises(ValueError, match="losses"):
        module.weigh({"a": torch.tensor(1.0)})


def test_a_weight_may_go_from_one_number_to_another_over_the_run(monkeypatch):
    weights = {"a": 0.5, "b": [1.0, 0.0]}
    module = Two(torch.nn.Linear(1, 1), weights, lambda p: None, lambda o, n: None, weight_decay=0.0)
    for progress, weight in [(0.0, 1.0), (0.25, 0.75), (1.0, 0.0), (1.2, 0.0)]:
        monkeypatch.setattr(Two, "progress", progress)
        assert (module.weight("a"), module.weight("b")) == (0.5, weight)


@pytest.mark.parametrize("weight", [[1.0], [1.0, 2.0, 3.0], ["a", "b"], "ab"])
def test_a_weight_that_is_neither_a_number_nor_a_pair_is_refused(weight):
    with pytest.raises(ValueError, match=r"loss_weights.a=.* must be a number of 0 or more, or a list of 2"):
        check_annotation("loss_weights", OmegaConf.create({"a": weight}), Weights)


def test_losses_that_all_weigh_nothing_are_refused():
    with pytest.raises(ValueError, match=r"all losses \(a, b\) have weight 0"):
        Two(torch.nn.Linear(1, 1), {"a": 0, "b": [0, 0]}, lambda p: None, lambda o, n: None, weight_decay=0.0)


def test_paths_in_a_run_folder_are_whole(run_folder):
    from mirage_pl.engine.checkpoints.weights import checkpoint_of, run_of

    file = checkpoint_of(run_folder)
    assert run_of(file) == Path(run_folder).resolve()
    assert checkpoint_of(file) == file


def test_a_run_is_served_to_many_with_its_latents(run_folder, data, monkeypatch):
    from base64 import b64encode

    import httpx
    from hydra.utils import instantiate

    from mirage_pl.engine.checkpoints.trained import load_trained
    from mirage_pl.engine.serving.app import build_chat
    from mirage_pl.engine.serving.chat import Chat
    from mirage_pl.engine.serving.limits import Limits
    from mirage_pl.mirage.model.latents import LatentVLM
    from tests.engine.serving.echo import served

    cfg = compose("infer", f"ckpt={run_folder}")
    session = instantiate(cfg.session)(load_trained(str(run_folder)))
    assert isinstance(session, Chat)
    start, original, calls = session.trained.module.decoder.latent_start, LatentVLM.logits, []

    def starts_with_a_block(net, hidden):
        logits = original(net, hidden)
        if not calls:
            logits[:, start] = 1e9
        calls.append(1)
        return logits

    monkeypatch.setattr(LatentVLM, "logits", starts_with_a_block)
    image = (data / "vsp-28px/images/level_3_test_0.png").read_bytes()
    urls = [f"data:image/png;base64,{b64encode(content).decode()}" for content in (image, image[: len(image) // 2])]
    app, batcher = build_chat(session, "run", Limits(**cfg.serving))
    with served(app, batcher.stop) as address, httpx.Client(timeout=60, trust_env=False) as http:

        def ask(*parts, **options):
            body = {"model": "run", "messages": [{"role": "user", "content": parts}]} | options
            return http.post(f"{address}/v1/chat/completions", json=body)

        shown, cut_off = ({"type": "image_url", "image_url": {"url": url}} for url in urls)
        answer = ask(shown, max_tokens=8, marks=True).json()
        assert [mark["label"] for mark in answer["marks"]] == [f"latent {number}" for number in (1, 2, 3, 4)]
        assert all(len(mark["looks"]) == 1 and len(mark["words"]) == 3 for mark in answer["marks"])
        assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4
        assert "cannot be read" in ask(cut_off).json()["error"]["message"]
        long = ask({"type": "text", "text": "ice " * 100_000})
        assert (long.status_code, long.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert ask(shown, max_tokens=1).status_code == 200
