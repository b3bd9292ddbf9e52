"""Train one stage: ``python -m mirage_pl.train stage=stage2 task=vsp``. The same command resumes a killed run."""

import json
import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mirage_pl.cli import verb
from mirage_pl.runs import LAST, METRICS, find_previous, is_finished, open_run, write_json

log = logging.getLogger(__name__)


def run(cfg: DictConfig) -> dict[str, float]:
    """Train until ``trainer.max_steps`` (or ``max_epochs``) and return the last metrics.

    Raises:
        ValueError: a mistake in config, data or checkpoint.
    """
    check(cfg)
    last = Path(cfg.run_dir) / LAST
    resumed = last if last.exists() else None
    start = None if resumed else cfg.init_from or (cfg.stage.follows and find_previous(cfg))
    folder = open_run(cfg)
    if done := finished_metrics(cfg, folder):
        print(f"finished at step {done['step']}; to go on raise trainer.max_steps with run_dir={folder}")
        print(f"run folder: {folder}")
        return done

    import pytorch_lightning as pl
    from hydra.utils import instantiate

    from mirage_pl.allocator import keep_freed_memory
    from mirage_pl.weights import checkpoint_of, load_weights

    keep_freed_memory()
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    module: Any = instantiate(cfg.stage.module).train()
    data: Any = instantiate(cfg.task.data, collate=instantiate(cfg.stage.collator))
    if resumed:
        log.info("continuing from %s", resumed)
    elif start:
        log.info("starting from the weights of %s", start)
        load_weights(module, checkpoint_of(start))
    callbacks = [callback for callback in instantiate(cfg.callbacks).values() if callback is not None]
    trainer: Any = instantiate(cfg.trainer, callbacks=callbacks, logger=instantiate(cfg.logger))
    trainer.fit(module, data, ckpt_path=resumed, weights_only=True)
    return finish(trainer, folder)


def finish(trainer: Any, folder: Path) -> dict[str, float]:
    """Save the last state and the last metrics, and say where they are."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    metrics |= {"step": trainer.global_step, "epoch": trainer.current_epoch}
    trainer.save_checkpoint(folder / LAST)
    if trainer.is_global_zero:
        write_json(folder / METRICS, metrics)
        print(f"run folder: {folder}")
    return metrics


def finished_metrics(cfg: DictConfig, folder: Path) -> dict[str, float] | None:
    """Metrics of a run that has nothing left to do."""
    if not is_finished(folder):
        return None
    metrics: dict[str, float] = json.loads((folder / METRICS).read_text())
    limits = {"step": cfg.trainer.max_steps, "epoch": cfg.trainer.max_epochs}
    return metrics if any(0 <= limit <= metrics[name] for name, limit in limits.items()) else None


def check(cfg: DictConfig) -> None:
    """Refuse what can't work before anything heavy is loaded.

    Raises:
        ValueError: names the key.
    """
    if not isinstance(cfg.latent_size, int) or cfg.latent_size < 1:
        raise ValueError(
            f"latent_size={cfg.latent_size} must be a whole number of 1 or more; for no latents use stage=sft"
        )
    if cfg.stage.name == "pretrain" and not cfg.model.random_weights:
        log.warning("pretraining on from %s; for a fresh start set model.random_weights=true", cfg.model.path)


main = verb("train")(run)

if __name__ == "__main__":
    main()
