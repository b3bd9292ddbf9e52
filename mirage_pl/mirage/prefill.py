"""Compute the features of a run's images ahead, with the frozen tower, so that no step has to.

Images are taken in fixed groups, in the order of the data: which images share a call of the tower never depends on how
far an earlier run came. So a resumed run sees the same numbers.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from rich.progress import track

from data_modules.samples import ImageSource, Latent, Picture, Sample, open_image
from mirage_pl.mirage.batch import Images
from mirage_pl.mirage.collator import Collator
from mirage_pl.mirage.features import FeatureCache, fingerprint

GROUP = 64
"""Images a call of the tower."""


def fill(cache: FeatureCache, module: Any) -> None:
    """Fill the cache for the trainer's run, each rank its share, and have the collator look there.

    Nothing is computed ahead for a run too short to see its images twice.

    Raises:
        ValueError: an image can't be read.
    """
    trainer, collate, data = module.trainer, module.trainer.datamodule.collate, module.trainer.datamodule
    tower = module.net.tower
    settings = {"tower": tower.config.to_dict(), "images": collate.images.to_dict(), "precision": trainer.precision}
    cache.use(fingerprint(tower, jsonable(settings)))
    collate.features = cache
    if trainer.estimated_stepping_batches * trainer.accumulate_grad_batches <= trainer.num_training_batches:
        return
    samples = (dataset[index] for dataset in data.datasets.values() for index in range(len(dataset)))
    groups = list(missing(collate, samples, trainer.global_rank, trainer.world_size))
    text = f"Computing image features ({len(groups)} groups of {GROUP})"
    for group in track(groups, text, disable=not groups or not trainer.is_global_zero):
        if cache.writable:
            store(cache, module, collate.images, group)
    cache.flush()
    trainer.strategy.barrier("image features")


def missing(
    collate: Collator, samples: Iterable[Sample], rank: int = 0, num_ranks: int = 1
) -> Iterator[list[tuple[ImageSource, str]]]:
    """Yield a rank's groups of images, with the rows that ask for them, of which at least one is not in the cache.

    Groups are dealt to the ranks before they are looked up: what another rank has stored meanwhile moves none.
    """
    kinds = (Picture, Latent) if collate.helpers else (Picture,)
    parts = ((part.path, s.where) for s in samples for part in (*s.question, *s.answer) if isinstance(part, kinds))
    images = list(dict(parts).items())
    for first in range(rank * GROUP, len(images), num_ranks * GROUP):
        group = images[first : first + GROUP]
        if not all(collate.known(*image) for image in group):
            yield group


@torch.no_grad()
def store(cache: FeatureCache, module: Any, processor: Any, group: list[tuple[ImageSource, str]]) -> None:
    """Run the tower on a group of images and put their features into the cache."""
    patches = processor(images=[open_image(*image) for image in group], return_tensors="pt")
    grids = tuple(tuple(grid) for grid in patches["image_grid_thw"].tolist())
    images = Images(grids, (False,) * len(grids), patches["pixel_values"]).to(module.device)
    for (source, _), feature_nD, grid in zip(group, module.net.image_features(images), grids, strict=True):
        cache.put(cache.key(source), feature_nD, grid)


def jsonable(value: Any) -> Any:
    """The same as text, numbers, lists and dicts only."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
