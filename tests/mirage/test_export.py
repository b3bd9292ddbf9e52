"""An export that others would read otherwise is refused, and one that is right isn't."""

import json
from copy import copy

import pytest
import torch
from safetensors import safe_open

from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.export.folder import write_folder
from mirage_pl.mirage.export.loading_back import check_answers
from mirage_pl.mirage.export.mirage_generate import Mirage
from mirage_pl.mirage.model.feedback import Raw
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
