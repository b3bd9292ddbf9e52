"""What a twin sees that the one who answers doesn't: other latents in the places of the answer's own.

Shapes: B rows, N latents of all rows, D width, n of one block, k of a helper image.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from mirage_pl.mirage.batch import Batch
from mirage_pl.mirage.model.latents import LatentVLM


class Helper:
    """Compressed features of the true helper images, as stage 1 teaches them; a block without one keeps its own."""

    def __call__(self, net: LatentVLM, batch: Batch, planned: Sequence[Sequence[int]], latents_ND: Tensor) -> Tensor:
        """Return latents in place of others.

        Args:
            net: encodes pictures.
            batch: answers, with their helper images.
            planned: latents of the helper images of each row.
            latents_ND: of the answers.
        """
        if batch.helpers is None:
            return latents_ND
        features = iter(net.compress(batch.helpers, [size for row in planned for size in row]))
        rows = [[next(features) for _ in row] for row in planned]
        own = iter(latents_ND.split([size for row in batch.sizes for size in row]))
        return torch.cat([latents_ND[:0], *self.choose(batch, rows, own)]).to(latents_ND.dtype)

    def choose(self, batch: Batch, rows: Sequence[Sequence[Tensor]], own: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yield the latents of each block, ``[n, D]``."""
        for sizes, images in zip(batch.sizes, rows, strict=True):
            for block, size in enumerate(sizes):
                latents_nD = next(own)
                if block < len(images):
                    features_kD = images[block]
                    latents_nD = features_kD[torch.arange(size, device=features_kD.device) % len(features_kD)]
                yield latents_nD


class Noise:
    """Gaussian noise of the mean and variance of the latents: a control, for a twin that knows nothing more."""

    def __call__(self, net: LatentVLM, batch: Batch, planned: Sequence[Sequence[int]], latents_ND: Tensor) -> Tensor:
        """Return latents in place of others."""
        if not len(latents_ND):
            return latents_ND
        return latents_ND.mean() + latents_ND.std() * torch.randn_like(latents_ND)
