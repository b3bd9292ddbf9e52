"""Runs of one and of two processes, with what they wrote down."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mirage_pl import train
from tests.conftest import REPO, SMALL, compose

STEPS = 20
QUIET = [f"callbacks.{name}=null" for name in ("progress", "generations", "latents", "throughput", "best")]
SHORT = [f"trainer.max_steps={STEPS}", "trainer.limit_val_batches=0", "trainer.accelerator=cpu"]


def job(folder: Path, data: Path, *overrides: str) -> list[str]:
    """The overrides of a run that records itself in its folder."""
    record = f"+callbacks.record={{_target_: tests.strategies.record.Record, folder: {folder}/record}}"
    gentle = [
        "stage.module.optimizer.lr=2e-4",
        "+stage.module.optimizer.eps=1e-6",
    ]  # or rounding decides what is learnt
    return [*SMALL, *QUIET, *SHORT, *gentle, f"data={data}", f"run_dir={folder}", record, *overrides]


def recorded(folder: Path) -> tuple[list[float], dict[str, Any]]:
    """Losses of all steps and the weights at the end."""
    losses = json.loads((folder / "record" / "losses.json").read_text())
    return losses, torch.load(folder / "record" / "weights.pt", weights_only=True)


def run_alone(*jobs: Sequence[str]) -> None:
    """Train in this process."""
    for overrides in jobs:
        train.run(compose("train", *overrides))


def run_in_two(folder: Path, *jobs: Sequence[str]) -> None:
    """Train in two processes with gloo between them, as a launcher such as torchrun starts them."""
    (folder / "jobs.json").write_text(json.dumps([[*overrides, "trainer.devices=2"] for overrides in jobs]))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    given = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    given |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
    line = [sys.executable, "-m", "tests.strategies.ranks", str(folder / "jobs.json")]
    logs = [folder / f"rank{rank}.log" for rank in (0, 1)]
    ranks = []
    for rank, log in enumerate(logs):
        environment = os.environ | given | {"LOCAL_RANK": str(rank)}
        with log.open("w") as out:
            ranks.append(subprocess.Popen(line, cwd=REPO, env=environment, stdout=out, stderr=subprocess.STDOUT))
    try:
        codes = [rank.wait(timeout=600) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert codes == [0, 0], "\n".join(log.read_text()[-4000:] for log in logs)


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


@pytest.fixture(scope="session")
def runs(data: Path, uneven: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of all runs that are compared, by name; all of two processes are trained by the same two."""
    folder = tmp_path_factory.mktemp("runs")

    def make(name: str, *overrides: str) -> list[str]:
        return job(folder / name, data, *overrides)

    def rows(kind: str, stage: str, *overrides: str) -> tuple[str, ...]:
        files = [f"task.train_file={uneven[kind]}", "task.val_file=null", "trainer.max_steps=8"]
        return f"stage={stage}", "stage.follows=null", *files, *overrides

    first, images = "stage=stage1", ("images", "stage1", "stage.freeze=[]")
    whole, halved, single = "loader.batch_size=4", "loader.batch_size=2", "loader.batch_size=1"
    run_alone(
        make("alone", first, whole),
        make("alone_accumulated", first, single, "trainer.accumulate_grad_batches=4"),
        make("blocks_alone", *rows("blocks", "stage2"), halved),
        make("images_alone", *rows(*images), halved),
    )
    zero2 = "strategy=deepspeed_zero2"
    stopped = make("zero2_continued", first, halved, zero2, "trainer.max_steps=10")
    run_in_two(
        folder,
        make("ddp", first, halved, "strategy=ddp"),
        make("ddp_accumulated", first, single, "strategy=ddp", "trainer.accumulate_grad_batches=2"),
        make("zero1", first, halved, "strategy=deepspeed_zero1"),
        make("zero2", first, halved, zero2),
        make("zero2_accumulated", first, single, zero2, "trainer.accumulate_grad_batches=2"),
        stopped,
        [*stopped, f"trainer.max_steps={STEPS}"],
        make("blocks_ddp", *rows("blocks", "stage2"), single, "strategy=ddp"),
        make("blocks_zero2", *rows("blocks", "stage2"), single, zero2),
        make("images_ddp", *rows(*images), single, "strategy=ddp"),
        make("images_zero2", *rows(*images), single, zero2),
    )
    return {file.name: file for file in folder.iterdir() if file.is_dir()}
