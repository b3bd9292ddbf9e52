"""Compute the features of a run's images ahead, with the frozen tower, so that no step has to.

Images are taken in fixed groups, in the order of the data: which images share a call of the tower never depends on how
far an earlier run came. So a resumed run sees the same numbers.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from rich.progress import track

from data_modules.images import DECODING
from data_modules.samples import Latent, Picture, Sample
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
    settings = {
        "tower": tower.config.to_dict(),
        "attention": tower.config._attn_implementation,
        "images": collate.pictures.images.to_dict(),
        "decoding": DECODING,
        "precision": trainer.precision,
    }
    cache.use(fingerprint(tower, jsonable(settings)))
    collate.pictures.features = cache
    if trainer.estimated_stepping_batches * trainer.accumulate_grad_batches <= trainer.num_training_batches:
        return
    samples = (dataset[index] for dataset in data.datasets.values() for index in range(len(dataset)))
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
        for part in (*sample.question, *sample.answer):
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
