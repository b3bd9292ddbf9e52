"""Folders of released tokenizers and of exports: in, out, for fewer frames, and of single frames alone."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file

from mirage_pl.engine import export
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.training import fit
from mirage_pl.ivideogpt.model.coders import Sizes
from mirage_pl.ivideogpt.model.quantizer import VQ
from mirage_pl.ivideogpt.model.released import CONFIG, WEIGHTS, build_tokenizer, write_folder
from mirage_pl.ivideogpt.model.tokenizer import shrink_context
from tests.conftest import compose
from tests.ivideogpt.conftest import QUIET, compose_small

SIZES = {"resolution": 16, "block_out_channels": [8], "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4}


def build(path=None, context_length=2, decode="plain", num_codes=7, **sizes):
    quantizer = partial(VQ, num_codes=num_codes)
    return build_tokenizer(path, Sizes(**SIZES | sizes, context_length=context_length), quantizer, quantizer, decode)


@pytest.fixture
def folder(tmp_path):
    """A folder as the release has it: its config says nothing of what is ours alone."""
    torch.manual_seed(0)
    write_folder(build(), tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    ours = ("decode", "fold", "quantizers", "levels", "dropout", "max_att_resolution", "context_patch")
    (tmp_path / CONFIG).write_text(json.dumps({key: value for key, value in config.items() if key not in ours}))
    return tmp_path


def test_a_folder_is_read_as_it_was_written_also_within_a_world_models(folder, tmp_path):
    weights = load_file(folder / WEIGHTS)
    (tmp_path / "world").mkdir()
    (tmp_path / "world" / "tokenizer").symlink_to(folder)
    for path in (folder, tmp_path / "world"):
        own = build(str(path)).state_dict()
        assert own.keys() == weights.keys()
        assert all(torch.equal(own[name], weight) for name, weight in weights.items())


def test_fewer_context_frames_keep_the_newest_places_and_more_are_refused(folder):
    fewer = build(str(folder), context_length=1).state_dict()
    shrunk = shrink_context(load_file(folder / WEIGHTS), 2, 1)
    assert all(torch.equal(fewer[name], weight) for name, weight in shrunk.items())
    with pytest.raises(ValueError, match=r"context_length=3 must be 1 to 2, as it was; it can't grow"):
        build(str(folder), context_length=3)


def test_a_model_of_single_frames_starts_both_pairs_of_coders(folder):
    weights = load_file(folder / WEIGHTS)
    alone = {name: weight for name, weight in weights.items() if name.split(".")[0] in SINGLE}
    save_file(alone, folder / WEIGHTS)
    own, untrained = build(str(folder)).state_dict(), build().state_dict()
    for name, weight in alone.items():
        assert torch.equal(own[name], weight)
        if f"cond_{name}" in own:
            assert torch.equal(own[f"cond_{name}"], weight)
    assert own["dynamics_quantize.embedding.weight"].shape == untrained["dynamics_quantize.embedding.weight"].shape
    gated = build(str(folder), decode="gated").state_dict()
    assert torch.equal(gated["cond_encoder.conv_in.weight"], alone["encoder.conv_in.weight"])
    assert len(gated["cond_decoder.conv_out.bias"]) == 4
    with pytest.raises(ValueError, match="has context_patch=1, and this model 2"):
        build(str(folder), context_patch=2)
    save_file({name: weight for name, weight in alone.items() if "decoder.conv_in" not in name}, folder / WEIGHTS)
    with pytest.raises(ValueError, match=r"decoder.conv_in.bias is absent there and \[8\] here"):
        build(str(folder))


SINGLE = ("encoder", "decoder", "quantize", "quant_conv", "post_quant_conv")


def test_a_folder_of_another_model_is_refused_with_the_key_that_differs(folder, tmp_path):
    for options, words in (
        ({"latent_channels": 8}, "latent_channels=4, and this model 8; .* set model.tokenizer.sizes.latent_channels"),
        ({"num_codes": 9}, "num_vq_embeddings=7, and this model 9; .* set quantizer.num_codes"),
        ({"decode": "gated"}, "decode=plain, and this model gated; .* set model.decode"),
        ({"fold": 2, "max_att_resolution": 8}, "has fold=1, and this model 2"),
        ({"context_patch": 2}, "has context_patch=1, and this model 2"),
        ({"max_att_resolution": 8}, r"cond_decoder.cross_att_blocks\S+ is .* there and absent here"),
    ):
        with pytest.raises(ValueError, match=words):
            build(str(folder), **options)
    (folder / WEIGHTS).write_bytes(b"none")
    for path, words in ((folder, "can't be read"), (tmp_path / "gone", "has no config.json")):
        with pytest.raises(ValueError, match=words):
            build(str(path))


def test_a_run_goes_out_as_a_folder_and_another_begins_with_it(run, squares, tmp_path):
    out = export.run(compose("export", f"ckpt={run}", f"out={tmp_path}/out"))
    words = [*QUIET, f"data={squares}", f"run_dir={tmp_path}/again", "trainer.max_steps=0", f"model.path={out}"]
    fit.run(compose_small("train", *words))
    before, after = (load_trained(str(each)).module.tokenizer.state_dict() for each in (run, tmp_path / "again"))
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_fine_tuning_begins_with_an_earlier_run_and_may_have_fewer_context_frames(squares, tmp_path):
    words = [*QUIET, f"data={squares}", "trainer.max_steps=1", "task.window={length: 4, hop: 2}"]
    fit.run(compose_small("train", *words, f"run_dir={tmp_path}/two", "context_length=2"))
    start = [f"init_from={tmp_path}/two", "trainer.max_steps=0"]
    fit.run(compose_small("train", *words, f"run_dir={tmp_path}/one", *start))
    two, one = (load_trained(str(tmp_path / name)).module.tokenizer.state_dict() for name in ("two", "one"))
    assert all(torch.equal(one[name], weight) for name, weight in shrink_context(two, 2, 1).items())
    with pytest.raises(ValueError, match=r"context_length=3 must be 1 to 2"):
        fit.run(compose_small("train", *words, f"run_dir={tmp_path}/three", *start, "context_length=3"))


def test_frozen_codebooks_stay_and_the_rest_learns(squares, tmp_path):
    words = [*QUIET, f"data={squares}", "quantizer=vq", "quantizer.num_codes=9", "stage.module.optimizer.lr=1e-2"]
    frozen = ["stage.freeze=[net.quantize,net.dynamics_quantize]", f"run_dir={tmp_path}/tuned"]
    fit.run(compose_small("train", *words, f"run_dir={tmp_path}/first"))
    fit.run(compose_small("train", *words, *frozen, f"init_from={tmp_path}/first", "trainer.max_steps=1"))
    first, tuned = (load_trained(str(tmp_path / name)).module.tokenizer.state_dict() for name in ("first", "tuned"))
    moved = {name.split(".")[0] for name, weight in first.items() if not torch.equal(weight, tuned[name])}
    assert moved == {name.split(".")[0] for name in first} - {"quantize", "dynamics_quantize"}
