"""Images of samples as patches, or as the features that a store has of them.

Shapes: N images, P patches, F pixels of a patch, M features, D width.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from data_modules.images import image_size, open_image
from data_modules.samples import Latent, Picture
from mirage_pl.mirage.batch import Images
from mirage_pl.mirage.features import FeatureCache
from mirage_pl.mirage.stock.inputs import Inputs

Grid = tuple[int, int, int]
"""Frames, patch rows and patch columns of an image."""

Asked = tuple[Picture | Latent, str]
"""An image, and the row that asks for it, for errors."""


class Pictures:
    """Turn images into what the vision tower takes.

    Args:
        inputs: how the backbone's architecture reads images.
        pixels: for ``input`` and ``helper`` images the ``min`` and ``max`` of width times height, to which others are
            resized; ``None`` for the processor's own.
        features: where features of images are looked up once it is in use; ``None``: nowhere.

    Attributes:
        processors: the image processor of each role; one and the same object where they don't differ.

    Raises:
        ValueError: bad ``pixels``.
    """

    def __init__(
        self, inputs: Inputs, pixels: Mapping[str, Mapping[str, int | None]], features: FeatureCache | None = None
    ) -> None:
        if unknown := pixels.keys() - {"input", "helper"}:
            raise ValueError(f"pixels.{min(unknown)} is unknown; there are pixels.input and pixels.helper")
        shown = inputs.bounded("input", pixels.get("input") or {})
        helper = inputs.bounded("helper", pixels.get("helper") or {})
        self.inputs, self.images, self.features = inputs, inputs.images, features
        same = inputs.bounds_name(helper) == inputs.bounds_name(shown)
        self.processors: dict[type, Any] = {Picture: shown, Latent: shown if same else helper}

    def num_tokens(self, part: Picture | Latent, where: str) -> int:
        """Features of an image, from its header alone.

        Raises:
            ValueError: it can't be read, or is too long for its width; names the row.
        """
        return self.tokens(part, where).count(self.inputs.image_id)

    def tokens(self, part: Picture | Latent, where: str, grid: Grid | None = None) -> tuple[int, ...]:
        """What the token of an image stands for.

        Args:
            part: the image.
            where: its row.
            grid: of its features, if it is known; else its header is read.

        Raises:
            ValueError: as :meth:`num_tokens`.
        """
        if grid is not None and not self.inputs.apart:
            return (self.inputs.image_id,) * prod(grid)
        width, height = image_size(part.path, where)
        try:
            return self.inputs.tokens(self.processors[type(part)], width, height)
        except ValueError as error:
            raise ValueError(f"{where}: image {part.path} of {width}×{height} pixels can't be shown: {error}") from None

    def tiles(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of tiles that an input image of some width and height is cut into."""
        return self.inputs.tiles(self.processors[Picture], *size)

    def merged(self, images: Images | None) -> list[Grid]:
        """Grids of images in tokens."""
        merge = self.inputs.merge
        return [] if images is None else [(t, h // merge, w // merge) for t, h, w in images.grids]

    def collect(self, parts: Sequence[Asked]) -> Images | None:
        """Look images, all of one role, up in the store and decode the others; ``None`` of none.

        Raises:
            ValueError: one can't be read or shown; names the row.
        """
        if not parts:
            return None
        stored = [self.known(part, where) for part, where in parts]
        patches_PF, grids = self.patches([asked for asked, hit in zip(parts, stored, strict=True) if hit is None])
        features = [hit[0] for hit in stored if hit is not None]
        return Images(
            grids=tuple(grids.pop(0) if hit is None else hit[1] for hit in stored),
            known=tuple(hit is not None for hit in stored),
            pixels_PF=patches_PF,
            features_MD=torch.cat(features) if features else None,
        )

    def patches(self, parts: Sequence[Asked]) -> tuple[Tensor | None, list[Grid]]:
        """Decode images, all of one role, and cut them into patches.

        Returns:
            Patches ``[P, F]``, ``None`` of no image; and the grid of each image.

        Raises:
            ValueError: one can't be read or shown; names the row.
        """
        if not parts:
            return None, []
        decoded = [open_image(part.path, where) for part, where in parts]
        try:
            return self.inputs.patches(self.processors[type(parts[0][0])], decoded)
        except ValueError:
            for part, where in parts:
                self.num_tokens(part, where)  # says which one is too long
            raise

    def known(self, part: Picture | Latent, where: str) -> tuple[Tensor, Grid] | None:
        """Features and grid of an image that the store has.

        Raises:
            ValueError: the file is missing or unreadable.
        """
        if self.features is None:
            return None
        try:
            return self.features.get(self.key(self.features, part))
        except OSError:
            open_image(part.path, where)  # says what is wrong with it
            raise

    def key(self, features: FeatureCache, part: Picture | Latent) -> str:
        """Name an image in a store: by its bytes, and by its bounds where they aren't the processor's own.

        Raises:
            OSError: it can't be read.
        """
        images, key = self.processors[type(part)], features.key(part.path)
        if images is self.images:
            return key
        return f"{key}-{self.inputs.bounds_name(images)}"
