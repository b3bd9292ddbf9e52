"""Train one stage: ``python -m mirage_pl.train stage=stage2``. The same command resumes a killed run."""

import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

from mirage_pl.engine.checkpoints.saving import Files, make_plugins
from mirage_pl.engine.checkpoints.started import load_starts
from mirage_pl.engine.cli import say
from mirage_pl.engine.evaluate import compose_evaluation, evaluate_run
from mirage_pl.engine.runs.data_files import check_data, record_data
from mirage_pl.engine.runs.entry import make_folder, open_run, recorded_starts, share_rows
from mirage_pl.engine.runs.folder import CONFIG, LAST, METRICS, first_process, last_checkpoint, write_json
from mirage_pl.engine.runs.lock import LOCK, owned
from mirage_pl.engine.runs.starts import find_starts
from mirage_pl.engine.strategies.deepspeed import splitting
from mirage_pl.engine.strategies.ready import check_machine, check_resume, check_whole
from mirage_pl.engine.training.allocator import keep_freed_memory
from mirage_pl.engine.training.checks import check_config, check_rounds, describe_end, describe_losses, finished_metrics
from mirage_pl.engine.training.lightning import name_stop_iterations, settle_epochs
from mirage_pl.engine.training.trial import check_parts

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> dict[str, Any]:
    """Train until ``trainer.max_steps`` or ``max_epochs``, score the run if ``evaluate`` is set; return the metrics.

    Raises:
        ValueError: a mistake in config, data or checkpoint.
    """
    folder = Path(cfg.run_dir)
    try:
        check_config(cfg)
        check_parts(cfg)
        if cfg.evaluate is not None:
            compose_evaluation(cfg, folder)
        check_machine(cfg)
        if last_checkpoint(folder) is None:
            check_rounds(cfg)
        if cfg.trainer.fast_dev_run:
            return rehearse(cfg)
        make_folder(folder)
        with owned(folder):
            return train(cfg)
    except ValueError:
        if first_process() and not (folder / CONFIG).exists():  # it was refused before there was a run
            remove_traces(folder)
        raise


def rehearse(cfg: DictConfig) -> dict[str, Any]:
    """Train and validate a few batches in a temporary folder, so that no other run starts from this one."""
    given = Path(cfg.run_dir)
    starts = find_starts(cfg)
    with TemporaryDirectory() as name:
        rehearsed = cfg.copy()
        rehearsed.run_dir = name
        metrics = fit(rehearsed, open_run(rehearsed, starts), None)
    if first_process() and not (given / CONFIG).exists():
        remove_traces(given)
    say(f"fast_dev_run: trained and validated {int(cfg.trainer.fast_dev_run)} batch(es); no run folder was written")
    return metrics


def remove_traces(folder: Path) -> None:
    """Remove what Hydra and the lock wrote into a folder that is no run, and the folder if it is empty."""
    shutil.rmtree(folder / ".hydra", ignore_errors=True)
    names = [LOCK, *([f"{HydraConfig.get().job.name}.log"] if HydraConfig.initialized() else [])]
    for name in names:
        with suppress(OSError):
            (folder / name).unlink()
    with suppress(OSError):
        folder.rmdir()


def train(cfg: DictConfig) -> dict[str, Any]:
    """Begin or resume a run, unless it has reached its limit."""
    folder = Path(cfg.run_dir)
    resumed = last_checkpoint(folder)
    open_run(cfg, {} if resumed else find_starts(cfg))
    if done := finished_metrics(cfg, folder):
        say(describe_end(cfg, done, folder))
        say(f"run folder: {folder}")
        score_run(cfg, folder)
        return done
    if resumed:
        cfg.run_dir = str(folder)  # its name is made of what share_rows changes
        share_rows(cfg, folder)
        check_rounds(cfg)
        check_data(cfg, folder)
    metrics = fit(cfg, folder, resumed)
    score_run(cfg, folder)
    return metrics


def fit(cfg: DictConfig, folder: Path, resumed: Path | None) -> dict[str, Any]:
    """Train from this run's checkpoint, from other runs' weights, or from the model's own."""
    loggers = list(instantiate(cfg.logger).values())
    if resumed:
        check_whole(resumed)
        check_resume(cfg, resumed)
    keep_freed_memory()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data: Any = instantiate(cfg.task.data, collate=instantiate(cfg.stage.collator))
    callbacks = [callback for callback in instantiate(cfg.callbacks).values() if callback is not None]
    timer = pl.callbacks.Timer()  # its time is part of checkpoints
    if not cfg.trainer.enable_progress_bar:  # Lightning refuses the callback then
        callbacks = [callback for callback in callbacks if not isinstance(callback, pl.callbacks.ProgressBar)]
    listed, plugged = [timer, *callbacks], make_plugins(cfg.async_checkpoint)
    trainer: Any = instantiate(cfg.trainer, callbacks=listed, logger=loggers or False, plugins=plugged)
    name_stop_iterations(trainer)
    with splitting(trainer.strategy):
        state = torch.get_rng_state()
        module: Any = instantiate(cfg.stage.module).train()
        drawn = not torch.equal(state, torch.get_rng_state())
    module.seed = cfg.seed
    if resumed:
        log.info("continuing from %s", resumed)
    elif first_process():
        data.prepare_data()
        record_data(cfg, folder)
    load_starts(cfg, folder, module, resumed, drawn)
    # The model casts its inputs itself. bf16-true and DeepSpeed would do so in place, which frozen batches don't allow.
    trainer.precision_plugin.convert_input = lambda batch: batch
    with plain_interrupts():
        trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    cost = {"seconds": round(timer.time_elapsed(), 1), "devices": trainer.world_size, "device": device_name(trainer)}
    return save_results(trainer, folder, cost | {"starts": recorded_starts(folder)})


@contextmanager
def plain_interrupts() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` for Ctrl-C, which Lightning turns into exit code 1."""
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def score_run(cfg: DictConfig, folder: Path) -> None:
    """Evaluate the run on its own task if ``evaluate`` is set and no evaluation is there."""
    if cfg.evaluate is None or not first_process():
        return
    evaluate_run(cfg, folder)


def save_results(trainer: Any, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Write the last checkpoint and the metrics, and print where they are."""
    settle_epochs(trainer)
    metrics: dict[str, Any] = {name: float(value) for name, value in trainer.callback_metrics.items()}
    metrics |= {"step": trainer.global_step, "epoch": trainer.current_epoch, **facts}
    trainer.strategy.checkpoint_io = Files()  # metrics.json must not be there before the checkpoint is
    trainer.save_checkpoint(folder / LAST, weights_only=False)
    if trainer.is_global_zero:
        write_json(folder / METRICS, metrics)
        say(describe_losses(metrics))
        if not trainer.fast_dev_run:
            say(f"run folder: {folder}")
    return metrics


def device_name(trainer: Any) -> str:
    """Name of the GPU, or ``cpu``."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)
