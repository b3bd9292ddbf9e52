"""Architectures that show an image as tiles of one size: a ViT of fixed resolution, then a projector.

An image is one tile, or several cut from it and last a tile that shows it whole. A grid counts features: tiles, and
the rows and columns of each.

Shapes: P tiles, F numbers of a tile, S side of a tile in pixels, n features of one image, D width.
"""

from collections.abc import Sequence
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn

from mirage_pl.mirage.stock.architecture import Architecture, Grid
from mirage_pl.mirage.stock.flops import ViT, vit_flops
from mirage_pl.mirage.stock.inputs import Inputs


class Tiles(Architecture):
    """Run a model whose tower takes tiles.

    Attributes:
        classes: columns of the tower that stand for no patch.
    """

    classes: int = 0

    @property
    def vision(self) -> Any:
        """Config of the tower."""
        return self.model.config.vision_config

    @property
    def projector(self) -> nn.Module:
        """Makes features of what the tower puts out."""
        return self.tower[-1]

    def project(self, tiles_P3SS: Tensor) -> Tensor:
        """Features of each tile, ``[P, n, D]``."""
        features: Tensor = self.model.model.get_image_features(tiles_P3SS).pooler_output
        return features

    def image_features(self, pixels_PF: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
        """Features ``[n, D]`` of every image, tile after tile."""
        side = isqrt(pixels_PF.shape[1] // 3)
        features_PnD = self.project(pixels_PF.unflatten(1, (3, side, side)))
        return [image.flatten(0, 1) for image in features_PnD.split([tiles for tiles, _, _ in grids])]

    def blank(self) -> tuple[Grid, Tensor]:
        """One tile."""
        side, features = first(self.vision.image_size), isqrt(self.num_features)
        return (1, features, features), torch.zeros(1, 3 * side**2)

    @property
    def num_features(self) -> int:
        """Features of one tile."""
        raise NotImplementedError

    def tower_flops(self, grids: Sequence[Grid]) -> int:
        """Operations of one forward pass of the tower."""
        config, tiles = self.vision, sum(tiles for tiles, _, _ in grids)
        patch = first(config.patch_size)
        patches = (first(config.image_size) // patch) ** 2
        vit = ViT(config.hidden_size, config.intermediate_size, config.num_hidden_layers, 3 * patch**2)
        one = vit_flops(vit, patches, self.classes) + 2 * self.projector_weights * self.num_features
        return tiles * one

    @property
    def projector_weights(self) -> int:
        """Weights that one feature is multiplied with."""
        raise NotImplementedError


class TileInputs(Inputs):
    """Read questions by a processor that makes tiles.

    An image in a question is cut as the processor cuts it; a helper image is one tile, so that its features lie in rows
    and columns.
    """

    @property
    def num_features(self) -> int:
        """Tokens of one tile."""
        return int(self.processor.image_seq_length)

    def num_tiles(self, images: Any, width: int, height: int) -> int:
        """Tiles of an image: of several, one more shows it whole."""
        rows, columns = self.tiles(images, width, height)
        return rows * columns + (rows * columns > 1)

    def num_tokens(self, images: Any, width: int, height: int) -> int:
        """Features of an image."""
        return self.num_features * self.num_tiles(images, width, height)

    def patches(self, images: Any, decoded: Sequence[Any]) -> tuple[Tensor, list[Grid]]:
        """Tiles ``[P, F]`` of all images, and the grid of each."""
        side = isqrt(self.num_features)
        grids = [(self.num_tiles(images, *image.size), side, side) for image in decoded]
        return self.cut(images, decoded).flatten(1), grids

    def cut(self, images: Any, decoded: Sequence[Any]) -> Tensor:
        """Tiles ``[P, 3, S, S]`` of all images, one after another."""
        pixels: Tensor = images(images=list(decoded), return_tensors="pt")["pixel_values"]
        return pixels


def first(size: Any) -> int:
    """A square's side, which configs write as one number or as two."""
    return int(size[0] if isinstance(size, list | tuple) else size)
