"""What a config gives to what it builds is compared with its signature: one line names key, value, and what may be."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Interval, Len
from omegaconf import OmegaConf

from mirage_pl.engine.arguments import check_arguments
from mirage_pl.engine.training.checks import check_config
from mirage_pl.engine.training.trial import check_parts
from mirage_pl.engine.values import describe, fits
from tests.conftest import compose

LR, BETAS = "stage.module.optimizer.lr", "stage.module.optimizer.betas"
PART = "stage.module.parts={net.backbone: {%s}}"
REFUSED = {
    # nothing where there has to be something, at the key that was typed
    "seed=null": "seed=null must be a whole number from 0 to 4294967295",
    "loader.batch_size=null": "loader.batch_size=null must be a whole number",
    "latent_size=null": "latent_size=null must be a whole number",
    "loader.prefetch=null": "loader.prefetch=null must be",
    "trainer.num_nodes=null": "trainer.num_nodes=null must be",
    "stage.max_steps=null": "stage.max_steps=null must be",
    "stage.module.schedule=null": "stage.module.schedule=null must be",
    "stage.module.net=null": "stage.module.net=null must be",
    "stage.freeze=null": "stage.freeze=null must be a list",
    "task.levels=null": "task.levels=null must be a list",
    "task.levels=[1.5]": r"task.levels=\[1.5\] must be a list of whole numbers",
    f"{LR}=null": f"{LR}=null must be a number",
    "runs=null": "runs=null must be a text",
    "data=null": "data=null must be a text",
    "run_dir=''": "run_dir= must be a text that isn't empty",
    # another type
    "loader.decoded=5": "loader.decoded=5 must be a text, or null",
    "stage.freeze=net": "stage.freeze=net must be a list",
    "evaluate=5": "evaluate=5 must be keys with their values",
    "trainer.benchmark=fast": "trainer.benchmark=fast must be true or false, or null",
    f"{LR}=fast": f"{LR}=fast must be a number",
    f"{LR}=nan": f"{LR}=nan must be a number",
    f"{BETAS}=[0.9]": f"{BETAS}=.* must be a list of 2",
    # out of range
    "seed=-1": "seed=-1 must be a whole number from 0 to",
    "seed=99999999999": "seed=99999999999 must be",
    "stage.module.schedule.warmup_steps=-1": "warmup_steps=-1 must be a whole number of 0 or more",
    "stage.module.schedule.shape=foo": "stage.module.schedule.shape=foo must be one of cosine, linear, constant",
    "stage.module.weight_decay=-0.1": "stage.module.weight_decay=-0.1 must be a number of 0 or more",
    "stage.module.loss_weights.text=-1": "stage.module.loss_weights.text=-1 must be a number of 0 or more",
    "stage.module.loss_weights.text=[1,-1]": "stage.module.loss_weights.text=.* must be",
    "trainer.accumulate_grad_batches=0": "trainer.accumulate_grad_batches=0 must be a whole number of 1 or more",
    "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val=-1 must be a number above 0, or null",
    "trainer.gradient_clip_algorithm=foo": "gradient_clip_algorithm=foo must be one of norm, value",
    "trainer.fast_dev_run=-1": "trainer.fast_dev_run=-1 must be true or false, or a whole number of 0 or more",
    "callbacks.scores.num_items=-1": "callbacks.scores.num_items=-1 must be a whole number of 0 or more",
    "callbacks.progress.line_every=0": "callbacks.progress.line_every=0 must be a whole number of 1 or more",
    # what only an optimizer or a schedule itself refuses
    f"{LR}=-1": rf"{LR}=-1 is refused \(Invalid learning rate",
    f"{BETAS}=[2,3]": rf"{BETAS}=\[2,3\] is refused \(Invalid beta",
    PART % "lr: -1": r"stage.module.parts.net.backbone.lr=-1 is refused",
    PART % "lrr: 1": r"stage.module.parts.net.backbone.lrr=1 is refused",
    # what isn't there
    "+stage.module.optimizer.foo=1": r"optimizer.foo isn't an argument of torch.optim.AdamW; it takes params, lr.*~",
    "+stage.module.loss_weight=1": "stage.module.loss_weight isn't an argument of .*; did you mean loss_weights?",
    "+trainer.max_step=5": "trainer.max_step isn't an argument of pytorch_lightning.Trainer; did you mean max_steps?",
    "+callbacks.last.every=5": "callbacks.last.every isn't an argument of ",
    "stage.module.optimizer._target_=torch.optim.Adamm": "Adamm cannot be imported .*; did you mean torch.optim.Adam",
    "stage.module.optimizer._target_=mine.Adam": "mine.Adam cannot be imported .*; give the dotted path",
    "stage.module.optimizer._target_=nonsense": "optimizer._target_=nonsense cannot be imported",
    "stage.module.optimizer={_target_: torch.optim.SGD}": r"betas isn't an argument of torch.optim.SGD; .*write ~",
    # a run folder in which everything else lies, too
    "run_dir=/": "run_dir=/ is the current folder, or above it",
    "run_dir=.": "run_dir=. is the current folder, or above it",
}


def check(cfg):
    check_config(cfg)
    check_parts(cfg)


@pytest.mark.parametrize(("override", "line"), REFUSED.items())
def test_a_value_that_cannot_be_used_is_refused_by_its_key(override, line):
    cfg = compose("train", "stage=stage1", override)
    with pytest.raises(ValueError, match=line) as refused:
        check(cfg)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ("stage=stage1", "loader.max_tokens=4096", "trainer.max_epochs=2", "trainer.max_steps=-1"),
        ("stage=curriculum", "stage.module.loss_weights.latent=[1,0]", "compression=grid", "recurrence=jacobi"),
        ("stage=stage2", "logger=[csv,mlflow,wandb]", "strategy=deepspeed_zero3_offload", "task=rotation"),
        ("stage=sft", PART % "lr: 1e-3, weight_decay: 0, decay_all: true", "strategy=fsdp2", "trainer.precision=16"),
        ("experiment=paper/vsp_stage1_7b", "callbacks.best=null", "trainer.gradient_clip_val=null", "task=jigsaw"),
    ],
    ids=" ".join,
)
def test_what_can_be_built_passes(words):
    check(compose("train", *words))


def test_an_argument_that_is_missing_is_named():
    cfg = compose("train", "stage=stage1", "~task.data.seed")
    with pytest.raises(ValueError, match=r"task.data.seed is missing, and .*DataModule needs it; give task.data.seed="):
        check_parts(cfg)


class Base:
    def __init__(self, width: Annotated[int, Ge(1)], name: str | None = None) -> None: ...


class Derived(Base):
    def __init__(self, depth: int = 1, **options: object) -> None: ...


def test_what_a_class_hands_on_is_compared_with_its_base():
    target = f"{__name__}.Derived"
    for options, line in {
        "width: 0": "part.width=0 must be",
        "widht: 1": "part.widht isn't .*; did you mean width?",
    }.items():
        cfg = OmegaConf.create(f"part: {{_target_: {target}, {options}}}")
        with pytest.raises(ValueError, match=line):
            check_arguments(cfg, "part")
    check_arguments(OmegaConf.create(f"part: {{_target_: {target}, width: 2, name: null, depth: 3}}"), "part")


WORDS = {
    (int, "a whole number"): ([1, -1], [1.5, True, "1", None]),
    (float, "a number"): ([1, 1.5], [True, "1", None, float("nan"), float("inf")]),
    (bool, "true or false"): ([True], [1, "true", None]),
    (str, "a text"): (["", "a"], [1, None, ["a"]]),
    (int | None, "a whole number, or null"): ([1, None], ["a"]),
    (Annotated[int, Ge(2)] | None, "a whole number of 2 or more, or null"): ([2, None], [1]),
    (Annotated[float, Gt(0)], "a number above 0"): ([0.1], [0]),
    (Annotated[int, Interval(ge=0, le=9)], "a whole number from 0 to 9"): ([0, 9], [-1, 10]),
    (Literal["a", "b"], "one of a, b"): (["a"], ["c", None]),
    (Sequence[int], "a list of whole numbers"): ([[1], []], ["ab", [1, "a"], None]),
    (tuple[float, float], "a list of 2"): ([[1, 2.5]], [[1], [1, 2, 3], 1]),
    (Annotated[list[int], Len(2, 2)], "a list of 2"): ([[1, 2]], [[1]]),
    (Mapping[str, int], "keys with their values, in braces"): ([{"a": 1}], [{"a": "b"}, [1], None]),
    (float | torch.Tensor, "a number"): ([1], ["a", None]),
}


@pytest.mark.parametrize(("annotation", "words"), WORDS)
def test_an_annotation_says_what_fits(annotation, words):
    good, bad = WORDS[annotation, words]
    assert all(fits(value, annotation) for value in good)
    assert not any(fits(value, annotation) for value in bad)
    assert describe(annotation) == words
