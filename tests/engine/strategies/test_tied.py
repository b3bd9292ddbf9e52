"""A head that is the embeddings, as Qwen2.5-VL-3B's: one weight, in two places of the model."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from mirage_pl.engine import export
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.mirage.collator import Collator
from tests.conftest import compose
from tests.engine.strategies.conftest import recorded
from tests.engine.strategies.test_equality import assert_same, slow


@pytest.mark.parametrize("name", ["zero3", *slow("zero2", "fsdp2")])
def test_two_processes_and_then_one_learn_such_a_weight_as_one_does(runs, name):
    assert_same(runs[f"tied_{name}"], runs["tied_alone"], 4)
    _, weights = recorded(runs[f"tied_{name}"])
    words, head = (weights[f"net.backbone.{part}.weight"] for part in ("model.language_model.embed_tokens", "lm_head"))
    assert torch.equal(words, head)


STOCK = """
import sys, torch
from transformers import Qwen2_5_VLForConditionalGeneration
for folder in sys.argv[1:]:
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder).eval()
    assert model.lm_head.weight is model.get_input_embeddings().weight
    with torch.no_grad():
        torch.save(model(**torch.load("inputs")).logits, f"{folder}/logits")
"""


@pytest.mark.parametrize("names", [["zero3"], *slow(["zero2", "fsdp2"])], ids=str)
def test_a_head_that_is_the_embeddings_is_exported_as_one_and_answers_the_same_elsewhere(
    runs, processor, samples, tmp_path, names
):
    prompts, wanted = Collator(processor, 4, latents=False, helpers=False).prompts(samples[:1]), {}
    inputs = {"input_ids": prompts.tokens_BT, "pixel_values": prompts.images.pixels_PF}
    inputs |= {"image_grid_thw": torch.tensor(prompts.images.grids)}
    inputs |= {"mm_token_type_ids": (prompts.tokens_BT == processor.image_token_id).int()}
    torch.save(inputs, tmp_path / "inputs")
    for name in names:
        folder = export.run(compose("export", f"ckpt={runs[f'tied_{name}']}", f"out={tmp_path}/{name}"))
        assert not [key for key in load_file(folder / "model.safetensors") if "lm_head" in key]
        net = load_trained(runs[f"tied_{name}"]).module.net
        with torch.no_grad():
            wanted[folder] = net.logits(net.recurrent(prompts))
    subprocess.run([sys.executable, "-c", STOCK, *wanted], check=True, cwd=tmp_path)
    for folder, logits in wanted.items():
        torch.testing.assert_close(torch.load(folder / "logits"), logits, atol=1e-5, rtol=1e-5)
