"""Patches that latents resemble and attend to, and where latents lie among words and images.

Shapes: B rows, T columns, D width, N latent slots of the whole batch, k latents of one block, L layers, P points,
R rows and C columns of an image's merged features.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mirage_pl.mirage.batch import Batch, Images
from mirage_pl.mirage.model.columns import Embeds
from mirage_pl.mirage.model.latents import LatentVLM


@torch.no_grad()
def compute_features(net: LatentVLM, images: Images) -> list[Tensor]:
    """Merged features ``[R, C, D]`` of every image, on the CPU."""
    merge = net.architecture.merge
    features = net.image_features(images.to(net.backbone.device))
    return [
        f_nD[:, : net.width].unflatten(0, (-1, w // merge)).cpu()
        for f_nD, (_, _, w) in zip(features, images.grids, strict=True)
    ]


def compare_patches(latents_kD: Tensor, features_RCD: Tensor, means: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Cosine of each latent to each feature of an image, ``[k, R, C]``.

    Args:
        latents_kD: of one block.
        features_RCD: of an image.
        means: ``[k, D]`` and ``[D]``, subtracted from latents and features first. Features of one image are nearly
            parallel, and so are latents trained towards them: without this all cosines look alike.
    """
    if means is not None:
        latents_kD, features_RCD = latents_kD - means[0], features_RCD - means[1]
    units_kD, units_RCD = normalize(latents_kD.double(), dim=-1), normalize(features_RCD.double(), dim=-1)
    return torch.einsum("kd,rcd->krc", units_kD, units_RCD)


def join_tiles(heat_kRC: Tensor, rows: int, columns: int) -> Tensor:
    """Lay the tiles of an image side by side; what the last one has, which shows it whole, is spread over all others.

    Args:
        heat_kRC: tile below tile.
        rows: of tiles; of 1 × 1 nothing changes.
        columns: of tiles.
    """
    if rows == columns == 1:
        return heat_kRC
    *tiles, whole = heat_kRC.chunk(rows * columns + 1, dim=1)
    lines = [torch.cat(tiles[first : first + columns], dim=2) for first in range(0, len(tiles), columns)]
    spread = whole.repeat_interleave(rows, 1).repeat_interleave(columns, 2) / (rows * columns)
    return torch.cat(lines, dim=1) + spread


def find_peaks(heat_kRC: Tensor, count: int = 3) -> list[list[tuple[int, int]]]:
    """Find the ``count`` cells (row, column) with the highest values for each latent, the highest first."""
    columns = heat_kRC.shape[2]
    flat_kn = heat_kRC.flatten(1)
    indices = flat_kn.topk(min(count, flat_kn.shape[1])).indices.tolist()
    return [[divmod(cell, columns) for cell in cells] for cells in indices]


@torch.no_grad()
def record_attention(net: LatentVLM, batch: Batch, embeds: Embeds, of_BT: Tensor | None = None) -> Tensor:
    """Attention of each latent's column to the columns of its row, averaged over heads: ``[L, N, T]``.

    L counts the layers that attend, ``net.architecture.attending``; the others have no shares to show. Only one layer's
    weights are in memory at a time; those of the latents' columns are kept.

    Args:
        net: the model.
        batch: with latent slots, see :func:`mirage_pl.mirage.probing.reading.join_answers`.
        embeds: its inputs, latents in their slots.
        of_BT: columns whose attention is recorded in place of the latents'.
    """
    of_BT = batch.latent_BT if of_BT is None else of_BT
    weights: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
        weights.append(outputs[1].float().mean(1)[of_BT])

    layers = [net.decoder.layers[number] for number in net.architecture.attending]
    hooks = [layer.self_attn.register_forward_hook(keep) for layer in layers]
    try:
        with use_eager_attention(net.decoder):
            net.columns(batch, embeds).finish(embeds.inputs_BTD)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(weights)


@contextmanager
def use_eager_attention(decoder: Any) -> Iterator[None]:
    """Use the stock attention that returns its weights, and restore the former one afterwards."""
    before = decoder.config._attn_implementation
    decoder.set_attn_implementation("eager")
    try:
        yield
    finally:
        decoder.set_attn_implementation(before)


def divide_attention(
    shares_kT: Tensor, image_T: Tensor, latent_T: Tensor, sides: Sequence[tuple[int, int]]
) -> "Division":
    """Divide attention into that to patches, to latents and to text.

    Args:
        shares_kT: attention of the latents of one row.
        image_T: true on its image tokens.
        latent_T: true on its latent slots.
        sides: rows and columns of each of its images.

    Returns:
        The share of each patch, ``[k, R, C]`` per image, and the totals ``image``, ``latents`` and ``text``, ``[k]``.
    """
    patches = shares_kT[:, image_T].split([rows * columns for rows, columns in sides], dim=1)
    images = [share_kn.unflatten(1, side) for share_kn, side in zip(patches, sides, strict=True)]
    masks = {"image": image_T, "latents": latent_T, "text": ~(image_T | latent_T)}
    return images, {name: shares_kT[:, mask_T].sum(1) for name, mask_T in masks.items()}


Division = tuple[list[Tensor], dict[str, Tensor]]


def project_on_plane(groups: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[float]]:
    """Project groups of vectors onto the plane in which they vary most.

    Vectors are normalized first: a word's embedding may be many times shorter than an image's features.

    Args:
        groups: ``[P, D]`` by name.

    Returns:
        Coordinates ``[P, 2]`` by name, and the share of the variance on each axis.
    """
    points_PD = normalize(torch.cat(list(groups.values())).double(), dim=-1)
    points_PD = points_PD - points_PD.mean(0)
    directions_PP, values_P, _ = torch.linalg.svd(points_PD @ points_PD.T)  # P is small, D may be thousands
    axes_P2 = directions_PP[:, :2] * values_P[:2].sqrt()
    extreme_2 = axes_P2.gather(0, axes_P2.abs().argmax(0, keepdim=True))
    axes_P2 = axes_P2 * extreme_2.sign()  # signs are arbitrary; fixing them makes the picture reproducible
    parts = axes_P2.split([len(group) for group in groups.values()])
    shares = (values_P[:2] / values_P.sum().clamp(min=1e-30)).tolist()
    return dict(zip(groups, parts, strict=True)), shares


def thin_vectors(vectors_PD: Tensor, limit: int) -> Tensor:
    """Keep at most ``limit`` of the vectors, evenly spaced."""
    if len(vectors_PD) <= limit:
        return vectors_PD
    return vectors_PD[torch.linspace(0, len(vectors_PD) - 1, limit).long()]
