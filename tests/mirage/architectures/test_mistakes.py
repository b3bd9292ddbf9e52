"""What doesn't fit an architecture is one line, before anything is trained."""

import json
from importlib import import_module

import pytest
import torch

from mirage_pl.mirage.model.backbone import load_backbone
from mirage_pl.mirage.stock.find import find_architecture, find_inputs, list_architectures
from tests.conftest import compose


def write_folder(architecture, folder):
    folder.mkdir(exist_ok=True)
    import_module(f"tests.mirage.architectures.{architecture}").write_folder(folder)
    return folder


def test_a_processor_of_another_model_is_refused(tmp_path):
    folder, other = (write_folder(name, tmp_path / name) for name in ("internvl", "gemma3"))
    (folder / "config.json").write_text((other / "config.json").read_text())
    with pytest.raises(
        ValueError, match=r"is a Gemma3ForConditionalGeneration, but its processor is a InternVLProcessor"
    ):
        load_backbone(str(folder), random_weights=True)


def test_an_image_token_that_isn_t_the_processors_is_refused(tmp_path):
    folder = write_folder("smolvlm", tmp_path / "smolvlm")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_token_id": 5}))
    with pytest.raises(ValueError, match="has image_token_id 5 in its config.json, and"):
        load_backbone(str(folder), random_weights=True)


def test_a_tower_of_another_architecture_is_refused_with_the_right_names(tmp_path):
    folder = write_folder("internvl", tmp_path / "internvl")
    cfg = compose("train", "model=qwen2_5_vl", f"model.path={folder}")
    with pytest.raises(ValueError, match=r"model.tower=net.backbone.model.visual is no part of InternVL") as refused:
        load_backbone(str(folder), random_weights=True, tower=cfg.model.backbone.tower)
    assert "net.backbone.model.vision_tower, net.backbone.model.multi_modal_projector" in str(refused.value)
    assert "choose model=internvl" in str(refused.value)


def test_an_architecture_without_a_file_is_refused_with_those_that_exist():
    for find in (find_architecture, find_inputs):
        with pytest.raises(ValueError, match=f"Linear is no architecture .* {', '.join(list_architectures())}"):
            find(torch.nn.Linear(1, 1))


def test_a_class_of_the_users_own_runs_as_the_stock_class_it_extends(tmp_path):
    model = load_backbone(str(write_folder("internvl", tmp_path / "internvl")), random_weights=True)
    model.__class__ = type("Mine", (type(model),), {"__module__": "my_project.model"})
    assert type(find_architecture(model)).__module__ == "mirage_pl.mirage.architectures.internvl"
