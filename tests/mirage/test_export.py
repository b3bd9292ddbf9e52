"""An export that others would read otherwise is refused, and one that is right isn't."""

import json
from copy import copy

import pytest
import torch
from hydra.utils import instantiate
from safetensors import safe_open

from data_modules.samples import Picture
from mirage_pl.engine import export
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.training import fit
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.export.folder import write_folder
from mirage_pl.mirage.export.loading_back import check_answers
from mirage_pl.mirage.export.mirage_generate import Mirage
from mirage_pl.mirage.model.feedback import Raw
from tests.conftest import compose
from tests.contract.stages import Stage
from tests.mirage.architectures.test_export import open_blocks
from tests.mirage.exported import build_net, describe, export_net, parts


@pytest.fixture
def loaded():
    """A network with all that an export has to carry over, and its folder as others load it."""
    net, folder = export_net("both")
    return net, folder, Mirage.load(folder, "cpu")


def spoil_weight(back):
    with torch.no_grad():
        back.model.model.language_model.layers[0].mlp.down_proj.weight.mul_(1.5)


def spoil_norm(back):
    back.norm = 0.0


def spoil_sweeps(back):
    back.sweeps = 1


def spoil_size(back):
    back.latent_size = 2


@pytest.mark.parametrize("spoil", [spoil_weight, spoil_norm, spoil_sweeps, spoil_size])
def test_a_folder_that_answers_otherwise_is_refused(loaded, spoil):
    net, folder, back = loaded
    check_answers(folder, back, net, parts()[2])
    spoil(back)
    with pytest.raises(
        ValueError, match="an answer with latents has other logits than the run's .by .*% of the largest"
    ):
        check_answers(folder, back, net, parts()[2])


def test_a_folder_that_reads_questions_otherwise_is_refused(loaded):
    net, folder, back = loaded
    back.processor.image_processor.size = {"shortest_edge": 300 * 300, "longest_edge": 512 * 512}
    with pytest.raises(ValueError, match="its processor reads a question otherwise"):
        check_answers(folder, back, net, parts()[2])


def test_bounds_of_pixels_go_with_the_processor(tmp_path):
    net, (processor, _, _) = build_net(), parts()
    bounded = Collator(processor, 3, True, False, {"input": {"min": 300 * 300, "max": 400 * 400}})
    module, run = describe(net)
    run.collator = bounded
    write_folder(tmp_path, module, run, "5GB")
    size = json.loads((tmp_path / "processor_config.json").read_text())["image_processor"]["size"]
    assert size == {"shortest_edge": 300 * 300, "longest_edge": 400 * 400}


def test_a_baseline_without_latents_is_compared_on_words_alone(tmp_path):
    net, (processor, _, _) = build_net(), parts()
    module, run = describe(net)
    run.collator = Collator(processor, 3, latents=False, helpers=False)
    write_folder(tmp_path, module, run, "5GB")
    back = Mirage.load(tmp_path, "cpu")
    spoil_norm(back)
    spoil_size(back)
    check_answers(tmp_path, back, net, run.collator)
    spoil_weight(back)
    with pytest.raises(ValueError, match="an answer without latents has other logits"):
        check_answers(tmp_path, back, net, run.collator)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_types_in_several_files_load_back(tmp_path, dtype):
    net = build_net("both").to(dtype)
    back = write_folder(tmp_path, *describe(net), "1MB")
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 1
    assert max(file.stat().st_size for file in files) < 1.1e6
    weights = {f"net.{name}": weight for name, weight in net.state_dict().items()}
    assert all(torch.equal(weights[name], weight) for name, weight in back.items())
    for file in files:
        with safe_open(file, "pt") as content:
            assert {content.get_tensor(name).dtype for name in content.keys()} == {dtype}  # noqa: SIM118


class Halved(Raw):
    """A user's own feedback."""

    def forward(self, hidden):
        return hidden / 2


def test_feedback_of_the_users_own_cannot_be_carried_over(tmp_path):
    net = copy(build_net())
    net.feedback = Halved()
    with pytest.raises(ValueError, match="Halved can't be exported: mirage_generate.py decodes with Raw or Matched"):
        write_folder(tmp_path, *describe(net), "5GB")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def finished(data, tmp_path):
    """Trains a stage; then its blocks open now and then, and a writer adds more than a few steps teach it."""

    def train(stage):
        quiet = ["callbacks.scores=null", "callbacks.best=null", "trainer.limit_val_batches=0"]
        fit.run(cfg := stage.compose(data, f"run_dir={tmp_path}/run", *quiet))
        rows = instantiate(cfg.task.dataset).read(cfg.task.test_file).samples[:4]
        file = tmp_path / "run" / "checkpoints" / "last.ckpt"
        checkpoint, run = torch.load(file, weights_only=True), load_trained(str(file))
        weights = checkpoint["state_dict"]
        if (up_DH := weights.get("net.feedback.correction.up_DH")) is not None:
            up_DH.normal_(std=0.3, generator=torch.Generator().manual_seed(5))
            run.module.load_state_dict(weights)
        talkative, _ = open_blocks(run.module.net, run.module.decoder, run.collator.prompts(rows))
        weights["net.backbone.lm_head.weight"].copy_(talkative.architecture.head.weight)
        torch.save(checkpoint, file)
        return load_trained(str(file)), rows

    return train


EXPORTED = [Stage("writer", parts=("recurrence=queries",)), Stage("writer"), Stage("distill_text"), Stage("stage2")]


@pytest.mark.parametrize(
    "stage", [EXPORTED[0], *(pytest.param(s, marks=pytest.mark.slow) for s in EXPORTED[1:])], ids=str
)
def test_an_exported_run_gives_the_greedy_answers_that_the_run_gives(finished, tmp_path, stage):
    run, rows = finished(stage)
    out = export.run(compose("export", f"ckpt={run.folder}", f"out={tmp_path}/out"))
    ours = run.module.decoder(run.module.net, run.collator.prompts(rows), Decoding(20))
    texts = ["".join("<image>" if isinstance(p, Picture) else p.text for p in row.question) for row in rows]
    images = [[part.path for part in row.question if isinstance(part, Picture)] for row in rows]
    theirs = Mirage.load(out, "cpu").generate(texts, images, max_new_tokens=20)
    assert [answer.tokens for answer in theirs] == ours.tokens
    assert [answer.text for answer in theirs] == ours.texts
    for answer, latents in zip(theirs, ours.latents, strict=True):
        assert all(torch.allclose(*pair, rtol=1e-3, atol=1e-3) for pair in zip(answer.latents, latents, strict=True))
