"""A writer acts on what becomes a latent alone, and is all that learns against a frozen reader."""

from dataclasses import replace

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from callbacks.freeze import Freeze
from data_modules.samples import Text
from mirage_pl.engine.training import fit
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.losses import latent_cosine
from mirage_pl.mirage.model import reference
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Jacobi, OnePass, Sequential
from mirage_pl.mirage.model.writer import Writer
from tests.conftest import compose
from tests.contract.stages import Stage


def taught(net, norm=0.0):
    """The network, its writer no longer one that adds nothing."""
    with torch.no_grad():
        net.feedback.correction.up_DH.normal_(std=0.3, generator=torch.Generator().manual_seed(5))
        net.feedback.norm.fill_(norm)
    return net


@pytest.fixture
def make_net(random_net):
    def make(recurrence=None):
        net = LatentVLM(random_net.backbone, random_net.compression, recurrence or Sequential(), feedback=Writer(7))
        return net.double().eval()

    return make


@pytest.fixture
def both(processor, samples):
    """Rows with latents and helper images."""
    return Collator(processor, latent_size=3, latents=True, helpers=True)(samples[:3])


@pytest.fixture
def made(data):
    """The module of the stage, its weights frozen as its config says."""

    def make(*overrides):
        torch.manual_seed(0)
        cfg = compose("train", f"data={data}", "features=null", "stage=writer", *overrides)
        module = instantiate(cfg.stage.module)
        Freeze(cfg.stage.freeze).setup(None, module, "fit")
        return module

    return make


def test_a_new_writer_changes_nothing(make_net, random_net, both):
    net = make_net()
    assert torch.equal(net.recurrent(both), random_net.recurrent(both))
    assert not torch.allclose(taught(net).recurrent(both), random_net.recurrent(both))


def test_text_before_latents_and_whatever_reads_given_ones_stay_bit_by_bit(make_net, random_net, both):
    net = taught(make_net())
    hidden_BTD, states_ND = net.written(both)
    first_B = both.latent_BT.int().argmax(1)
    before_BT = torch.arange(both.latent_BT.shape[1]) < first_B.unsqueeze(1)
    assert torch.equal(hidden_BTD[before_BT], random_net.recurrent(both)[before_BT])
    assert not torch.equal(net.feedback(states_ND), random_net.feedback(states_ND))
    assert torch.equal(net.teacher_forced(both)[0], random_net.teacher_forced(both)[0])
    latents_ND = torch.randn_like(states_ND)
    given = [each.with_latents(both, each.embed(both), latents_ND) for each in (net, random_net)]
    assert torch.equal(*given)


def test_it_writes_what_it_adds_at_the_length_of_its_start(make_net, both):
    net = taught(make_net(), norm=3.0)
    _, states_ND = net.written(both)
    down_HD, up_DH = net.feedback.correction.down_HD, net.feedback.correction.up_DH
    corrected_ND = states_ND + torch.nn.functional.gelu(states_ND @ down_HD.T) @ up_DH.T
    expected_ND = 3 * torch.nn.functional.normalize(corrected_ND, dim=-1)
    torch.testing.assert_close(net.feedback(states_ND), expected_ND)
    net.train().latent_targets(both)
    assert net.feedback.norm == 3, "helper images don't move it"


@pytest.mark.parametrize("recurrence", [Sequential(), OnePass(3)])
def test_a_packed_pass_writes_what_the_reference_does(make_net, processor, samples, recurrence):
    net, collate = taught(make_net(recurrence), 3.0), Collator(processor, latent_size=3, latents=True, helpers=False)
    batch = collate(samples[:3])
    hidden_BTD = net.recurrent(batch)
    for row, sample in enumerate(samples[:3]):
        expected_TD = reference.recurrent_row(net, collate([sample]))
        assert torch.allclose(hidden_BTD[row][batch.real_BT[row]], expected_TD, atol=1e-10)


@pytest.mark.parametrize("recurrence", [Sequential(), Jacobi(5)])
def test_decoding_writes_what_the_reference_does(
    talkative, make_net, decoder, collator, questions, processor, recurrence
):
    talkative.feedback, talkative.recurrence = taught(make_net(), 3.0).feedback, recurrence
    found = decoder(talkative, collator.prompts(questions), Decoding(max_new_tokens=14))
    assert any(len(row) for row in found.latents)
    for row, question in enumerate(questions):
        alone = collator.prompts([question])
        sizes = [*alone.sizes[0], *[decoder.latent_size] * 14]
        ids = (decoder.latent_end, decoder.latent_start, decoder.latent_pad, decoder.end)
        assert found.tokens[row] == reference.greedy_answer(talkative, alone, sizes, *ids, 14)


@pytest.mark.parametrize("losses", ["{}", "{latent: 1.0, contrast: 1.0}"])
@pytest.mark.parametrize("checkpointing", ["false", "true"])
def test_only_the_writer_learns(made, both, losses, checkpointing):
    module = made(f"stage.module.loss_weights={losses}", f"memory.checkpointing={checkpointing}").train()
    module.weigh(module.losses(both)).backward()
    learning = {name for name, weight in module.named_parameters() if weight.grad is not None}
    assert learning == {f"net.feedback.correction.{name}" for name in ("down_HD", "up_DH")}
    assert module.net.feedback.correction.up_DH.grad.norm() > 0


def test_queries_learn_beside_it(made, both):
    module = made("recurrence=queries").train()
    module.weigh(module.losses(both)).backward()
    learning = {name for name, weight in module.named_parameters() if weight.grad is not None}
    assert learning == {
        "net.recurrence.queries.weight",
        *(f"net.feedback.correction.{n}" for n in ("down_HD", "up_DH")),
    }


@pytest.mark.parametrize("losses", ["{}", "{latent: 1.0}"])
def test_it_has_gradients_where_no_row_has_a_block(made, collator, samples, losses):
    plain = collator([replace(sample, answer=(Text("a"),)) for sample in samples[:2]])
    module = made(f"stage.module.loss_weights={losses}").train()
    module.weigh(module.losses(plain)).backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in module.net.feedback.parameters())


@pytest.mark.parametrize("stage", ["sft", "stage1", "stage2", "guided", "curriculum"])
def test_every_stage_can_train_it(data, both, collator, samples, stage):
    torch.manual_seed(0)
    module = instantiate(
        compose("train", f"data={data}", "features=null", f"stage={stage}", "feedback=writer").stage.module
    )
    plain = Collator(collator.processor, latent_size=3, latents=False, helpers=False)(samples[:3])
    module.weigh(module.losses(plain if stage == "sft" else both)).backward()
    up_DH = module.net.feedback.correction.up_DH
    assert up_DH.grad is not None
    assert bool(up_DH.grad.any()) == (stage != "sft")


def test_helper_images_teach_what_the_writer_makes_of_hidden_states(made, both):
    module = made("stage.module.loss_weights={latent: 1.0}").eval()
    taught(module.net)
    _, states_ND, targets_ND = module.net.recycled(both)
    expected = latent_cosine(module.net.feedback(states_ND), targets_ND, both.places_N)
    torch.testing.assert_close(module.losses(both)["latent"], expected)


def test_what_nothing_would_be_learnt_with_is_refused(made):
    with pytest.raises(InstantiationException, match=r"feedback=writer adds, and Raw adds nothing; set feedback=wri"):
        made("feedback=raw")
    with pytest.raises(InstantiationException, match=r"stage.module.through=false lets the writer learn nothing"):
        made("stage.module.through=false")
    assert made("stage.module.through=false", "stage.module.loss_weights.latent=1")


def test_a_reader_that_would_learn_is_refused(data, tmp_path):
    cfg = Stage("writer").compose(data, f"runs={tmp_path}", "stage.freeze=[net.backbone.model.visual]")
    with pytest.raises(ValueError, match=r"holds its reader as it is, and would train \d+ of its weights, such as net"):
        fit.run(cfg)


@pytest.mark.parametrize("feedback", ["raw", "matched"])
@pytest.mark.parametrize("recurrence", ["sequential", "queries"])
def test_a_run_goes_on_from_stage_1_and_leaves_its_reader_as_it_was(data, tmp_path, feedback, recurrence):
    folders = [f"runs={tmp_path}", "trainer.max_steps=2", "trainer.val_check_interval=2"]
    first = Stage("stage1").compose(data, *folders, f"feedback={feedback}", "trainer.limit_val_batches=0")
    fit.run(first)
    cfg = Stage("writer").compose(data, *folders, f"recurrence={recurrence}")
    cfg.stage.starts = compose("train", "stage=writer").stage.starts
    metrics = fit.run(cfg)
    start, saved = (
        torch.load(f"{each.run_dir}/checkpoints/last.ckpt", weights_only=True)["state_dict"] for each in (first, cfg)
    )
    assert all(torch.equal(saved[name], weight) for name, weight in start.items())
    new = {"net.feedback.correction.down_HD", "net.feedback.correction.up_DH"}
    new |= {"net.feedback.norm"} if feedback == "raw" else set()
    new |= {"net.recurrence.queries.weight"} if recurrence == "queries" else set()
    assert saved.keys() - start.keys() == new
    assert saved["net.feedback.correction.up_DH"].any()
    assert (saved["net.feedback.norm"] > 0) == (feedback == "matched")
    assert {"train/text", "val/text", "val/success"} <= metrics.keys()
