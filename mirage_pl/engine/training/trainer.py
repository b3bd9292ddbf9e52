"""Checks of the keys below ``trainer``, before anything heavy is loaded."""

from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig

from mirage_pl.engine.value_types import write_value

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps", "tpu")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed", "bf16-true", "16-true", "64-true", "32", "16", "bf16", "64")
PROFILERS = ("simple", "advanced", "pytorch")
SHARES = ("limit_train_batches", "limit_val_batches", "overfit_batches")


def check_trainer(trainer: DictConfig) -> None:
    """Refuse values that Lightning would reject with a traceback.

    Raises:
        ValueError: names the key, the value, and what may be given.
    """
    for key, choices in {"accelerator": ACCELERATORS, "precision": PRECISIONS}.items():
        check_choice(f"trainer.{key}", write_value(trainer[key]), choices)
    if trainer.profiler is not None:
        check_choice("trainer.profiler", str(trainer.profiler), PROFILERS)
    check_devices(trainer.devices)
    check_limits(trainer)
    for key in SHARES:
        if not is_share(trainer[key]):
            raise ValueError(
                f"trainer.{key}={write_value(trainer[key])} must be so many batches, or a share of them from 0.0 to 1.0"
            )


def check_choice(key: str, given: str, choices: tuple[str, ...]) -> None:
    """Refuse a word that isn't one of the choices.

    Raises:
        ValueError: lists the choices and proposes the nearest.
    """
    if given not in choices:
        near = get_close_matches(given, choices, 1)
        proposal = f"did you mean {near[0]}? " if near else ""
        raise ValueError(f"{key}={given} is unknown; {proposal}choose from {', '.join(choices)}")


def check_devices(devices: Any) -> None:
    """Refuse a value that names no devices.

    Raises:
        ValueError: says which values do.
    """
    if isinstance(devices, str):
        named = devices == "auto" or all(part.strip().lstrip("-").isdigit() for part in devices.split(","))
    else:
        named = devices == -1 or (devices >= 1 if isinstance(devices, int) else bool(devices))
    if not named:
        raise ValueError(
            f"trainer.devices={write_value(devices)} must be a number of devices, -1 or auto for all, or a list of "
            "some: [0,2]"
        )


def check_limits(trainer: DictConfig) -> None:
    """Refuse a run without an end, and intervals at which validation never happens.

    Raises:
        ValueError: names the keys.
    """
    steps, epochs, fraction = trainer.max_steps, trainer.max_epochs, trainer.val_check_interval
    if (steps is None or steps < 0) and (epochs is None or epochs < 0):
        raise ValueError(
            f"trainer.max_steps={write_value(steps)} and trainer.max_epochs={write_value(epochs)} let the run go on "
            "for ever, and its learning rate needs an end; give trainer.max_steps=1000 or trainer.max_epochs=3"
        )
    if isinstance(fraction, float) and trainer.check_val_every_n_epoch is None:
        raise ValueError(
            f"trainer.val_check_interval={fraction} must be a whole number of training batches; for a share of an "
            f"epoch set trainer.check_val_every_n_epoch=1, too"
        )
    if fraction is not None and (fraction <= 0 or (isinstance(fraction, float) and fraction > 1)):
        raise ValueError(
            f"trainer.val_check_interval={fraction} must be 1 or more training batches, or with "
            "trainer.check_val_every_n_epoch=1 a share up to 1.0; trainer.limit_val_batches=0 validates never"
        )


def is_share(value: Any) -> bool:
    """Whether a value is a number of batches or a fraction of them."""
    if value is None:
        return True
    return value >= 0 and (isinstance(value, int) or value <= 1.0)
