"""Questions that were prepared one by one, in one batch.

Shapes: B rows, T columns, N images, P patches, F pixels of a patch.
"""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn.functional import pad

from mirage_pl.mirage.batch import IGNORE, Batch, Images, Segment


def join_prompts(prompts: Sequence[Batch], pad_id: int) -> Batch:
    """Put questions into one batch, as if they had been collated together.

    Args:
        prompts: of the collator, without features of a cache.
        pad_id: fills padding columns.
    """
    width = max(prompt.tokens_BT.shape[1] for prompt in prompts)

    def align(tensors: Sequence[Tensor], fill: int) -> Tensor:
        return torch.cat([pad(t, (width - t.shape[-1], 0), value=fill) for t in tensors], dim=-2)

    return Batch(
        tokens_BT=align([prompt.tokens_BT for prompt in prompts], pad_id),
        real_BT=align([prompt.real_BT for prompt in prompts], False),
        latent_BT=align([prompt.latent_BT for prompt in prompts], False),
        targets_BT=align([prompt.targets_BT for prompt in prompts], IGNORE),
        positions_3BT=align([prompt.positions_3BT for prompt in prompts], 0),
        segments=(Segment(0, width, False),),
        lengths=tuple(chain.from_iterable(prompt.lengths for prompt in prompts)),
        supervised=0,
        sizes=tuple(chain.from_iterable(prompt.sizes for prompt in prompts)),
        images=join_images([prompt.images for prompt in prompts if prompt.images is not None]),
        samples=tuple(chain.from_iterable(prompt.samples for prompt in prompts)),
    )


def join_images(images: Sequence[Images]) -> Images | None:
    """Images one after another, all given by their patches; ``None`` of none."""
    pixels = [some.pixels_PF for some in images if some.pixels_PF is not None]
    if not pixels:
        return None
    return Images(
        grids=tuple(chain.from_iterable(some.grids for some in images)),
        known=tuple(chain.from_iterable(some.known for some in images)),
        pixels_PF=torch.cat(pixels),
    )
