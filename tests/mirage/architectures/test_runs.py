"""What every architecture does in a run: it stores features, shares batches among ranks, draws latents, trains."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from callbacks.freeze import Freeze
from data_modules.samples import Latent, Picture
from mirage_pl.engine import evaluate
from mirage_pl.engine.training import fit
from mirage_pl.mirage import prefill
from mirage_pl.mirage.batch import LATENT_START
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.generate import Decoder
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.features import FeatureCache
from mirage_pl.mirage.module import MirageModule
from mirage_pl.mirage.probing.interventions import Interventions
from mirage_pl.mirage.probing.panels import Panels
from tests.conftest import compose
from tests.mirage.architectures.test_battery import gradients, losses, same
from tests.mirage.architectures.test_export import open_blocks


@pytest.fixture(scope="module")
def decoder(processor):
    return Decoder(processor, latent_size=3)


@pytest.fixture
def talkative(net, decoder, collator, rows):
    """A net that opens blocks now and then."""
    return open_blocks(net, decoder, collator.prompts(rows))[0]


@pytest.mark.usefixtures("exact")
def test_sampled_answers_are_the_same_in_any_batch(talkative, decoder, collator, rows):
    decoding = Decoding(10, temperature=0.7, top_p=0.9)
    together = decoder(talkative, collator.prompts(rows), decoding)
    for row, tokens, latents in zip(rows, together.tokens, together.latents, strict=True):
        alone = decoder(talkative, collator.prompts([row]), decoding)
        assert alone.tokens == [tokens]
        assert same(alone.latents[0], latents)


@pytest.mark.parametrize("stage", [1, 2])
def test_losses_and_gradients_in_bfloat16_are_finite(net, collator, rows, stage):
    small = deepcopy(net).bfloat16()
    loss = losses(small, collator(rows), stage)
    assert loss.isfinite()
    assert gradients(small, loss).isfinite().all()


@pytest.mark.usefixtures("exact")
def test_a_trained_tower_runs_on_a_blank_image_where_another_rank_has_one_and_nothing_else_changes(net, collator, rows):
    batch = collator(rows[-1:])
    shared = MirageModule.alike(SimpleNamespace(net=net), replace(batch, helpers=None), lambda own: [1, 1, *own[2:]])
    assert shared.images.blank
    assert shared.helpers.blank
    net.tower.requires_grad_(True)
    try:
        loss = losses(net, shared, 2)
        blind = list(net.tower.parameters())
        found = torch.autograd.grad(loss, blind, allow_unused=True, retain_graph=True)
        assert sum(g is not None for g in found) > len(blind) / 2
        assert not any(g.any() for g in found if g is not None)
        assert net.compress(shared.helpers, [])[0].shape == (0, net.width)
    finally:
        net.tower.requires_grad_(False)
    assert same(loss, losses(net, batch, 2))


@pytest.mark.usefixtures("exact")
def test_stored_features_are_those_of_the_tower(net, processor, collator, rows, tmp_path):
    cache = FeatureCache(tmp_path)
    storing = Collator(processor, 3, latents=True, helpers=True, features=cache)
    cache.use("of a test")
    for group in prefill.missing(storing, rows):
        prefill.store(cache, SimpleNamespace(net=net, device="cpu"), storing, group)
    cache.flush()
    batch, stored = collator(rows), storing(rows)
    assert all(stored.images.known)
    assert all(stored.helpers.known)
    assert stored.images.pixels_PF is None
    assert torch.equal(stored.tokens_BT, batch.tokens_BT)
    assert same(losses(net, stored, 1), losses(net, batch, 1))


def test_what_is_measured_of_an_image_is_what_it_becomes(processor, collator, rows):
    for row in rows:
        assert collator.widths(row) == tuple(s.stop - s.start for s in collator([row]).segments)
        images = [part for part in (*row.question, *row.answer) if isinstance(part, Picture | Latent)]
        for part in images:
            _, grids = collator.pictures.patches([(part, row.where)])
            tiles, high, wide = collator.pictures.merged(SimpleNamespace(grids=grids))[0]
            assert collator.pictures.num_tokens(part, row.where) == tiles * high * wide


def test_latents_are_drawn_and_their_attention_to_an_image_is_all_on_its_picture(talkative, decoder, collator, rows):
    answers = decoder(talkative, collator.prompts(rows), Decoding(20))
    probe = Interventions(talkative, collator.processor, collator, Decoding(20), rows, [answers])
    assert probe.describe()["norm_of_embeddings"] > 0
    panels = Panels(talkative, collator, rows, answers.tokens, answers.latents, probe.targets, range(len(rows)))
    drawn = dict(panels.draw())
    looking = [row for row, latents in enumerate(answers.latents) if len(latents)]
    assert {"geometry", "plane"} < set(drawn)
    for row in looking:
        shown = [part for part in rows[row].question if isinstance(part, Picture)]
        strips = [strip for strip in panels.strips(row) if "attention" in strip.label]
        assert bool(strips) == bool(shown)
        total = sum(strip.heat_kRC.sum().item() for strip in strips)
        sides = [(len(f), f.shape[1]) for f in panels.features[row][0]]
        assert total == pytest.approx(panels.attended(row, sides)[1]["image"].sum().item(), rel=1e-4)
        for strip in strips:
            aspect = strip.heat_kRC.shape[2] / strip.heat_kRC.shape[1]
            assert 0.4 < aspect / (strip.picture.width / strip.picture.height) < 2.5


def test_the_tower_of_its_config_is_all_that_is_frozen_and_all_of_the_tower(architecture, folder, net):
    prefixes = compose("train", f"model={architecture}", f"model.path={folder}").model.tower
    module = torch.nn.Module()
    module.net = deepcopy(net).requires_grad_(True)
    Freeze(list(prefixes)).setup(None, module, "fit")
    frozen = {id(weight) for weight in module.parameters() if not weight.requires_grad}
    assert frozen == {id(weight) for weight in module.net.tower.parameters()}


def test_two_stages_train_a_step_each_and_the_second_is_scored_with_interventions(
    architecture, folder, processor, data, tmp_path
):
    small = [f"model={architecture}", f"model.path={folder}", "model.cell_px=28", "model.dtype=float32"]
    small += ["task.per_level={train: 12, val: 4, test: 4}", f"data={data}", f"runs={tmp_path}", "features=null"]
    small += ["trainer.max_steps=1", "trainer.accelerator=cpu", "trainer.val_check_interval=1", "latent_size=2"]
    small += ["loader.batch_size=2", "loader.eval_batch_size=4", "callbacks.progress=null", "callbacks.scores=null"]
    for stage in ("stage1", "stage2"):
        cfg = compose("train", f"stage={stage}", *small)
        fit.run(cfg)
    last, start = f"{cfg.run_dir}/checkpoints/last.ckpt", processor.tokenizer.convert_tokens_to_ids(LATENT_START)
    checkpoint = torch.load(last, weights_only=True)
    head = checkpoint["state_dict"]["net.backbone.lm_head.weight"]
    for sign in (1, -1):  # one of them opens blocks
        head[start].zero_()[0] = 1000 * sign
        torch.save(checkpoint, last)
        options = (f"ckpt={cfg.run_dir}", "interventions=[zero,oracle]", "decoding.max_new_tokens=5")
        metrics = evaluate.run(compose("evaluate", *options, f"label=sign{sign}"))
        assert metrics["success"]["all"]["n"] == 8
        if metrics.get("interventions"):
            break
    assert list(metrics["interventions"]) == ["zero", "oracle"]
