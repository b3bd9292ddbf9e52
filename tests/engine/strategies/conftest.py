"""Runs of one and of two processes, with what they wrote down."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from transformers import Qwen2_5_VLForConditionalGeneration

from data_modules.vsp.planning import VSP
from mirage_pl.engine.training import fit
from mirage_pl.mirage.model.backbone import load_backbone
from tests.conftest import REPO, SMALL, compose
from tests.engine.strategies.ranks import WARM
from tests.mirage.architectures.qwen3_5 import write_folder

STEPS = 20
QUIET = [f"callbacks.{name}=null" for name in ("progress", "scores", "throughput", "best")]
SHORT = [f"trainer.max_steps={STEPS}", "trainer.limit_val_batches=0", "trainer.accelerator=cpu"]


def job(folder: Path, data: Path, *overrides: str, quiet: Sequence[str] = QUIET) -> list[str]:
    """The overrides of a run that records itself in its folder."""
    record = f"+callbacks.record={{_target_: tests.engine.strategies.record.Record, folder: {folder}/record}}"
    gentle = [
        "stage.module.optimizer.lr=2e-4",
        "+stage.module.optimizer.eps=1e-6",
    ]  # or rounding decides what is learnt
    return [*SMALL, *quiet, *SHORT, *gentle, f"data={data}", f"run_dir={folder}", record, *overrides]


def steps_of(record: Path, rank: int = 0) -> list[dict[str, Any]]:
    """The optimizer steps that a process wrote down, in their order."""
    return [json.loads(line) for line in (record / f"steps{rank}.jsonl").read_text().splitlines()]


def recorded(folder: Path) -> tuple[list[float], dict[str, Any]]:
    """Losses of all steps and the weights at the end."""
    losses = [step["loss"] for step in steps_of(folder / "record")]
    return losses, torch.load(folder / "record" / "weights.pt", weights_only=True)


def run_alone(*jobs: Sequence[str]) -> None:
    """Train in this process."""
    for overrides in jobs:
        fit.run(compose("train", *overrides))


def run_in_two(folder: Path, *jobs: Sequence[str]) -> None:
    """Train each run in two processes with gloo between them."""
    run_to_the_end(folder, *((2, overrides) for overrides in jobs))


def run_to_the_end(folder: Path, *jobs: tuple[int, Sequence[str]]) -> None:
    """Train each run in as many processes as it says, one run after another; none may fail."""
    for run, codes in enumerate(run_ranks(folder, *jobs)):
        assert not any(codes), said(folder, run)


def run_ranks(folder: Path, *jobs: tuple[int, Sequence[str]]) -> list[list[int]]:
    """Train each run in as many processes as it says, one run after another; their exit codes."""
    return WARM.run(folder, jobs)


def said(folder: Path, run: int) -> str:
    """The last that a run's ranks had to say."""
    return "\n".join(log.read_text()[-4000:] for log in sorted(folder.glob(f"run{run}-rank?.log")))


def plan(where: Path | None, *items: Any, size: int = 4) -> dict[str, Any]:
    """A row: a question about an image, or about none, and an answer of texts and helper images."""
    question = {
        "text_input": "<image>Which way?" if where else "Which way?",
        "image_input": str(where) if where else [],
    }
    parts = [
        {"type": "latent", "helper_image": str(item), "latent_size": size}
        if isinstance(item, Path)
        else {"type": "text", "content": item}
        for item in items
    ]
    return question | {"sequence_plan": parts}


@pytest.fixture(scope="session")
def uneven(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of four rows that differ: ``blocks`` in their latent blocks, ``images`` also in having an image."""
    folder = data / "vsp-28px" / "images"
    helpers = sorted(folder.glob("*_train_*_path.png"))
    small, large = (
        min(file for file in folder.glob(f"level_{level}_train_*.png") if file not in helpers) for level in (3, 4)
    )
    three = plan(small, "First ", helpers[0], " then ", helpers[15], "\\boxed{A}")
    one = plan(large, helpers[14], "\\boxed{B}", size=2)
    none = plan(small, "No picture. \\boxed{C}")
    many = plan(large, "a", helpers[1], "b", helpers[16], "c", helpers[17], "and many more words \\boxed{D}", size=6)
    bare = [plan(None, f"{text} \\boxed{{C}}") for text in ("No picture.", "Nor here, in many more words.")]
    files = {"blocks": [three, none, one, many], "images": [three, bare[0], one, bare[1]]}
    made = tmp_path_factory.mktemp("uneven")
    for name, rows in files.items():
        (made / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {name: made / f"{name}.jsonl" for name in files}


THRESHOLD = "strategy.use.more.zero_optimization.stage3_param_persistence_threshold=0"
ZERO2, ZERO3, FSDP2 = ["strategy=deepspeed_zero2"], ["strategy=deepspeed_zero3", THRESHOLD], ["strategy=fsdp2"]
LEAN = ["memory.checkpointing=true", "memory.ce_chunk=4"]


def in_all_ways(test: Any) -> Any:
    """Give a test each kind of stage, a frozen and a trained tower, and the ways to save memory."""
    test = pytest.mark.parametrize("stage", ["sft", "stage1", "stage2", "guided"])(test)
    return pytest.mark.parametrize(("tower_trained", "memory"), [(False, []), (True, []), (False, LEAN)])(test)


def made_ready(uneven: dict[str, Path], stage: str, tower_trained: bool, memory: Sequence[str]) -> tuple[Any, Any, Any]:
    """A stage's module and collator, and all rows that differ."""
    cfg = compose("train", f"stage={stage}", *memory)
    module, collate = instantiate(cfg.stage.module).train(), instantiate(cfg.stage.collator)
    module.net.tower.requires_grad_(tower_trained)
    return module, collate, [sample for file in uneven.values() for sample in VSP().read(file)]


@pytest.fixture(scope="session")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model whose head is its embeddings, as Qwen2.5-VL-3B's is."""
    tiny = REPO / "assets" / "tiny"
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("models") / "tied")
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(tiny)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folder)
    return folder


def tied_options(folder: Path) -> list[str]:
    """Options of stage 1 with that model; weights decay fast, but not embeddings."""
    return ["stage=stage1", f"model.path={folder}", *LEAN, "stage.module.weight_decay=0.5"]


@pytest.fixture(scope="session")
def stateful(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen3.5, most of whose layers keep a state, with random weights."""
    folder = tmp_path_factory.mktemp("models")
    write_folder(folder)
    torch.manual_seed(0)
    load_backbone(str(folder), random_weights=True).save_pretrained(folder)
    return folder


SHOWN = ["trainer.max_steps=2", "trainer.val_check_interval=2", "trainer.limit_val_batches=1.0"]
SHOWN += ["evaluate={interventions: []}", "callbacks.scores.num_items=4"]
WRITTEN = ["stage=writer", "recurrence=queries", "stage.starts=null"]
UNEVEN = {
    "blocks": ("blocks", "stage=stage2"),
    "images": ("images", "stage=stage1", "stage.freeze=[]"),
    "uncached": ("images", "stage=guided", "stage.module.centre=false", "features=null"),
    "lean": ("blocks", "stage=stage2", *LEAN),
    "writer": ("blocks", "stage=writer"),
    "encoder": ("blocks", "stage=target", "compression.count=6"),
    "queries": ("blocks", *WRITTEN, "recurrence.count=6"),
}
"""Stages and options whose batches, of the files called first, differ in what they ask of the network."""
WHOLE, HALVED, SINGLE = "loader.batch_size=4", "loader.batch_size=2", "loader.batch_size=1"


class Runs:
    """Runs by name; each is trained when it is first asked for, after those that it needs.

    Args:
        folder: gets a folder for each.
        legs: name -> numbers of processes with overrides, one after another in the same folder.
        needs: name -> runs before it.
    """

    def __init__(
        self, folder: Path, legs: dict[str, list[tuple[int, list[str]]]], needs: dict[str, Sequence[str]]
    ) -> None:
        self.folder, self.legs, self.needs = folder, legs, needs
        self.trained: set[str] = set()

    def __getitem__(self, name: str) -> Path:
        if name not in self.trained:
            self.trained |= {name}
            for other in self.needs.get(name, ()):
                self[other]
            (logs := self.folder / "logs" / name).mkdir(parents=True)
            run_to_the_end(logs, *self.legs[name])
        return self.folder / name


@pytest.fixture(scope="session")
def runs(
    data: Path, uneven: dict[str, Path], tied: Path, stateful: Path, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    """The runs that are compared: of one process, and of two; those called tied are continued by one."""
    folder = tmp_path_factory.mktemp("runs")
    legs: dict[str, list[tuple[int, list[str]]]] = {}

    def make(ranks: int, name: str, *overrides: str, quiet: Sequence[str] = QUIET) -> None:
        legs.setdefault(name, []).append((ranks, job(folder / name, data, *overrides, quiet=quiet)))

    first, as_one = "stage=stage1", tied_options(tied)
    # In smaller steps: latents that nobody has trained magnify a difference of rounding by a thousand in a few steps.
    second = ["stage=stage2", f"init_from={folder}/alone", "stage.module.optimizer.lr=2e-6"]
    accumulating = "trainer.accumulate_grad_batches"
    make(1, "alone", first, WHOLE)
    make(1, "alone_accumulated", first, SINGLE, f"{accumulating}=4")
    make(1, "second_alone", *second, WHOLE)
    make(1, "tied_alone", *as_one, WHOLE, "trainer.max_steps=8")
    make(2, "ddp", first, HALVED, "strategy=ddp")
    make(2, "ddp_accumulated", first, SINGLE, "strategy=ddp", f"{accumulating}=2")
    make(2, "zero1", first, HALVED, "strategy=deepspeed_zero1")
    make(2, "zero2_accumulated", first, SINGLE, *ZERO2, f"{accumulating}=2")
    make(2, "zero2_offload", first, HALVED, "strategy=deepspeed_zero2_offload")
    make(2, "zero3_offload", first, HALVED, "strategy=deepspeed_zero3_offload", THRESHOLD)
    half = ["trainer.precision=bf16-true", "model.dtype=bfloat16", "trainer.max_steps=2"]
    make(2, "half_zero3", first, HALVED, *ZERO3, *half)
    for name, strategy in {"zero2": ZERO2, "zero3": ZERO3, "fsdp2": FSDP2}.items():
        make(2, name, first, HALVED, *strategy)
        make(2, f"{name}_continued", first, HALVED, *strategy, "trainer.max_steps=10")
        make(2, f"{name}_continued", first, HALVED, *strategy)
        make(2, f"second_{name}", *second, HALVED, *strategy)
        make(2, f"tied_{name}", *as_one, HALVED, *strategy, "trainer.max_steps=4")
        make(1, f"tied_{name}", *as_one, WHOLE, *strategy, "trainer.max_steps=8")
    for kind, (file, stage, *options) in UNEVEN.items():
        files = [f"task.train_file={uneven[file]}", "task.val_file=null", "trainer.max_steps=8"]
        rows = [stage, "stage.starts=null", *files, *options]
        make(1, f"{kind}_alone", *rows, HALVED)
        for name, strategy in {"ddp": ["strategy=ddp"], "zero2": ZERO2, "zero3": ZERO3, "fsdp2": FSDP2}.items():
            make(2, f"{kind}_{name}", *rows, SINGLE, *strategy)
    states = ["stage=stage2", "stage.starts=null", f"task.train_file={uneven['blocks']}", "task.val_file=null", *LEAN]
    states += [f"model.path={stateful}", "stage.module.optimizer.lr=2e-6", "trainer.max_steps=4"]
    make(1, "states_alone", *states, HALVED)
    for name, strategy in {"zero3": ZERO3, "fsdp2": FSDP2}.items():
        make(2, f"states_{name}", *states, SINGLE, *strategy)
    for kind, stage in {"answers": [first], "written": WRITTEN}.items():
        make(1, f"{kind}_alone", *stage, *SHOWN, WHOLE, quiet=QUIET[:1])
        for name, strategy in {"zero3": ZERO3, "fsdp2": FSDP2}.items():
            make(2, f"{kind}_{name}", *stage, *SHOWN, HALVED, *strategy, quiet=QUIET[:1])
    return Runs(folder, legs, {name: ["alone"] for name in legs if name.startswith("second_")})
