"""The latent engine against the plain ways of doing the same: ``python -m benchmarks.latents``.

Every figure is a ratio of two sides timed in turns in this process (memory: in a process each); medians of at least
five. ``--json`` prints an object by the table's first column. See ``--help``.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.epoch import epoch_speedup
from benchmarks.timing import in_turns, seconds
from benchmarks.workload import Workload, losses, step
from mirage_pl.engine.training.allocator import keep_freed_memory
from mirage_pl.mirage.batch import IGNORE
from mirage_pl.mirage.decoding.sampling import Decoding
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Jacobi, OnePass, Recurrence
from mirage_pl.mirage.placing import Row, place
from mirage_pl.mirage.stock.flops import step_flops

PEAK_TFLOPS = 790
"""Dense bfloat16 matrix products as measured on one H200; for ``stage1_mfu``."""


@dataclass
class Setting:
    """What is measured, and on what."""

    device: str
    shape: str
    repeats: int

    @property
    def gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.device == "cuda"

    def workload(self, k: int = 4) -> Workload:
        """A model of the shape, in bfloat16 on a GPU."""
        return Workload(self.shape, self.device, torch.bfloat16 if self.gpu else torch.float32, k)


Figure = dict[str, Any]


def ratio(
    key: str, value: float, what: str, goal: float | None, more: bool, spread: tuple[float, float], **rest: float
) -> Figure:
    """One row of the table."""
    return {"key": key, "value": value, "what": what, "goal": goal, "more": more, "spread": spread, **rest}


def batch_speedup(setting: Setting) -> Iterator[Figure]:
    """A stage-2 step on 16 rows together, against the same rows one by one through the same engine."""
    work, length = setting.workload(), 500 if setting.gpu else 100
    rows, net = work.rows(16, length), work.net()
    together, alone = work.batch(rows), [work.batch([row]) for row in rows]
    pair = in_turns(lambda: step(net, [together], 2), lambda: step(net, alone, 2), setting.repeats)
    what = f"stage-2 step, 16 rows of about {length} tokens: together against one by one, samples/s"
    padding = 1 - together.num_real / together.num_columns
    goal = 4.0 if setting.gpu else 3.0
    yield ratio("batch_speedup", pair.ratio, what, goal, True, pair.spread, seconds=median(pair.ours), padding=padding)


def stage2_over_stage1(setting: Setting) -> Iterator[Figure]:
    """What the recurrence costs: a stage-2 step against a stage-1 step on the same 16 rows."""
    lengths = {"stage2_over_stage1": (500, 1.15)}
    if not setting.gpu:
        lengths = {"stage2_over_stage1": (260, 1.2), "stage2_over_stage1_short": (100, 1.4)}
    work = setting.workload()
    net = work.net()
    for key, (length, goal) in lengths.items():
        batch = work.batch(work.rows(16, length))
        pair = in_turns(lambda: step(net, [batch], 1), lambda: step(net, [batch], 2), setting.repeats)  # noqa: B023
        what = f"stage-2 step against stage-1 step, the same 16 rows of about {length} tokens, k = 4"
        yield ratio(key, pair.ratio, what, goal, False, pair.spread, seconds=median(pair.theirs))


class Talkative(LatentVLM):
    """A net that starts every answer with a block and never ends it, so that all answers are equally long.

    Attributes:
        again: whether it opens a block after every block.
    """

    start, end, fresh, again = -1, -1, True, False

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Next-token logits with two words forced."""
        logits = super().logits(hidden_MD).clone()
        logits[:, self.end] = -torch.inf
        logits[:, self.start] = torch.inf if self.fresh else -torch.inf
        self.fresh = self.again
        return logits


def generation_speedup(setting: Setting) -> Iterator[Figure]:
    """32 answers of 32 columns, a block of 4 latents in each: a batch of 32 against 32 batches of one."""
    work, length = setting.workload(), 500 if setting.gpu else 100
    base, decoder = work.net(), work.decoder()
    net = Talkative(base.backbone, base.compression, base.recurrence)
    net.start, net.end = decoder.latent_start, decoder.end
    rows = work.rows(32, length)
    together, alone = work.batch(rows, prompt=True), [work.batch([row], prompt=True) for row in rows]

    def answer(*batches: Any) -> None:
        for batch in batches:
            net.fresh = True
            decoder(net, batch, Decoding(32))

    pair = in_turns(lambda: answer(together), lambda: answer(*alone), setting.repeats, warmup=1)
    what = f"32 greedy answers of 32 columns after prompts of about {length * 0.85:.0f}: batch 32 against batch 1"
    goal = 8.0 if setting.gpu else 4.0
    yield ratio("generation_speedup", pair.ratio, what, goal, True, pair.spread, answers_s=32 / median(pair.ours))


class Silent(LatentVLM):
    """A net that never opens a block and never ends an answer."""

    unsaid: tuple[int, ...] = ()

    def logits(self, hidden_MD: Tensor) -> Tensor:
        """Next-token logits without the unsaid words."""
        return super().logits(hidden_MD).index_fill(-1, torch.tensor(self.unsaid, device=hidden_MD.device), -torch.inf)


def single_answer_cost(setting: Setting) -> Iterator[Figure]:
    """One answer of 64 words: ours against the stock model's ``generate``; the words are the same."""
    work, length = setting.workload(), 500 if setting.gpu else 100
    base, decoder = work.net(), work.decoder()
    net = Silent(base.backbone, base.compression, base.recurrence)
    net.unsaid = decoder.latent_start, decoder.end
    question = Row([int(word) for word in torch.randint(256, (length,))], [IGNORE] * length)
    prompt = place([question], decoder.latent_pad, decoder.pad).to(setting.device)
    options = {"max_new_tokens": 64, "do_sample": False, "suppress_tokens": list(net.unsaid)}

    def ours() -> list[int]:
        return decoder(net, prompt, Decoding(64)).tokens[0]

    def stock() -> list[int]:
        words: Tensor = work.backbone.generate(input_ids=prompt.tokens_BT, attention_mask=prompt.real_BT, **options)
        return [int(word) for word in words[0, length:]]

    assert ours() == stock()
    pair = in_turns(stock, ours, setting.repeats, warmup=1)
    what = f"a greedy answer of 64 words after {length}, one row, no latents: against the stock model's generate"
    yield ratio("single_answer_cost", pair.ratio, what, 1.1, False, pair.spread, words_s=64 / median(pair.theirs))


def recurrences(setting: Setting, name: str, recurrence: Recurrence, words: str) -> Iterator[Figure]:
    """A stage-2 step with another recurrence, an option, against the sequential one, k = 8."""
    work, length = setting.workload(k=8), 500 if setting.gpu else 100
    nets, batch = (work.net(recurrence), work.net()), work.batch(work.rows(16, length))
    pair = in_turns(lambda: step(nets[0], [batch], 2), lambda: step(nets[1], [batch], 2), setting.repeats)
    what = f"stage-2 step, k = 8, 16 rows of about {length} tokens: {words} against sequential, samples/s"
    yield ratio(name, pair.ratio, what, None, True, pair.spread, seconds=median(pair.ours))


def queries_answering(setting: Setting) -> Iterator[Figure]:
    """Answers of one block after another, written at once against sequentially."""
    work = setting.workload(k=8)
    base, decoder, prompts = work.net(), work.decoder(), work.batch(work.rows(16, 100), prompt=True)
    nets = [Talkative(work.backbone, base.compression, recurrence) for recurrence in (OnePass(8), base.recurrence)]
    for net in nets:
        net.start, net.end, net.again = decoder.latent_start, decoder.end, True
    at_once, sequential = (partial(decoder, net, prompts, Decoding(40)) for net in nets)
    pair = in_turns(at_once, sequential, setting.repeats, warmup=1)
    what = "16 answers of 4 blocks of 8 latents: a block at once against sequential, answers/s"
    yield ratio("queries_answering_speedup", pair.ratio, what, None, True, pair.spread)


def allocator(setting: Setting) -> Iterator[Figure]:
    """A CPU step that keeps freed memory, as training does, against the C library's own way."""
    if setting.gpu:
        return
    work = setting.workload()
    net, batch = work.net(), work.batch(work.rows(32, 100))

    def run(keep: bool) -> None:
        keep_freed_memory(keep)
        for _ in range(4):
            step(net, [batch], 2)

    pair = in_turns(lambda: run(True), lambda: run(False), setting.repeats)
    keep_freed_memory()
    what = "four stage-2 steps, 32 rows of about 100 tokens: freed memory kept against glibc's defaults, samples/s"
    yield ratio("allocator_speedup", pair.ratio, what, None, True, pair.spread)


def memory_ratio(setting: Setting) -> Iterator[Figure]:
    """Peak memory of a stage-2 step with and without checkpointing and chunked cross-entropy, a process each."""
    shape = setting.shape if setting.gpu else "small"
    runs = {}
    for lean in (True, False):
        command = [sys.executable, "-m", "benchmarks.memory", "--device", setting.device, "--shape", shape]
        done = subprocess.run([*command, *(["--lean"] if lean else [])], capture_output=True, text=True, check=True)
        runs[lean] = json.loads(done.stdout.strip().splitlines()[-1])
    value = runs[True]["peak_gib"] / runs[False]["peak_gib"]
    what = f"peak memory, stage 2, {shape}-shaped, batch 8, L about 500: checkpointing and chunked CE against neither"
    rest = {"lean_gib": runs[True]["peak_gib"], "plain_gib": runs[False]["peak_gib"]}
    rest["slower"] = runs[True]["seconds"] / runs[False]["seconds"]
    yield ratio("memory_ratio", value, what, 0.5, False, (value, value), **rest)


def stage1_mfu(setting: Setting) -> Iterator[Figure]:
    """The share of the measured peak that a stage-1 step of 7B-shaped weights reaches, image features cached."""
    if not setting.gpu:
        return
    work = Workload("7b", "cuda", torch.bfloat16)
    net, found = work.net(), []
    for rows in (4, 8, 16, 32):
        try:
            batch = work.batch(work.rows(rows, 500))
            times = [seconds(lambda: losses(net, batch, 1).backward()) for _ in range(setting.repeats + 2)]  # noqa: B023
        except torch.OutOfMemoryError:
            break
        work_done = step_flops(net.architecture.decoder_flops, len, batch.lengths, batch.supervised, [])
        found.append((work_done / median(times[2:]) / PEAK_TFLOPS / 1e12, rows))
    value, rows = max(found)
    what = f"stage-1 step, 7B-shaped, {rows} rows of about 500 tokens: share of {PEAK_TFLOPS} TFLOP/s"
    yield ratio("stage1_mfu", value, what, 0.5, True, (value, value))


FIGURES: dict[str, Callable[[Setting], Iterator[Figure]]] = {
    "batch_speedup": batch_speedup,
    "stage2_over_stage1": stage2_over_stage1,
    "generation_speedup": generation_speedup,
    "single_answer_cost": single_answer_cost,
    "memory_ratio": memory_ratio,
    "epoch_speedup": lambda setting: epoch_speedup(setting.device, setting.repeats),
    "jacobi_speedup": lambda setting: recurrences(setting, "jacobi_speedup", Jacobi(2), "two Jacobi sweeps"),
    "queries_speedup": lambda setting: recurrences(setting, "queries_speedup", OnePass(8), "a block at once"),
    "queries_answering_speedup": queries_answering,
    "allocator_speedup": allocator,
    "stage1_mfu": stage1_mfu,
}
NEEDS_GPU = {"stage1_mfu"}


def measure(setting: Setting, only: str | None = None) -> list[Figure]:
    """Measure all figures, or one."""
    keep_freed_memory()
    names = [only] if only else list(FIGURES)
    return [figure for name in names for figure in FIGURES[name](setting)]


def print_table(figures: list[Figure], setting: Setting) -> None:
    """Print the figures for a person."""
    from rich.console import Console
    from rich.table import Table

    device = torch.cuda.get_device_name() if setting.gpu else f"CPU, {torch.get_num_threads()} threads"
    table = Table("key", "what", "found", "range", "goal", title=f"{device}, {setting.shape}", show_lines=True)
    for f in figures:
        goal = "" if f["goal"] is None else f"{'at least' if f['more'] else 'at most'} {f['goal']:g}"
        low, high = f["spread"]
        table.add_row(f["key"], f["what"], f"{f['value']:.2f}", f"{low:.2f} to {high:.2f}", goal)
    if not setting.gpu:
        for key in sorted(NEEDS_GPU):
            table.add_row(
                key, str(FIGURES[key].__doc__), "needs a GPU", "", "python -m benchmarks.latents --device cuda"
            )
    Console(width=None if Console().is_terminal else 150).print(table)


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--shape", help="tiny, small, 3b or 7b; tiny on a CPU and 3b on a GPU by default")
    parser.add_argument("--repeats", type=int, default=7, help="pairs of runs a figure, at least 5")
    parser.add_argument("--only", choices=list(FIGURES), help="measure one figure")
    options = parser.parse_args()
    if options.repeats < 5:
        parser.error("--repeats must be 5 or more: a median of fewer says little")
    shape = options.shape or ("3b" if options.device == "cuda" else "tiny")
    setting = Setting(options.device, shape, options.repeats)
    with redirect_stdout(sys.stderr):  # progress bars; what is printed is the result alone
        figures = measure(setting, options.only)
    if options.json:
        details = {figure["key"]: figure for figure in figures}
        print(json.dumps({key: figure["value"] for key, figure in details.items()} | {"details": details}))
    else:
        print_table(figures, setting)


if __name__ == "__main__":
    main()
