import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from mirage_pl.mirage.batch import LATENT_TOKENS
from mirage_pl.mirage.model.backbone import load_backbone, load_processor
from tests.conftest import REPO

TINY = REPO / "assets" / "tiny"


@pytest.fixture
def folder(tmp_path):
    """A random model saved as a Hugging Face folder, as anybody's checkpoint would be."""
    torch.manual_seed(1)
    backbone = load_backbone(str(TINY), random_weights=True)
    backbone.save_pretrained(tmp_path / "hf")
    load_processor(str(TINY)).save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def test_any_hugging_face_folder_loads_weight_by_weight(folder):
    saved = load_file(folder / "model.safetensors")
    state = load_backbone(str(folder)).state_dict()
    assert len(saved) == len(state)
    assert torch.equal(state["lm_head.weight"], saved["lm_head.weight"])


def test_latent_tokens_are_added_once_in_the_official_order(folder, tmp_path):
    first = load_processor(str(TINY)).tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))
    again = load_processor(str(folder)).tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))
    assert first == again == sorted(first)


def test_an_embedding_with_room_is_left_alone_and_one_without_grows_to_fit(tmp_path):
    roomy = json.loads((TINY / "config.json").read_text())["text_config"]["vocab_size"]
    assert load_backbone(str(TINY), random_weights=True).get_input_embeddings().num_embeddings == roomy
    shutil.copytree(TINY, tmp_path / "tight")
    config = json.loads((TINY / "config.json").read_text())
    needed = max(load_processor(str(TINY)).tokenizer.convert_tokens_to_ids(list(LATENT_TOKENS))) + 1
    config["text_config"]["vocab_size"] = needed - 3
    (tmp_path / "tight" / "config.json").write_text(json.dumps(config))
    grown = load_backbone(str(tmp_path / "tight"), random_weights=True)
    assert grown.get_input_embeddings().num_embeddings == grown.lm_head.out_features == needed


@pytest.mark.parametrize("fault", ["missing", "unexpected", "mismatched"])
def test_loading_refuses_weights_that_do_not_fit_exactly(folder, fault):
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if "visual" in name and name.endswith("qkv.weight"))
    if fault == "missing":
        del weights[name]
    elif fault == "unexpected":
        weights["model.visual.extra.weight"] = torch.zeros(1)
    else:
        weights[name] = torch.zeros(3, 3)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"1 {fault} keys"):
        load_backbone(str(folder))


def test_a_path_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no model: it has no config.json"):
        load_backbone(str(tmp_path))
    shutil.copytree(TINY, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    with pytest.raises(ValueError, match=r"holds no \*.safetensors"):
        load_backbone(str(tmp_path / "bare"))


def test_a_model_of_another_architecture_is_named_for_what_it_is(tmp_path):
    for family in ("llama", "qwen2_vl", "of_next_year"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
        for load in (load_processor, load_backbone):
            with pytest.raises(
                ValueError, match=rf"model.path={tmp_path} is a model of another architecture, {family}; Mirage"
            ):
                load(str(tmp_path))


def test_a_misspelt_dtype_is_one_line():
    with pytest.raises(ValueError, match="model.dtype=bfloat61 is unknown; choose float32, bfloat16 or float16"):
        load_backbone(str(REPO / "assets" / "tiny"), dtype="bfloat61")
