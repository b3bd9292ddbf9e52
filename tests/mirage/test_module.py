"""Stages beyond the paper's two: when they teacher-force, and what the control without latents learns from."""

from dataclasses import replace

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from data_modules.samples import Text
from mirage_pl.mirage import module as stages
from mirage_pl.mirage.batch import IGNORE
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.losses import latent_cosine
from mirage_pl.mirage.module import Guided, Stage1
from mirage_pl.mirage.stages.curriculum import Curriculum
from tests.conftest import compose


@pytest.fixture
def made(data):
    """Instantiate the module of a stage."""

    def make(*overrides):
        torch.manual_seed(0)
        return instantiate(compose("train", f"data={data}", "features=null", *overrides).stage.module)

    return make


@pytest.fixture
def batch(processor, samples):
    return Collator(processor, latent_size=4, latents=True, helpers=True)(samples[:3])


@pytest.fixture
def plain(processor, samples):
    """The same rows without latents, but with their helper images."""
    return Collator(processor, latent_size=4, latents=False, helpers=True)(samples[:3])


@pytest.mark.parametrize(("floor", "middle", "rest"), [(0.0, (0.25, 0.75), (0, 0)), (0.4, (0.5, 0.9), (0.2, 0.6))])
def test_a_curriculum_goes_from_teacher_forced_to_recycled(made, batch, monkeypatch, floor, middle, rest):
    module = made("stage=curriculum", "stage.module.fade=0.5", f"stage.module.floor={floor}").train()
    teacher, recycled = module.both(batch, *module.net.teacher_forced(batch)), Guided.losses(module, batch)
    assert not torch.allclose(teacher["text"], recycled["text"])
    shares = []
    for progress in (0.0, 0.25, 0.5, 0.9):
        monkeypatch.setattr(Curriculum, "progress", progress)
        forced = 0
        for step in range(40):
            monkeypatch.setattr(Curriculum, "global_step", step)
            text = module.losses(batch)["text"]
            is_teacher = torch.allclose(text, teacher["text"])
            assert is_teacher or torch.allclose(text, recycled["text"])
            forced += is_teacher
        shares.append(forced / 40)
    assert shares[0] == 1
    assert middle[0] < shares[1] < middle[1]
    assert all(rest[0] <= share <= rest[1] for share in shares[2:])


def test_a_curriculum_is_validated_as_it_will_answer(made, batch):
    module = made("stage=curriculum").eval()
    assert torch.equal(module.losses(batch)["text"], Guided.losses(module, batch)["text"])


@pytest.mark.parametrize("fade", [0, 1.5])
def test_an_impossible_fade_is_refused(made, fade):
    with pytest.raises(Exception, match=f"stage.module.fade={fade} must be above 0 and at most 1"):
        made("stage=curriculum", f"stage.module.fade={fade}")


@pytest.mark.parametrize("floor", [-0.1, 1])
def test_an_impossible_floor_is_refused(made, floor):
    with pytest.raises(Exception, match=f"stage.module.floor={floor} must be from 0 to below 1"):
        made("stage=curriculum", f"stage.module.floor={floor}")


@pytest.mark.parametrize("centre", [True, False])
def test_the_control_predicts_the_compressed_helper_image_from_the_column_before_the_answer(made, plain, batch, centre):
    module = made("stage=auxiliary", f"stage.module.centre={centre}").eval()
    losses = module.losses(plain)
    hidden_BTD, targets_ND = module.net.recurrent(plain), module.net.latent_targets(batch)
    predicted = []
    for row in range(3):
        column = next(t for t in range(plain.targets_BT.shape[1]) if plain.targets_BT[row, t] != IGNORE)
        predicted += (module.head.weight @ hidden_BTD[row, column]).view(4, -1)
    expected = latent_cosine(torch.stack(predicted), targets_ND, torch.arange(12) % 4 if centre else None)
    assert torch.allclose(losses["latent"], expected, atol=1e-6)
    assert not plain.latent_BT.any()


def test_the_controls_head_learns_and_passes_its_gradient_on(made, plain):
    module = made("stage=auxiliary").train()
    module.losses(plain)["latent"].backward()
    assert module.head.weight.grad.abs().sum() > 0
    assert module.net.decoder.layers[0].mlp.down_proj.weight.grad.abs().sum() > 0
    groups = stages.BaseModule.configure_optimizers.__globals__["parameter_groups"](module, 0.1)
    assert any(p is module.head.weight for group in groups for p in group["params"])


def test_the_control_needs_a_helper_image_in_every_row(made, processor, samples):
    module = made("stage=auxiliary")
    without = Collator(processor, latent_size=4, latents=False, helpers=False)(samples[:2])
    with pytest.raises(ValueError, match="stage=auxiliary needs exactly one helper image in every row"):
        module.losses(without)


def drawn(module, batch):
    """Which slots were shown true latents, in every call of the network."""
    calls, original = [], module.net.teacher_forced

    def teacher_forced(batch, taught_BT=None, through=True):
        calls.append(batch.latent_BT if taught_BT is None else taught_BT)
        return original(batch, taught_BT, through)

    module.net.teacher_forced = teacher_forced
    return calls


def test_blocks_are_drawn_one_by_one_and_none_outside_training(made, batch, monkeypatch):
    module = made("stage=curriculum", "recurrence=queries", "stage.module.by=block", "stage.module.fade=0.5").train()
    calls = drawn(module, batch)
    shares = []
    for progress in (0.0, 0.25, 0.9):
        monkeypatch.setattr(Curriculum, "progress", progress)
        for step in range(20):
            monkeypatch.setattr(Curriculum, "global_step", step)
            module.losses(batch)
        rows = torch.stack(calls)[:, batch.latent_BT].view(20, 3, 4).float()
        assert torch.equal(rows.amin(-1), rows.amax(-1)), "a block is shown whole or not at all"
        shares.append(rows.mean().item())
        calls.clear()
    assert (shares[0], shares[2]) == (1, 0)
    assert 0.2 < shares[1] < 0.8
    module.eval().losses(batch)
    assert not calls[0].any()


def test_blocks_of_another_recurrence_cannot_be_drawn(made):
    with pytest.raises(Exception, match="stage.module.by=block needs recurrence=queries"):
        made("stage=curriculum", "stage.module.by=block")


def test_a_share_of_the_true_latents_is_hidden_in_training_alone(made, batch, monkeypatch):
    module = made("stage=stage1", "stage.module.hidden=0.75").train()
    calls = drawn(module, batch)
    for step in range(30):
        monkeypatch.setattr(Stage1, "global_step", step)
        module.losses(batch)
    assert 0.15 < torch.stack(calls)[:, batch.latent_BT].float().mean() < 0.35
    module.eval().losses(batch)
    assert torch.equal(calls[-1], batch.latent_BT)


def test_the_losses_of_latents_are_those_with_a_weight(made, batch):
    weights = "stage.module.loss_weights"
    for given, expected in (((), {"latent"}), ((f"{weights}.contrast=1",), {"latent", "contrast"})):
        assert made("stage=stage1", *given).losses(batch).keys() == {"text", *expected}
    module = made("stage=guided", f"{weights}.latent=null", f"{weights}.contrast=1")
    assert module.losses(batch).keys() == {"text", "contrast"}
    assert module.terms(batch) == {"text": batch.supervised, "contrast": 12}


@pytest.mark.parametrize("feedback", ["snapped", "words"])
def test_code_asks_which_code_a_latent_is(made, batch, feedback):
    module = made("stage=stage1", f"feedback={feedback}", "stage.module.loss_weights={latent: null, code: 1.0}").train()
    for _ in range(5):  # a code a batch is found
        module.losses(batch)
    losses = module.eval().losses(batch)
    assert losses.keys() == {"text", "code"}
    assert losses["code"] > 0
    _, predicted_ND, targets_ND = module.net.teacher_forced(batch)
    pairs = zip(predicted_ND[:, None], targets_ND[:, None], strict=True)
    expected = torch.cat([module.net.feedback.surprise(*pair, 0.1) for pair in pairs])
    assert torch.allclose(losses["code"], expected.mean())


def test_code_needs_codes(made):
    with pytest.raises(InstantiationException, match=r"code asks which code a latent is, and Raw has none; set"):
        made("stage=stage1", "stage.module.loss_weights.code=1")


def test_words_have_gradients_where_no_row_has_a_block(made, batch, collator, samples):
    plain = collator([replace(sample, answer=(Text("a"),)) for sample in samples[:2]])
    for stage in ("stage1", "stage2"):
        module = made(f"stage={stage}", "feedback=words")
        hidden_BTD = module.net.teacher_forced(plain)[0] if stage == "stage1" else module.net.recurrent(plain)
        hidden_BTD.sum().backward()
        assert not module.net.feedback.words.weight.grad.any()
