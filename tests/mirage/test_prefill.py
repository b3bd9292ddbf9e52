"""Image features computed ahead: the same training, without the tower in any step."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from data_modules.images import open_image
from mirage_pl.engine.training import fit
from mirage_pl.mirage import prefill
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.features import FeatureCache
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.pictures import Pictures
from tests.engine.training.test_train import losses_of


@pytest.fixture
def towers_images(monkeypatch):
    """Count the images that go through the tower, call by call."""
    counts = []
    original = LatentVLM._run_tower

    def counted(self, images):
        if images.pixels_PF is not None:
            counts.append(len(images.unknown_grids()))
        return original(self, images)

    monkeypatch.setattr(LatentVLM, "_run_tower", counted)
    return counts


def config(train_config, tmp_path, name, *options):
    """Two epochs of stage 1: 24 mazes and their helper images, and 8 of validation."""
    steps = ["stage=stage1", "trainer.max_steps=12", "trainer.val_check_interval=12"]
    silent = ["callbacks.scores=null"]  # both answer questions
    return train_config(*steps, *silent, f"run_dir={tmp_path}/{name}", *options)


def test_each_image_passes_the_tower_once_and_the_losses_stay(train_config, tmp_path, towers_images):
    plain = losses_of(config(train_config, tmp_path, "plain", "features=null"))
    assert sum(towers_images) == 12 * 4 * 2 + 8 * 2
    towers_images.clear()
    folder = f"features={tmp_path}/features"
    ahead = losses_of(config(train_config, tmp_path, "ahead", folder))
    assert towers_images == [64]  # (24 + 8) mazes and as many helper images: one group of 64
    assert ahead == pytest.approx(plain, rel=1e-5)
    towers_images.clear()
    again = losses_of(config(train_config, tmp_path, "again", folder))
    assert towers_images == []
    assert again == ahead


def test_a_run_that_was_stopped_sees_the_same_features_when_it_goes_on(train_config, tmp_path):
    straight = losses_of(config(train_config, tmp_path, "straight", f"features={tmp_path}/one"))
    options = [f"features={tmp_path}/two", "callbacks.last.every_n_train_steps=1"]
    first = losses_of(config(train_config, tmp_path, "broken", *options), stop_at=5)
    second = losses_of(config(train_config, tmp_path, "broken", *options))
    assert min(second) <= 6
    assert first | second == straight


def test_stages_and_latent_sizes_share_features_but_another_tower_does_not(train_config, tmp_path, towers_images):
    folder = f"features={tmp_path}/features"
    losses_of(config(train_config, tmp_path, "k4", folder))
    towers_images.clear()
    losses_of(config(train_config, tmp_path, "k2", folder, "latent_size=2", "compression=grid"))
    losses_of(config(train_config, tmp_path, "sft", folder, "stage=sft"))
    assert towers_images == []
    losses_of(config(train_config, tmp_path, "other", folder, "model.random_weights=true"))
    assert towers_images == [64]
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_features_of_pixels_that_were_decoded_otherwise_are_not_served(
    train_config, tmp_path, towers_images, monkeypatch
):
    folder = f"features={tmp_path}/features"
    monkeypatch.setattr(prefill, "DECODING", "an earlier one")
    losses_of(config(train_config, tmp_path, "earlier", folder))
    monkeypatch.undo()
    losses_of(config(train_config, tmp_path, "now", folder))
    assert len(list((tmp_path / "features").iterdir())) == 2


def test_images_of_other_bounds_have_features_of_their_own(train_config, tmp_path, towers_images):
    folder = f"features={tmp_path}/features"
    losses_of(config(train_config, tmp_path, "own", folder))
    towers_images.clear()
    smaller = losses_of(config(train_config, tmp_path, "small", folder, "pixels.helper.max=4000"))
    assert towers_images == [32]  # helper images alone
    towers_images.clear()
    assert losses_of(config(train_config, tmp_path, "again", folder, "pixels.helper.max=4000")) == smaller
    assert towers_images == []
    plain = losses_of(config(train_config, tmp_path, "plain", "features=null", "pixels.helper.max=4000"))
    assert smaller == pytest.approx(plain, rel=1e-5)


def test_a_run_that_sees_no_image_twice_computes_nothing_ahead(train_config, tmp_path, towers_images):
    options = [f"features={tmp_path}/features", "trainer.max_steps=6", "trainer.limit_val_batches=0"]
    losses_of(config(train_config, tmp_path, "short", *options))
    assert towers_images == [4] * 12  # six steps, each with input and helper images
    assert not (tmp_path / "features").exists()


def test_a_tower_that_is_trained_is_never_cached(train_config, tmp_path):
    cfg = config(train_config, tmp_path, "eyes", f"features={tmp_path}/features", "stage=sft", "stage.freeze=[]")
    before = Path(cfg.model.path)
    losses_of(cfg)
    assert before.is_dir()
    assert not (tmp_path / "features").exists()


def test_damaged_features_are_computed_anew(train_config, tmp_path, towers_images, caplog):
    folder = f"features={tmp_path}/features"
    straight = losses_of(config(train_config, tmp_path, "one", folder))
    shard = next((tmp_path / "features").rglob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-1000])
    towers_images.clear()
    healed = losses_of(config(train_config, tmp_path, "two", folder))
    assert towers_images == [64]
    assert healed == straight
    assert "is damaged" in caplog.text


def test_a_cache_that_cannot_be_written_warns_once_and_training_goes_on(train_config, tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    plain = losses_of(config(train_config, tmp_path, "plain", "features=null"))
    losses = losses_of(config(train_config, tmp_path, "run", f"features={tmp_path}/file"))
    assert losses == pytest.approx(plain, rel=1e-5)
    assert caplog.text.count("going on without storing") == 1


def test_loading_processes_read_the_features_too(train_config, tmp_path, towers_images):
    folder = f"features={tmp_path}/features"
    one = losses_of(config(train_config, tmp_path, "one", folder))
    towers_images.clear()
    other = losses_of(config(train_config, tmp_path, "two", folder, "loader.num_workers=1"))
    assert towers_images == []
    assert other == one


def test_a_missing_image_is_named_with_its_row(train_config, data, tmp_path):
    shutil.copytree(data / "vsp-28px", tmp_path / "mazes")
    rows = tmp_path / "mazes" / "train.jsonl"
    (rows.parent / json.loads(rows.read_text().splitlines()[2])["image_input"]).unlink()
    cfg = config(train_config, tmp_path, "run", f"features={tmp_path}/features", f"task.train_file={rows}")
    with pytest.raises(ValueError, match=r"train.jsonl:3: image .* does not exist"):
        fit.run(cfg)


def test_what_is_stored_is_what_the_stock_tower_says(train_config, tmp_path, processor):
    cfg = config(train_config, tmp_path, "run", f"features={tmp_path}/features")
    losses_of(cfg)
    cache = FeatureCache(tmp_path / "features")
    cache.use(next((tmp_path / "features").iterdir()).name)
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(cfg.model.path, dtype=torch.float32).model
    images = sorted((Path(cfg.task.folder) / "images").glob("*_train_*.png"))
    for path in images[:6]:
        features, grid = cache.get(cache.key(path))
        patches = processor.image_processor(images=[open_image(path, "")], return_tensors="pt")
        with torch.no_grad():
            expected = stock.get_image_features(patches["pixel_values"], patches["image_grid_thw"]).pooler_output[0]
        assert grid == tuple(patches["image_grid_thw"][0].tolist())
        assert torch.allclose(features, expected, atol=1e-5)


def test_ranks_share_the_groups_whatever_another_has_stored_meanwhile(monkeypatch, samples, processor):
    monkeypatch.setattr(prefill, "GROUP", 2)
    collate = Collator(processor, 4, latents=True, helpers=True)
    every = list(prefill.missing(collate, samples))
    first = list(prefill.missing(collate, samples, 0, 2))
    stored = {part for group in first for part, _ in group}
    monkeypatch.setattr(Pictures, "known", lambda self, part, where: part in stored or None)
    second = list(prefill.missing(collate, samples, 1, 2))
    assert len(every) == 6
    assert sorted(first + second, key=str) == sorted(every, key=str)
