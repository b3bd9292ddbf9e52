"""An epoch of stage 1 on real files with and without the feature cache: ``python -m benchmarks.latents`` reports it.

256 generated mazes of levels 5 and 6 with their helper images, the shipped tiny model, one process that loads and
trains: everything of a training step but the optimizer.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from benchmarks.timing import in_turns, seconds, wait
from benchmarks.workload import TINY, losses
from data_modules.loading.datamodule import DataModule
from data_modules.loading.loader import Loading
from data_modules.vsp.maker import Generator
from data_modules.vsp.planning import VSP
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.features import FeatureCache
from mirage_pl.mirage.model.backbone import load_backbone, load_processor
from mirage_pl.mirage.model.compression import Average
from mirage_pl.mirage.model.latents import LatentVLM
from mirage_pl.mirage.model.recurrence import Sequential
from mirage_pl.mirage.prefill import missing, store


class Epochs:
    """Epochs over generated mazes.

    Args:
        folder: for mazes and features.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, folder: Path, device: str) -> None:
        maker = Generator(
            folder=folder / "mazes",
            levels=[5, 6],
            per_level={"train": 128, "val": 1, "test": 1},
            cell_px=28,
            hole_rate=0.2,
            prompt="<image>Write the shortest safe path to the goal in \\boxed{}.",
            seed=0,
            num_workers=1,
        )
        maker.make()
        self.net = LatentVLM(load_backbone(str(TINY)).train().to(device), Average(), Sequential())
        self.net.tower.requires_grad_(False)
        self.collate = Collator(load_processor(str(TINY)), 4, latents=True, helpers=True)
        files = {"train": str(folder / "mazes" / "train.jsonl"), "val": None}
        self.data = DataModule(VSP(), files, self.collate, Loading(32, eval_batch_size=32), seed=0)
        self.data.setup("fit")
        self.cache, self.device, self.waited = FeatureCache(folder / "features"), device, list[float]()

    def fill(self) -> None:
        """Compute the features ahead, as training does."""
        self.cache.use("benchmark")
        self.collate.pictures.features = self.cache
        rows = self.data.datasets["train"]
        module = SimpleNamespace(net=self.net, device=self.device)
        for group in missing(self.collate, (rows[index] for index in range(len(rows)))):
            store(self.cache, module, self.collate, group)
        self.cache.flush()

    def run(self, cached: bool) -> None:
        """One epoch; notes the share of it that was spent waiting for batches."""
        self.collate.pictures.features = self.cache if cached else None
        waited, started = 0.0, perf_counter()
        before = started
        for batch in self.data.train_dataloader():
            waited += perf_counter() - before
            losses(self.net, batch.to(self.device), 1).backward()
            wait()
            self.net.zero_grad(set_to_none=True)
            before = perf_counter()
        self.waited.append(waited / (before - started))


def epoch_speedup(device: str, repeats: int) -> Iterator[dict[str, Any]]:
    """Seconds of an epoch without the cache over seconds with it, and the share of waiting for data with it."""
    with TemporaryDirectory() as folder:
        epochs = Epochs(Path(folder), device)
        filling = seconds(epochs.fill)
        pair = in_turns(partial(epochs.run, True), partial(epochs.run, False), repeats, warmup=1)
        shares = epochs.waited[2:]
    what = "epoch of stage 1, 256 mazes of levels 5 and 6, tiny: image features cached against not"
    times = {"seconds": median(pair.ours), "seconds_without": median(pair.theirs), "seconds_to_fill": filling}
    yield {
        "key": "epoch_speedup",
        "value": pair.ratio,
        "what": what,
        "goal": None,
        "more": True,
        "spread": pair.spread,
    } | times
    waits = {"cached": shares[0::2], "not": shares[1::2]}
    what = "share of that epoch spent waiting for batches, with the cache, loaded in the training process"
    spread = (min(waits["cached"]), max(waits["cached"]))
    row = {"key": "data_wait_share", "value": median(waits["cached"]), "what": what, "goal": 0.05, "more": False}
    yield row | {"spread": spread, "without_cache": median(waits["not"])}
