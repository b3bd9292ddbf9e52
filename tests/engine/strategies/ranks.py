"""Training runs one after another, each in processes of its own, which are forked from this one.

This one has imported what they need: starting Python takes longer than such a run does. It is started once, as
``python -m tests.engine.strategies.ranks``, and asked for runs line by line: a folder, and a list of numbers of ranks
with overrides. It answers with their exit codes; ``run0-rank0.log`` in the folder is what the first rank of the first
run said.
"""

import atexit
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from tests.conftest import REPO, compose

LOADING = ["mirage_pl.mirage.collator", "data_modules.vsp.planning"]
TRAINING = [
    *LOADING,
    "mirage_pl.mirage.module",
    "mirage_pl.engine.strategies.ready",
    "mirage_pl.engine.strategies.deepspeed",
    "mirage_pl.engine.strategies.fsdp2",
    "tensorboard.plugins.hparams.plugin_data_pb2",
    "torch.utils.tensorboard",
    "transformers.models.auto.modeling_auto",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
    "transformers.models.qwen2_5_vl.processing_qwen2_5_vl",
]
LIMIT = 300.0
"""Seconds after which ranks of which none has ended hang."""


def train_in(count: int, overrides: Sequence[str], log: str) -> list[int | None]:
    """Exit codes of a run's ranks. When one ends badly, or all hang, the others are killed, as a launcher does."""
    cfg, fork = compose("train", *overrides, f"trainer.devices={count}"), multiprocessing.get_context("fork")
    told = enumerate(environments(count))
    ranks = [fork.Process(target=train, args=(cfg, given, f"{log}-rank{rank}.log")) for rank, given in told]
    for rank in ranks:
        rank.start()
    while alive := [rank for rank in ranks if rank.is_alive()]:
        if not wait([rank.sentinel for rank in alive], LIMIT) or any(rank.exitcode for rank in ranks):
            for rank in alive:
                rank.kill()
    return [rank.exitcode for rank in ranks]


def environments(count: int) -> list[dict[str, str]]:
    """What a launcher such as torchrun tells each rank; one process needs no launcher."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "NODE_RANK": "0"}
    return [shared | {"LOCAL_RANK": str(rank)} for rank in range(count)] if count > 1 else [{}]


def train(cfg: Any, environment: dict[str, str], log: str) -> None:
    """What one rank does."""
    from mirage_pl.engine.training import fit

    with open(log, "w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ.update(environment)
    fit.run(cfg)


CODES = "codes: "
"""Begins the line that answers; libraries may print others."""


class Warm(threading.local):
    """That process, one for each thread that asks."""

    process: subprocess.Popen[str] | None = None

    def run(self, folder: Path, jobs: Sequence[tuple[int, Sequence[str]]]) -> list[list[int]]:
        """Train each run in as many processes as it says, one run after another; their exit codes."""
        if self.process is None:
            line = [sys.executable, "-m", "tests.engine.strategies.ranks"]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self.process = subprocess.Popen(line, cwd=REPO, env=environment, **pipes)
            atexit.register(self.process.kill)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps([str(folder), jobs]), file=self.process.stdin, flush=True)
        for answer in self.process.stdout:
            if answer.startswith(CODES):
                return json.loads(answer.removeprefix(CODES))
        raise RuntimeError("the process that forks runs has ended")


WARM = Warm()


def serve() -> None:
    """Train what is asked for until nobody asks."""
    for name in TRAINING:
        import_module(name)
    # DeepSpeed would compile an operation of CPUs alone, up to four minutes of a busy machine; without it gloo reduces.
    import_module("deepspeed").ops.__compatible_ops__["deepspeed_shm_comm"] = False
    multiprocessing.set_forkserver_preload(LOADING)
    for line in sys.stdin:
        folder, jobs = json.loads(line)
        codes = [train_in(count, overrides, f"{folder}/run{run}") for run, (count, overrides) in enumerate(jobs)]
        print(CODES + json.dumps(codes), flush=True)


if __name__ == "__main__":
    serve()
