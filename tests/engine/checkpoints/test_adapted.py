"""Runs that train an adapter: what their checkpoints hold, and what goes on from them."""

import shutil
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from transformers import AutoModelForImageTextToText

from mirage_pl.engine import export
from mirage_pl.engine.adapters import bits
from mirage_pl.engine.checkpoints.started import load_starts
from mirage_pl.engine.checkpoints.trained import load_trained
from mirage_pl.engine.runs.entry import open_run
from mirage_pl.engine.runs.starts import find_starts
from mirage_pl.engine.strategies.ready import check_machine
from mirage_pl.engine.training import fit
from tests.conftest import REPO, SMALL, compose

LORA = ["lora=lora", "lora.rank=4"]
QUIET = [f"callbacks.{name}=null" for name in ("progress", "scores", "throughput", "best")]
SHORT = [
    "trainer.max_steps=2",
    "trainer.limit_val_batches=0",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def config(data, runs):
    def composed(stage, *overrides):
        return compose("train", f"stage={stage}", *SMALL, *QUIET, *SHORT, f"data={data}", f"runs={runs}", *overrides)

    return composed


@pytest.fixture(scope="module")
def first(config):
    """A finished stage 1 with an adapter."""
    cfg = config("stage1", *LORA, "stage.module.lr_by_part.rows=1e-2", "logger=csv", "trainer.log_every_n_steps=1")
    fit.run(cfg)
    return Path(cfg.run_dir)


@pytest.fixture(scope="module")
def whole(config):
    """A finished stage 1 without one; it is the newer one."""
    cfg = config("stage1")
    fit.run(cfg)
    return Path(cfg.run_dir)


def begun(cfg):
    """The module of a new run, with the weights that it begins with."""
    folder = open_run(cfg, find_starts(cfg))
    module = instantiate(cfg.stage.module)
    load_starts(cfg, folder, module, None)
    return module


def logits(module):
    torch.manual_seed(0)
    tokens = torch.randint(0, 250, (2, 9))
    tokens[0, 2], tokens[1, 5] = module.decoder.latent_start, module.decoder.latent_end
    with torch.no_grad():
        return module.eval().net.backbone(input_ids=tokens).logits


def held(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def test_a_checkpoint_holds_adapters_and_rows_and_nothing_else(first, whole):
    names = {name.split(".")[-3] if "lora_" in name else name.split(".")[-2] for name in held(first)}
    assert names == {"lora_A", "lora_B", "rows"}
    sizes = [(run / "checkpoints" / "last.ckpt").stat().st_size for run in (first, whole)]
    assert sizes[0] < sizes[1] / 10


def test_each_part_has_its_curve(first):
    head = next((first / "csv").glob("metrics.csv")).read_text().splitlines()[0].split(",")
    assert {"lr", "lr/rows"} <= set(head)


def test_another_stage_goes_on_with_the_adapter_by_itself(config, first, whole):
    cfg = config("stage2", *LORA)
    assert find_starts(cfg) == {"weights": str(first)}
    assert find_starts(config("stage2")) == {"weights": str(whole)}
    module, wanted = begun(cfg), held(first)
    own = module.state_dict()
    assert wanted.keys() == {name for name in own if name not in module.apart}
    assert all(torch.equal(own[name], weight) for name, weight in wanted.items())


MERGING = [[], ["lora=lora", "lora.rank=2"], ["lora=dora", "lora.parts=[vision]"]]


@pytest.mark.parametrize("lora", MERGING, ids=str)
def test_a_stage_without_that_adapter_begins_with_what_was_learnt_all_the_same(config, first, lora):
    module = begun(config("stage2", *lora, f"init_from={first}"))
    torch.testing.assert_close(logits(module), logits(load_trained(str(first)).module), atol=1e-5, rtol=1e-5)


def test_a_run_beside_merged_weights_is_read_with_them(config, first):
    cfg = config("stage2", "lora=lora", "lora.rank=2", f"init_from={first}", "trainer.max_steps=1")
    fit.run(cfg)
    begins, ends = (
        begun(config("stage2", "lora=lora", "lora.rank=2", f"init_from={first}", "seed=7")),
        load_trained(cfg.run_dir),
    )
    frozen = {name: weight for name, weight in ends.module.state_dict().items() if name in ends.module.apart}
    assert frozen
    own = begins.state_dict()
    assert all(torch.equal(own[name], weight) for name, weight in frozen.items())
    after = begun(config("guided", "lora=lora", "lora.rank=2", f"init_from={cfg.run_dir}"))
    torch.testing.assert_close(logits(after), logits(ends.module))


@pytest.mark.parametrize("lora", [["lora=lora", "lora.dropout=0.3"], ["lora=dora"], ["lora=qlora"]], ids=str)
def test_a_run_that_was_stopped_goes_on_bit_by_bit(config, runs, lora):
    options = [*lora, "memory.checkpointing=true", "stage.module.schedule.shape=constant", "stage.starts=null"]
    name = lora[0].removeprefix("lora=")
    for leg, ends in {"cut": (1, 2), "uncut": (2,)}.items():
        for end in ends:
            fit.run(config("stage2", *options, f"run_dir={runs}/{name}-{leg}", f"trainer.max_steps={end}"))
    cut, uncut = (held(runs / f"{name}-{leg}") for leg in ("cut", "uncut"))
    assert cut.keys() == uncut.keys()
    assert all(torch.equal(cut[name], uncut[name]) for name in cut)


@pytest.mark.parametrize("lora", ["lora", "qlora"])
def test_an_export_is_a_plain_model_that_answers_the_same(config, first, runs, lora):
    run = first
    if lora == "qlora":
        cfg = config("stage1", "lora=qlora")
        fit.run(cfg)
        run = cfg.run_dir
    folder = export.run(compose("export", f"ckpt={run}", f"out={runs}/out-{lora}"))
    trained = load_trained(str(run)).module
    wanted = logits(trained)
    trained.net.backbone = AutoModelForImageTextToText.from_pretrained(folder)
    torch.testing.assert_close(logits(trained), wanted, atol=1e-5, rtol=1e-5)


def test_an_adapter_isnt_put_beside_other_weights(config, runs):
    base = shutil.copytree(REPO / "assets" / "tiny", runs / "base")
    cfg = config("sft", *LORA, f"model.path={base}", "model.name=base", "trainer.max_steps=1")
    fit.run(cfg)
    load_trained(cfg.run_dir)
    model = AutoModelForImageTextToText.from_pretrained(base)
    model.model.visual.merger.mlp[0].weight.data += 0.1
    model.save_pretrained(base)
    with pytest.raises(
        ValueError, match="holds an adapter that was trained beside other weights .*model.path held then"
    ):
        load_trained(cfg.run_dir)
    again = cfg.copy()
    again.trainer.max_steps = 2
    with pytest.raises(ValueError, match="trained beside other weights"):
        fit.run(again)


def test_a_freeze_that_would_stop_adapters_is_refused(config):
    cfg = config("stage1", *LORA, "lora.parts=[vision]", "stage.freeze=[net.backbone.model.visual]", "seed=9")
    with pytest.raises(ValueError, match=r"stage.freeze=net.backbone.model.visual would stop \d+ weights of lora=lora"):
        begun(cfg)


REFUSED = {
    "model.random_weights=true": "model.random_weights=true draws them anew",
    "strategy=fsdp2 lora=qlora trainer.devices=2": "strategy=fsdp2 lays weights out in parts, and weights of four bits",
    "strategy=fsdp2 optimizer=adamw_8bit": "which optimizer=adamw_8bit can't update",
    "strategy=deepspeed_zero3 lora=dora": "strategy=deepspeed_zero3 lays weights out in parts, and DoRA",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cant_be_is_refused_before_anything_is_loaded(config, words):
    with pytest.raises(ValueError, match=REFUSED[words]):
        check_machine(config("stage1", "lora=lora", *words.split()))


@pytest.mark.parametrize("words", ["lora=qlora", "optimizer=adamw_8bit", "optimizer=adamw_8bit_paged"])
def test_an_extra_that_isnt_installed_is_named(config, monkeypatch, words):
    monkeypatch.setattr(bits, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs the package bitsandbytes, .* pip install 'mirage_pl\[bitsandbytes\]'"):
        check_machine(config("stage1", words))


def test_states_of_eight_bits_learn_and_go_on_bit_by_bit(config, runs):
    options = ["optimizer=adamw_8bit", "stage.module.schedule.shape=constant"]
    for name, legs in {"cut": (1, 3), "uncut": (3,)}.items():
        for steps in legs:
            fit.run(config("sft", *options, f"run_dir={runs}/eight-{name}", f"trainer.max_steps={steps}"))
    checkpoint = torch.load(runs / "eight-cut" / "checkpoints" / "last.ckpt", weights_only=True)
    states = [state["__bnb_optimizer_quant_state__"] for state in checkpoint["optimizer_states"][0]["state"].values()]
    assert {state["state1"].dtype for state in states} == {torch.uint8, torch.float32}  # small ones keep 32 bits
    cut, uncut = (held(runs / f"eight-{name}") for name in ("cut", "uncut"))
    assert all(torch.equal(cut[name], uncut[name]) for name in cut)


def test_adapters_keep_float32_beside_weights_in_bfloat16(config):
    cfg = config("stage2", *LORA, "stage.starts=null", "trainer.precision=bf16-mixed", "model.dtype=bfloat16")
    fit.run(cfg)
    module = load_trained(cfg.run_dir).module
    dtypes = {(weight.requires_grad, weight.dtype) for weight in module.parameters()}
    assert dtypes == {(True, torch.float32), (False, torch.bfloat16)}
    assert not [name for name, weight in held(Path(cfg.run_dir)).items() if weight.dtype != torch.float32]
