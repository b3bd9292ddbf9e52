"""Compute the features of a run's images ahead, with the frozen tower, so that no step has to.

Images are taken in fixed groups, in the order of the data: which images share a call of the tower never depends on how
far an earlier run came. So a resumed run sees the same numbers.
"""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import pytorch_lightning as pl
import torch
from rich.progress import track

from data_modules.images import DECODING
from data_modules.samples import Latent, Picture, Sample
from mirage_pl.mirage.batch import Images
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.features import FeatureCache, fingerprint

GROUP = 64
"""Images a call of the tower."""


class Prefill(pl.Callback):
    """Fill the collator's feature cache before the first step, each rank its share of all splits' images.

    Nothing happens without a folder, or where the tower is trained. A run too short to see its images twice uses what
    is stored, but computes nothing ahead.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Turn the cache on for this tower, and compute what it lacks.

        Raises:
            ValueError: an image can't be read.
        """
        data, module = trainer.datamodule, cast(Any, pl_module)  # type: ignore[attr-defined]
        cache = data.collate.pictures.features
        if cache is None or not cache.root or module.net.tower_trained:
            return
        cache.use(fingerprint(module.net.tower, settings(module.net, data.collate, trainer.precision)))
        if trainer.estimated_stepping_batches * trainer.accumulate_grad_batches > trainer.num_training_batches:
            samples = (dataset[index] for dataset in data.datasets.values() for index in range(len(dataset)))
            fill(cache, module, data.collate, samples, trainer)


def settings(net: Any, collate: Collator, precision: str) -> dict[str, Any]:
    """What features depend on besides the tower's weights and an image's bytes, as JSON has it."""
    values = {
        "model": {k: v for k, v in net.backbone.config.to_dict().items() if k not in ("text_config", "_name_or_path")},
        "attention": net.backbone.config.vision_config._attn_implementation,
        "images": collate.pictures.images.to_dict(),
        "decoding": DECODING,
        "precision": precision,
    }
    return {key: jsonable(value) for key, value in values.items()}


def fill(cache: FeatureCache, module: Any, collate: Collator, samples: Iterable[Sample], trainer: pl.Trainer) -> None:
    """Compute the features that the cache lacks of the images of some samples, this rank's share.

    Raises:
        ValueError: an image can't be read.
    """
    groups = list(missing(collate, samples, trainer.global_rank, trainer.world_size))
    idle = module.most([len(groups)])[0] - len(groups) if module.split else 0
    text = f"Computing image features ({len(groups)} groups of {GROUP})"
    for group in track(groups, text, disable=not groups or not trainer.is_global_zero):
        if cache.writable or module.split:
            store(cache, module, collate, group)
    for _ in range(idle):  # ranks that hold parts of the weights call the tower together, to the last group of any
        module.net.image_features(module.net.blank_image())
    cache.flush()
    trainer.strategy.barrier("image features")


def missing(
    collate: Collator, samples: Iterable[Sample], rank: int = 0, num_ranks: int = 1
) -> Iterator[list[tuple[Picture | Latent, str]]]:
    """Yield a rank's groups of images, with the rows that ask for them, of which at least one is not in the cache.

    Groups are dealt to the ranks before they are looked up: what another rank has stored meanwhile moves none. Input
    and helper images share groups, and are the same if their file is, unless they are bounded differently.
    """
    kinds = (Picture, Latent) if collate.helpers else (Picture,)
    images: dict[Any, dict[Any, tuple[Picture | Latent, str]]] = {}
    for sample in samples:
        for part in (*collate.seen(sample).question, *sample.answer):
            if isinstance(part, kinds):
                images.setdefault(id(collate.pictures.processors[type(part)]), {})[part.path] = part, sample.where
    every = [list(found.values()) for found in images.values()]
    groups = [found[first : first + GROUP] for found in every for first in range(0, len(found), GROUP)]
    for group in groups[rank::num_ranks]:
        if not all(collate.pictures.known(*image) for image in group):
            yield group


@torch.no_grad()
def store(cache: FeatureCache, module: Any, collate: Collator, group: list[tuple[Picture | Latent, str]]) -> None:
    """Run the tower on a group of images and put their features into the cache."""
    patches, grids = collate.pictures.patches(group)
    images = Images(tuple(grids), (False,) * len(grids), patches).to(module.device)
    for (part, _), feature_nD, grid in zip(group, module.net.image_features(images), grids, strict=True):
        cache.put(collate.pictures.key(cache, part), feature_nD, grid)


def jsonable(value: Any) -> Any:
    """The same as text, numbers, lists and dicts only."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
