"""Where columns stand in their rows, and which columns each attends to.

Shapes: B rows, T columns so far, S columns of one call.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from mirage_pl.mirage.batch import Batch


@dataclass(frozen=True)
class Places:
    """Where some columns of a batch stand.

    Attributes:
        real_BT: false where a column is padding.
        order_BT: real columns of the row before it.
        positions_3BT: rotary positions (time, height, width); an architecture with one axis reads the first.
        image_BT: number of the row's image that a column shows a part of; -1: none.
        blind_BT: true where a column doesn't attend to images.
    """

    real_BT: Tensor
    order_BT: Tensor
    positions_3BT: Tensor
    image_BT: Tensor
    blind_BT: Tensor

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.real_BT.shape[1]

    def cut(self, start: int, stop: int) -> "Places":
        """The columns from ``start`` to before ``stop``."""
        return Places(**{f.name: getattr(self, f.name)[..., start:stop] for f in fields(self)})

    def take(self, rows_b: Tensor) -> "Places":
        """Those of some rows."""
        return Places(**{f.name: getattr(self, f.name).index_select(-2, rows_b) for f in fields(self)})

    def join(self, later: "Places") -> "Places":
        """These columns and others after them."""
        pairs = {f.name: (getattr(self, f.name), getattr(later, f.name)) for f in fields(self)}
        return Places(**{name: torch.cat(pair, dim=-1) for name, pair in pairs.items()})


def find_places(batch: Batch, image_id: int) -> Places:
    """Where all columns of a batch stand; two images never touch."""
    real_BT, shows_BT = batch.real_BT, (batch.tokens_BT == image_id) & batch.real_BT
    first_BT = shows_BT & ~shows_BT.roll(1, 1)
    image_BT = torch.where(shows_BT, first_BT.cumsum(1) - 1, -1)
    blind_BT = torch.zeros_like(real_BT) if batch.blind_BT is None else batch.blind_BT
    return Places(real_BT, real_BT.cumsum(1) - real_BT.long(), batch.positions_3BT, image_BT, blind_BT)


def visible(places: Places, start: int, window: int | None = None, whole_images: bool = False) -> Tensor:
    """Attention mask ``[B, S, T]``: each column attends to real columns up to itself, but a blind one not to images;
    padding only to itself.

    Args:
        places: of all columns so far; those from ``start`` attend.
        start: the first column that attends.
        window: attend only to columns fewer than so many real ones back; ``None``: to all.
        whole_images: an image's columns also attend to those of the same image after them.
    """
    T, device = places.width, places.real_BT.device
    columns_T = torch.arange(T, device=device)
    distance_ST = columns_T[start:].unsqueeze(1) - columns_T
    mask_BST = (distance_ST >= 0) & places.real_BT.unsqueeze(1)
    if whole_images:
        image_BS1 = places.image_BT[:, start:].unsqueeze(2)
        mask_BST = mask_BST | ((image_BS1 == places.image_BT.unsqueeze(1)) & (image_BS1 >= 0))
    mask_BST = mask_BST & ~(places.blind_BT[:, start:].unsqueeze(2) & (places.image_BT >= 0).unsqueeze(1))
    if window is not None:
        mask_BST = mask_BST & (places.order_BT[:, start:].unsqueeze(2) - places.order_BT.unsqueeze(1) < window)
    return mask_BST | (distance_ST == 0)
