"""Compress a helper image's features into k latents: the targets of stage 1.

Shapes: n features, D width, k latents.
"""

import torch
from torch import Tensor


class Average:
    """The official strategy: average k contiguous runs of features in raster order, and drop the rest.

    On an image the runs are horizontal strips. Section 3 of the paper; ``compress_strategy=average`` in its code.
    """

    def __call__(self, features_nD: Tensor, grid_hw: tuple[int, int], k: int) -> Tensor:
        """Compress one image.

        Args:
            features_nD: merged features in raster order.
            grid_hw: their rows and columns.
            k: number of latents.

        Returns:
            ``[k, D]``.

        Raises:
            ValueError: fewer features than latents.
        """
        n, width = features_nD.shape
        check_size(n, k)
        return features_nD[: n // k * k].view(k, n // k, width).mean(1)


class Grid:
    """Average over the cells of a 2-D grid whose k cells are arranged as squarely as k divides."""

    def __call__(self, features_nD: Tensor, grid_hw: tuple[int, int], k: int) -> Tensor:
        """Compress one image; arguments as in :class:`Average`, cells in raster order."""
        check_size(len(features_nD), k)
        rows = max(divisor for divisor in range(1, int(k**0.5) + 1) if k % divisor == 0)
        image_1DHW = features_nD.T.reshape(1, -1, *grid_hw)
        cells_1Drc = torch.nn.functional.adaptive_avg_pool2d(image_1DHW, (rows, k // rows))
        return cells_1Drc.flatten(2).squeeze(0).T


def check_size(n: int, k: int) -> None:
    """Check that ``n`` features suffice for ``k`` latents.

    Raises:
        ValueError: they don't.
    """
    if k > n:
        raise ValueError(
            f"latent_size={k} exceeds the {n} feature(s) of a helper image; lower latent_size or enlarge it"
        )
