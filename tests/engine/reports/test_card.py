"""A model card says what the run folder holds, and no more."""

import json

import pytest
from huggingface_hub.repocard import metadata_load

from mirage_pl.engine.reports import card
from mirage_pl.engine.reports.card import CARD, clean_command, complete_card, describe_base
from tests.engine.reports.folders import answer, make_run

USAGE = "---\nlibrary_name: transformers\ntags: [a]\n---\n\n## Use\n\nLike this."
COMMAND = "/home/me/mirage_pl/export.py ckpt=RUN out=DIR"


def configure(run, stage, **model):
    """Give a fabricated run names and data."""
    content = json.loads((run / "config.yaml").read_text())
    content |= {"stage": {"name": stage}, "model": {"name": "small"} | model}
    content |= {"task": {"name": "walks", "train_file": "/home/me/data/walks/train.jsonl"}}
    (run / "config.yaml").write_text(json.dumps(content))
    record = json.loads((run / "environment.json").read_text())
    data = {"task.train_file": {"bytes": 1234, "sha256": "f" * 64}}
    packages = {"python": "3.11.7", "packages": {"torch": "2.15.0", "deepspeed": None}}
    command = {"command": f"/home/me/mirage_pl/train.py --config-name=train stage={stage} hydra.mode=RUN"}
    (run / "environment.json").write_text(json.dumps(record | packages | command | {"data": data}))
    return run


@pytest.fixture
def run(tmp_path):
    first = configure(make_run(tmp_path / "first", 7), "stage1")
    return configure(make_run(tmp_path / "second", 8, start=str(first)), "stage2", path=str(tmp_path / "base"))


def written(run, tmp_path, step=100, rounded=None, checkpoint="last.ckpt"):
    """The card of an export of a run."""
    folder = tmp_path / "out"
    folder.mkdir(exist_ok=True)
    (folder / CARD).write_text(USAGE)
    complete_card(folder, run, run / "checkpoints" / checkpoint, step, rounded, COMMAND)
    return (folder / CARD).read_text()


def test_it_names_all_runs_data_commands_and_versions(run, tmp_path):
    text = written(run, tmp_path, step=60)
    assert metadata_load(tmp_path / "out" / CARD) == {"library_name": "transformers", "tags": ["a"]}
    assert text.index("# stage2, trained on walks, from small") < text.index("## Use\n\nLike this.")
    assert "| `first` | stage1 | walks | 100 | 7 |\n| `second` | stage2 | walks | 60 | 8 |" in text
    assert f"- stage1: `walks/train.jsonl`, 1,234 bytes, sha256 `{'f' * 16}`" in text
    commands = ["train stage=stage1", "train stage=stage2", "export ckpt=RUN out=DIR"]
    assert "\n".join(f"python -m mirage_pl.{command}" for command in commands) in text
    assert "mirage_pl abc123, python 3.11.7, torch 2.15.0." in text
    assert "/home/me" not in text


def test_a_run_that_was_not_scored_says_so(run, tmp_path):
    assert "## Figures\n\nNot evaluated.\n" in written(run, tmp_path)


def test_figures_come_with_intervals_and_what_was_replaced(run, tmp_path):
    answer(
        run,
        "yyyyyyyn",
        {"zero": "nnnnnnnn"},
        steps=100,
        ckpt="x/checkpoints/last.ckpt",
        finished=True,
        test={"file": "/home/me/data/walks/test.jsonl", "rows": 8, "seen": 0},
        decoding={"temperature": 0.0},
        hidden=["optimal"],
    )
    text = written(run, tmp_path)
    assert "optimal" not in text
    assert "`vsp`: on `walks/test.jsonl` of 8 rows (none of them in the training file)." in text
    assert "| success | all | 87.5 % | [52.9, 97.8] | 8 |" in text
    assert "| 0.0 % [0.0, 32.4] | -87.5 points [" in text
    assert "worse" in text
    assert "Decoded with temperature 0.0." in text
    assert "wasn't finished" not in text
    assert "Scored with the weights as they were trained; in this folder they are bfloat16." in written(
        run, tmp_path, rounded="bfloat16"
    )


@pytest.mark.parametrize(("steps", "ckpt"), [(50, "last.ckpt"), (100, "best.ckpt")])
def test_an_evaluation_of_another_checkpoint_is_none_of_this_one(run, tmp_path, steps, ckpt):
    answer(run, "yn", steps=steps, ckpt=f"x/checkpoints/{ckpt}", finished=True, test={})
    text = written(run, tmp_path)
    assert "Not evaluated. 1 evaluation(s) of other checkpoints of the run say nothing of it." in text
    assert "50.0 %" not in text


def test_an_evaluation_that_goes_on_says_so(run, tmp_path):
    answer(run, "yn", steps=100, ckpt="x/checkpoints/last.ckpt", finished=False, test={"seen": None, "rows": 2})
    text = written(run, tmp_path)
    assert "(not known how many in the training file). The evaluation wasn't finished." in text


def test_what_a_start_no_longer_says_is_said(run, tmp_path):
    (tmp_path / "first" / "config.yaml").unlink()
    assert f"It also began with weights of {tmp_path / 'first'}, of which nothing else is known." in written(
        run, tmp_path
    )


@pytest.mark.parametrize(
    ("front", "said", "known"),
    [
        ("license: apache-2.0", "Its card says `license: apache-2.0`.", {"license": "apache-2.0"}),
        (
            "license: other\nlicense_name: research\nlicense_link: https://x",
            "says `license: research`",
            {"license": "other", "license_name": "research", "license_link": "https://x"},
        ),
        ("tags: [a]", "isn't at hand or names no licence: look it up before you share", {}),
        ("license: [", "isn't at hand or names no licence", {}),
    ],
)
def test_the_licence_is_what_the_base_says_of_itself(tmp_path, front, said, known):
    base = tmp_path / "base"
    base.mkdir()
    (base / CARD).write_text(f"---\n{front}\n---\n# Base")
    facts = describe_base(str(base), fresh=False)
    assert said in facts.pop("sentence")
    assert facts == known


def test_a_base_from_the_hub_is_named_and_one_whose_weights_were_not_taken_too(monkeypatch):
    monkeypatch.setattr(card, "try_to_load_from_cache", lambda *_: None)
    facts = describe_base("some/model", fresh=True)
    assert facts["base_model"] == "some/model"
    assert facts["sentence"].startswith("Only the architecture and the tokenizer come from `some/model`")
    assert "No licence was chosen" in describe_base(None, fresh=False)["sentence"]


def test_commands_are_as_they_were_typed():
    same = "python -m mirage_pl.report runs"
    assert clean_command("/a/b/mirage_pl/evaluate.py ckpt=my_mirage_pl/train.py") == (
        "python -m mirage_pl.evaluate ckpt=my_mirage_pl/train.py"
    )
    assert clean_command(same) == same
    assert clean_command("train seed=1") == "train seed=1"
