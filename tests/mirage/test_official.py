"""The official code's folders load and answer here, and ours have what the official test script reads."""

import json
import re

import pytest
import torch
from transformers import AutoConfig, AutoProcessor

from mirage_pl.engine import evaluate, export
from mirage_pl.engine.checkpoints.weights import checkpoint_of
from mirage_pl.engine.sessions import infer
from mirage_pl.engine.training import fit
from mirage_pl.mirage.batch import LATENT_TOKENS
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.export.official import flatten_config
from mirage_pl.mirage.model.backbone import load_backbone, load_processor
from tests.conftest import REPO, SMALL, compose
from tests.mirage.exported import TINY, export_net
from tests.mirage.official import KEYS, write_official_folder


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    folder = tmp_path_factory.mktemp("official") / "vsp_direct_sft"
    return write_official_folder(folder), folder


def test_its_weights_and_its_tokens_are_read(official):
    written, folder = official
    read = load_backbone(str(folder), "bfloat16", processor_path=TINY)
    assert read.state_dict().keys() == written.state_dict().keys()
    assert all(torch.equal(weight, read.state_dict()[name]) for name, weight in written.state_dict().items())
    rotary = written.config.text_config.rope_parameters
    assert {name: read.config.text_config.rope_parameters[name] for name in rotary} == rotary
    ids = load_processor(str(folder), TINY).tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))
    assert ids == [read.config.latent_token_id, read.config.latent_start_id, read.config.latent_end_id]


def test_its_questions_are_read_as_the_base_reads_them(official, samples):
    _, folder = official
    theirs, ours = (
        Collator(processor, 3, latents=True, helpers=False)(samples[:2])
        for processor in (load_processor(str(folder), TINY), load_processor(TINY))
    )
    assert torch.equal(theirs.tokens_BT, ours.tokens_BT)
    assert torch.equal(theirs.images.pixels_PF, ours.images.pixels_PF)


def test_it_is_scored_asked_and_exported_by_a_run_of_no_steps(official, data, tmp_path, capsys):
    _, folder = official
    model = ["model=qwen2_5_vl", f"model.path={folder}", f"model.processor_path={TINY}", "model.name=official"]
    few = [
        "callbacks.progress=null",
        "callbacks.scores=null",
        "trainer.max_steps=0",
        "latent_size=3",
        "model.cell_px=28",
    ]
    run = tmp_path / "run"
    fit.run(compose("train", *SMALL, "stage=stage1", *model, *few, f"data={data}", f"run_dir={run}"))
    test = ["task.per_level={train: 12, val: 4, test: 4}", f"data={data}", "interventions=[]", "task.max_new_tokens=8"]
    metrics = evaluate.run(compose("evaluate", f"ckpt={run}", *test))
    assert metrics["success"]["all"]["n"] == 8
    image = next((data / "vsp-28px" / "images").glob("*_test_*.png"))
    infer.run(compose("infer", f"ckpt={run}", f"image={image}", "decoding.max_new_tokens=4"))
    out = export.run(compose("export", f"ckpt={run}", f"out={tmp_path}/out"))
    ours, theirs = (json.loads((place / "config.json").read_text()) for place in (out, folder))
    assert ours.keys() >= theirs.keys() - {"attention_dropout", "sliding_window"}
    assert ours["rope_scaling"]["mrope_section"] == theirs["rope_scaling"]["mrope_section"]
    assert (out / "preprocessor_config.json").is_file()
    assert {key: ours[key] for key in KEYS if key != "stage"} == {key: theirs[key] for key in KEYS if key != "stage"}
    capsys.readouterr()


def test_a_folder_in_place_of_a_run_is_told_how_it_becomes_one(official):
    _, folder = official
    with pytest.raises(
        ValueError, match=f"is a model of a stock library, .*model.path={folder} and trainer.max_steps=0"
    ):
        checkpoint_of(folder)


def test_without_a_processor_the_error_names_the_key(official, tmp_path):
    _, folder = official
    with pytest.raises(ValueError, match=f"model.path={tmp_path} is no model: it has no config.json"):
        load_backbone(str(tmp_path))
    with pytest.raises(ValueError, match="model.path=.* has no usable processor.*model.processor_path="):
        load_processor(str(folder))
    with pytest.raises(ValueError, match="model.processor_path=.* has no usable processor"):
        load_processor(str(folder), str(folder))
    with pytest.raises(ValueError, match=f"model.processor_path={tmp_path} has no usable processor"):
        load_processor(str(folder), str(tmp_path))


def other_processor(folder, word):
    """The tiny processor with another word before its image token, saved."""
    processor = load_processor(TINY)
    state = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        token["id"] += 1
    state["model"]["vocab"][word] = len(state["model"]["vocab"])
    processor.save_pretrained(folder)
    (folder / "tokenizer.json").write_text(json.dumps(state))
    return folder


def test_a_processor_of_another_model_is_refused(official, tmp_path):
    _, folder = official
    other = other_processor(tmp_path / "other", "another")
    with pytest.raises(ValueError, match="model.processor_path=.*other is of another model: its images are token"):
        load_backbone(str(folder), processor_path=str(other))
    for file in other.glob("*token*"):  # nothing but the wrong one beside the model
        (folder.parent / "mixed").mkdir(exist_ok=True)
        (folder.parent / "mixed" / file.name).write_bytes(file.read_bytes())
    mixed = write_mixed(folder, other, tmp_path / "mixed")
    with pytest.raises(ValueError, match="has image_token_id 347 in its config.json, and 348 in its processor"):
        load_backbone(str(mixed))


def write_mixed(model, processor, folder):
    """A model's weights and config with another's processor."""
    folder.mkdir()
    for source in (processor, model):
        for file in source.iterdir():
            if source == processor or not file.name.startswith(("token", "added", "special", "chat")):
                (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_tokenizer_of_more_words_than_the_model_embeds_is_refused(official, tmp_path):
    _, folder = official
    processor = load_processor(TINY)
    processor.tokenizer.add_tokens([f"word{number}" for number in range(100)])
    processor.save_pretrained(tmp_path / "large")
    with pytest.raises(ValueError, match="embeds 384 tokens, but its processor has 'word99' as 451"):
        load_backbone(str(write_mixed(folder, tmp_path / "large", tmp_path / "mixed")))


def test_latent_tokens_in_another_order_are_refused(official, tmp_path):
    _, folder = official
    mixed = write_mixed(folder, REPO / "assets" / "tiny", tmp_path / "mixed")
    config = json.loads((mixed / "config.json").read_text())
    config["latent_token_id"], config["latent_start_id"] = config["latent_start_id"], config["latent_token_id"]
    (mixed / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="has latent_token_id 350 in its config.json, and 349 in its processor"):
        load_backbone(str(mixed))


def test_our_folder_has_what_the_official_script_reads(official):
    """By the table in the docs: its keys are in the official layout and in ours, its files are in ours."""
    (_, theirs), (net, ours) = official, export_net()
    page = (REPO / "docs" / "guides" / "export.md").read_text()
    table = re.findall(r"^\| `([\w.|<>]+)` \|", page.split("## The official code")[1], re.MULTILINE)
    keys = [name for name in table if "." not in name]
    config = json.loads((ours / "config.json").read_text())
    official_config = json.loads((theirs / "config.json").read_text())
    assert set(KEYS) <= set(keys)
    for key in keys:
        assert key in config, key
        assert key in official_config, key
    for file in (name for name in table if name.endswith(".json")):
        assert (ours / file).is_file(), file
    index = [name for name in net.backbone.state_dict() if name.startswith("model.visual.")]
    assert index, "the official names of weights differ from those in memory"
    vocabulary = json.loads((ours / "tokenizer.json").read_text())["added_tokens"]
    assert [token["content"] for token in vocabulary[-3:]] == list(LATENT_TOKENS)
    assert [token["id"] for token in vocabulary[-3:]] == [config[key] for key in KEYS[3:]]


def test_our_weights_have_the_official_names(official):
    from safetensors import safe_open

    (_, theirs), (_, ours) = official, export_net()
    with safe_open(ours / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert names == set(json.loads((theirs / "model.safetensors.index.json").read_text())["weight_map"])


def test_a_flat_config_is_read_as_the_nested_one(tmp_path):
    nested = AutoConfig.from_pretrained(TINY)
    content = json.loads((REPO / "assets" / "tiny" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(flatten_config(content)))
    flat = AutoConfig.from_pretrained(tmp_path)

    def plain(config):
        return {
            name: plain(value) if isinstance(value, dict) else value
            for name, value in config.items()
            if name not in ("dtype", "_name_or_path", "type", "tie_word_embeddings")
        }

    assert plain(flat.to_dict()) == plain(nested.to_dict())
    assert (flat.tie_word_embeddings, flat.dtype) == (nested.tie_word_embeddings, nested.dtype)


def test_the_processors_of_both_versions_say_the_same():
    _, ours = export_net()
    new = AutoProcessor.from_pretrained(ours)
    old = json.loads((ours / "preprocessor_config.json").read_text())
    assert (old["min_pixels"], old["max_pixels"]) == (new.image_processor.size["shortest_edge"], 512 * 512)
    assert json.loads((ours / "chat_template.json").read_text())["chat_template"] == new.chat_template
