"""Load the weights that a run starts from."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from mirage_pl.engine.checkpoints.adapted import (
    Adapter,
    adapt,
    check_base,
    digest_weights,
    load_base,
    load_own,
    read_adapter,
    unwrapped,
)
from mirage_pl.engine.checkpoints.weights import check_rest, checkpoint_of, load_weights, read_checkpoint
from mirage_pl.engine.runs.entry import recorded_starts
from mirage_pl.engine.runs.identity import is_below
from mirage_pl.engine.runs.origins import describe_start, explain_other, explain_short, locate_run
from mirage_pl.engine.runs.starts import Start, read_starts

log = logging.getLogger(__name__)


def load_starts(cfg: DictConfig, folder: Path, module: Any, resumed: Path | None, drawn: bool = False) -> None:
    """Load the starts of a new run; of a resumed one those that its own checkpoint doesn't hold.

    With an adapter all weights that aren't trained come from elsewhere, and the adapter is put in here.

    Args:
        cfg: the run's config.
        folder: its run folder.
        module: as the config builds it.
        resumed: its checkpoint; ``None``: it is a new run.
        drawn: whether weights were drawn at random as the module was built.
    """
    starts, places, adapter = read_starts(cfg), recorded_starts(folder), read_adapter(cfg)
    fetched = {
        name: locate_run(places[name], folder)
        for name, start in starts.items()
        if name in places and not (resumed and start.held and adapter is None)
    }
    for place in fetched.values():
        log.info("%s from %s", "fetching frozen weights" if resumed else "starting", describe_start(str(place)))
    if not resumed:
        warn_of_starts(cfg, {str(place): starts[name] for name, place in fetched.items()})
    if adapter is not None:
        load_adapter(cfg, folder, module, resumed, adapter)
        if drawn and not resumed:
            check_same_again(cfg, folder, module, adapter)
        return
    for name, place in fetched.items():
        load_weights(module, checkpoint_of(place), starts[name])
    module.apart = tuple(start.into for start in starts.values() if not start.held)
    if module.apart:
        module.strict_loading = False  # what the checkpoint lacks has been loaded
        if resumed:
            check_rest(module, checkpoint_of(resumed), module.apart)


def warn_of_starts(cfg: DictConfig, starts: Mapping[str, Start]) -> None:
    """Warn of starts, by place, that were trained for another use than this run's, or found though cut short."""
    for place, start in starts.items():
        short = explain_short(place) if start.run is None else ""  # one that is named is meant
        for line in filter(None, (short, explain_other(cfg, start, place))):
            log.warning(line)


def load_adapter(cfg: DictConfig, folder: Path, module: Any, resumed: Path | None, adapter: Adapter) -> None:
    """Load what the adapter is trained beside, put it in, and give it the weights of a start that had the same one.

    Raises:
        ValueError: the checkpoint to resume from was trained beside other weights, or ``stage.freeze`` stops adapters.
    """
    goes_on = load_base(module, cfg, folder, adapter)
    before = {name for name, _ in module.named_parameters()}
    adapt(module, adapter)
    added = [name for name, _ in module.named_parameters() if unwrapped(name) not in before]
    for prefix in cfg.stage.freeze:
        if stopped := [name for name in added if is_below(name, [prefix])]:
            raise ValueError(
                f"stage.freeze={prefix} would stop {len(stopped)} weights of lora={cfg.lora.name}, such as "
                f"{stopped[0]}; set stage.freeze=[], as lora trains nothing of the model itself, or other lora.parts"
            )
    if resumed:
        file = checkpoint_of(resumed)
        check_base(module, read_checkpoint(file), file)
        check_rest(module, file, module.apart)
    elif goes_on:
        load_own(module, *goes_on)


def check_same_again(cfg: DictConfig, folder: Path, module: Any, adapter: Adapter) -> None:
    """Build the model again, as reading the run will, and refuse an adapter beside weights that differ then.

    Raises:
        ValueError: says what to start from.
    """
    other: Any = instantiate(cfg.stage.module)
    load_base(other, cfg, folder, adapter)
    if digest_weights(other, adapter.list_frozen(other)) != module.base:
        raise ValueError(
            f"lora={cfg.lora.name} trains beside weights that must be there again when the run is read, and this "
            "model's are drawn anew each time it is made; begin with a finished run: init_from="
        )
