"""Train one stage: ``python -m mirage_pl.train stage=stage2``. The same command resumes a killed run."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mirage_pl.engine.cli import swept_by
from mirage_pl.engine.runs.config import read_record
from mirage_pl.engine.runs.data_files import check_data, record_data
from mirage_pl.engine.runs.entry import make_folder, open_run, recorded_starts, share_rows
from mirage_pl.engine.runs.folder import LAST, METRICS, first_process, is_finished, last_checkpoint, write_json
from mirage_pl.engine.runs.lock import owned
from mirage_pl.engine.runs.starts import find_starts

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> dict[str, Any]:
    """Train until ``trainer.max_steps`` (or ``max_epochs``), score the run if wanted, and return the last metrics.

    Raises:
        ValueError: a mistake in config, data or checkpoint.
    """
    check(cfg)
    from mirage_pl.engine.strategies.ready import ready

    ready(cfg)
    make_folder(Path(cfg.run_dir))
    with owned(Path(cfg.run_dir)):
        return train(cfg)


def train(cfg: DictConfig) -> dict[str, Any]:
    """Go on, or begin, or find that nothing is left to do."""
    folder = Path(cfg.run_dir)
    resumed = last_checkpoint(folder)
    open_run(cfg, {} if resumed else find_starts(cfg))
    if done := finished_metrics(cfg, folder):
        print(f"finished at step {done['step']}; to go on raise trainer.max_steps with run_dir={folder}")
        print(f"run folder: {folder}")
        score(cfg, folder)
        return done
    if resumed:
        share_rows(cfg, folder)
        check_data(cfg, folder)
    metrics = fit(cfg, folder, resumed)
    score(cfg, folder)
    return metrics


def fit(cfg: DictConfig, folder: Path, resumed: Path | None) -> dict[str, Any]:
    """Train, from a checkpoint of this run, or from weights of others, or from the model's own."""
    import pytorch_lightning as pl
    from hydra.utils import instantiate

    from mirage_pl.engine.checkpoints.saving import plugins
    from mirage_pl.engine.checkpoints.started import load_starts
    from mirage_pl.engine.strategies.deepspeed import splitting
    from mirage_pl.engine.strategies.ready import check_resume
    from mirage_pl.engine.training.allocator import keep_freed_memory

    if resumed:
        check_resume(cfg, resumed)
    keep_freed_memory()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    data: Any = instantiate(cfg.task.data, collate=instantiate(cfg.stage.collator))
    callbacks = [callback for callback in instantiate(cfg.callbacks).values() if callback is not None]
    timer = pl.callbacks.Timer()  # goes on where an interrupted run's checkpoint left it
    logger = instantiate(cfg.logger)
    listed, plugged = [*callbacks, timer], plugins(cfg.async_checkpoint)
    trainer: Any = instantiate(cfg.trainer, callbacks=listed, logger=logger, plugins=plugged)
    with splitting(trainer.strategy):
        module: Any = instantiate(cfg.stage.module).train()
    if resumed:
        log.info("continuing from %s", resumed)
    elif first_process():
        data.prepare_data()
        record_data(cfg, folder)
    load_starts(cfg, folder, module, resumed)
    # The model casts what it takes from a batch; bf16-true and DeepSpeed would, in place, which a frozen batch refuses.
    trainer.precision_plugin.convert_input = lambda batch: batch
    trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    cost = {"seconds": round(timer.time_elapsed(), 1), "devices": trainer.world_size, "device": device_name(trainer)}
    return finish(trainer, folder, cost | {"starts": recorded_starts(folder)})


def score(cfg: DictConfig, folder: Path) -> None:
    """Evaluate the run on its own task, if ``evaluate`` asks for it and it hasn't been done."""
    if cfg.evaluate is None or not first_process():
        return
    from mirage_pl.engine.evaluation.scoring import evaluate_run

    evaluate_run(cfg, folder)


def finish(trainer: Any, folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Save the last state and the last metrics, and say where they are."""
    from mirage_pl.engine.checkpoints.saving import Files

    metrics: dict[str, Any] = {name: float(value) for name, value in trainer.callback_metrics.items()}
    metrics |= {"step": trainer.global_step, "epoch": trainer.current_epoch, **facts}
    trainer.strategy.checkpoint_io = Files()  # nothing goes on meanwhile, and metrics mustn't be there before it
    trainer.save_checkpoint(folder / LAST, weights_only=False)
    if trainer.is_global_zero:
        write_json(folder / METRICS, metrics)
        print(f"run folder: {folder}")
    return metrics


def device_name(trainer: Any) -> str:
    """What the run is trained on: ``cpu``, or a GPU's name."""
    import torch

    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type)


def finished_metrics(cfg: DictConfig, folder: Path) -> dict[str, Any] | None:
    """Metrics of a run that has nothing left to do."""
    if not is_finished(folder):
        return None
    metrics = read_record(folder / METRICS)
    limits = {"step": cfg.trainer.max_steps, "epoch": cfg.trainer.max_epochs}
    return metrics if any(0 <= limit <= metrics.get(name, -1) for name, limit in limits.items()) else None


def check(cfg: DictConfig) -> None:
    """Refuse what can't work on any machine, before anything heavy is loaded.

    Raises:
        ValueError: names the key.
    """
    if cfg.study.name and not cfg.study.method:
        raise ValueError(f"study.name={cfg.study.name} needs study.method; a whole study is run with -m: train -m …")
    if cfg.trainer.devices != 1 and swept_by() == "basic":
        raise ValueError(
            f"trainer.devices={cfg.trainer.devices} with hydra/launcher=basic: the run's further processes would each "
            "sweep again; choose hydra/launcher=local or hydra/launcher=slurm"
        )
    if cfg.async_checkpoint and cfg.strategy.name.startswith("deepspeed"):
        raise ValueError(
            f"async_checkpoint=true with strategy={cfg.strategy.name}: DeepSpeed writes a folder of its own, all "
            "processes together; leave async_checkpoint out, or choose strategy=ddp or strategy=fsdp2"
        )
