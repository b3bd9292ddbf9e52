"""A head that is the embeddings, as Qwen2.5-VL-3B's: one weight, in two places of the model."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from mirage_pl import export
from mirage_pl.mirage.collator import Collator
from mirage_pl.trained import load_trained
from tests.conftest import compose
from tests.strategies.conftest import HALVED, STEPS, WHOLE, ZERO2, job, recorded, run_alone, run_in_two, tied_options
from tests.strategies.test_equality import assert_same


@pytest.mark.parametrize("name", ["zero3", "fsdp2"])
def test_ranks_with_parts_of_a_weight_that_is_in_two_places_learn_the_same_also_after_a_stop(runs, name):
    assert_same(runs[f"tied_{name}"], runs["tied_alone"], 4)
    _, weights = recorded(runs[f"tied_{name}"])
    words, head = (weights[f"net.backbone.{part}.weight"] for part in ("model.language_model.embed_tokens", "lm_head"))
    assert torch.equal(words, head)


@pytest.mark.slow
def test_zero2_too_learns_such_a_weight_and_continues(data, tied, tmp_path):
    run_alone(job(tmp_path / "alone", data, *tied_options(tied), WHOLE))
    steps = [f"trainer.max_steps={count}" for count in (STEPS // 2, STEPS)]
    run_in_two(
        tmp_path, *(job(tmp_path / "zero2", data, *tied_options(tied), HALVED, *ZERO2, until) for until in steps)
    )
    assert_same(tmp_path / "zero2", tmp_path / "alone", STEPS // 2)


STOCK = """
import sys, torch
from transformers import Qwen2_5_VLForConditionalGeneration
for folder in sys.argv[1:]:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()
    assert model.lm_head.weight is model.get_input_embeddings().weight
    with torch.no_grad():
        torch.save(model(**torch.load("inputs")).logits, f"{folder}/logits")
"""


def test_a_head_that_is_the_embeddings_is_exported_as_one_and_answers_the_same_elsewhere(
    runs, processor, samples, tmp_path
):
    prompts, wanted = Collator(processor, 4, latents=False, helpers=False).prompts(samples[:1]), {}
    inputs = {"input_ids": prompts.tokens_BT, "pixel_values": prompts.images.pixels_PF}
    inputs |= {"image_grid_thw": torch.tensor(prompts.images.grids)}
    inputs |= {"mm_token_type_ids": (prompts.tokens_BT == processor.image_token_id).int()}
    torch.save(inputs, tmp_path / "inputs")
    for name in ("zero3", "fsdp2"):
        folder = export.run(compose("export", f"ckpt={runs[f'tied_{name}']}", f"out={tmp_path}/{name}"))
        assert not [key for key in load_file(folder / "model.safetensors") if "lm_head" in key]
        net = load_trained(runs[f"tied_{name}"]).module.net
        with torch.no_grad():
            wanted[folder] = net.logits(net.recurrent(prompts))
    subprocess.run([sys.executable, "-c", STOCK, *wanted], check=True, cwd=tmp_path)
    for folder, logits in wanted.items():
        torch.testing.assert_close(torch.load(folder / "logits"), logits, atol=1e-5, rtol=0)
