"""Give a module the weights that its run starts from."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mirage_pl.engine.checkpoints.weights import check_rest, checkpoint_of, load_weights
from mirage_pl.engine.runs.entry import recorded_starts
from mirage_pl.engine.runs.starts import describe_start, locate, read_starts

log = logging.getLogger(__name__)


def load_starts(cfg: DictConfig, folder: Path, module: Any, resumed: Path | None) -> None:
    """Take the weights that a run begins with; when it goes on, those that its own checkpoint doesn't hold."""
    starts, places = read_starts(cfg), recorded_starts(folder)
    for name, start in starts.items():
        if name in places and not (resumed and start.kept):
            place = locate(places[name], folder)
            log.info("%s from %s", "fetching frozen weights" if resumed else "starting", describe_start(str(place)))
            load_weights(module, checkpoint_of(place), start)
    module.apart = tuple(start.into for start in starts.values() if not start.kept)
    if module.apart:
        module.strict_loading = False  # what its checkpoint lacks is in place by now
        if resumed:
            check_rest(module, checkpoint_of(resumed), module.apart)
