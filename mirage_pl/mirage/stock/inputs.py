"""What the collator asks of an architecture: how texts and images become tokens and pixels.

Shapes: B rows, T columns, N images, P patches, F numbers of a patch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mirage_pl.mirage.stock.architecture import Grid


class Inputs:
    """Read questions and images by one stock processor.

    Args:
        processor: the model's own.

    Attributes:
        merge: side of the squares of patches that become one token.
        end_token: ends a turn.
        image_id: id of the token that stands for an image feature.
        end: id of ``end_token``.
        apart: there are words between the tiles of an image.
    """

    merge: int = 1
    end_token: str = "<|im_end|>"
    apart: bool = False

    def __init__(self, processor: Any) -> None:
        self.processor, self.tokenizer, self.images = processor, processor.tokenizer, processor.image_processor
        self.image_id = int(processor.image_token_id)
        self.end = int(self.tokenizer.convert_tokens_to_ids(self.end_token))

    def expand(self, rendered: str) -> str:
        """Write each image of a rendered chat as the text around its features, which are one token for now."""
        return rendered

    def bounded(self, role: str, bounds: Mapping[str, int | None]) -> Any:
        """An image processor that resizes images to other numbers of pixels.

        Args:
            role: ``input`` or ``helper``, for errors.
            bounds: ``min`` and ``max`` of width times height; ``None``: the processor's own.

        Raises:
            ValueError: this architecture shows all images at one size, or nothing is left between the bounds.
        """
        if any(bound is not None for bound in bounds.values()):
            raise ValueError(f"pixels.{role}: {type(self.images).__name__} shows every image at its own size; set null")
        return self.images

    def bounds_name(self, images: Any) -> str:
        """Name what ``bounded`` changed in an image processor."""
        return ""

    def tiles(self, images: Any, width: int, height: int) -> tuple[int, int]:
        """Rows and columns of tiles that an image is cut into; 1, 1: it is shown in one piece."""
        return 1, 1

    def tokens(self, images: Any, width: int, height: int) -> tuple[int, ...]:
        """What the token of an image stands for, words between its tiles included.

        Raises:
            ValueError: it can't be shown.
        """
        return (self.image_id,) * self.num_tokens(images, width, height)

    def num_tokens(self, images: Any, width: int, height: int) -> int:
        """Features of an image, from its size alone.

        Raises:
            ValueError: it can't be shown.
        """
        raise NotImplementedError

    def patches(self, images: Any, decoded: Sequence[Any]) -> tuple[Tensor, list[Grid]]:
        """Pixels ``[P, F]`` of all images, one after another, and the grid of each."""
        raise NotImplementedError

    def positions(self, image_BT: Tensor, real_BT: Tensor, grids_N3: Tensor) -> Tensor:
        """Rotary positions ``[3, B, T]``; on padding they are arbitrary.

        Args:
            image_BT: true on image tokens; two images never touch.
            real_BT: false on padding.
            grids_N3: merged grid of every image, row after row.
        """
        return (real_BT.cumsum(1) - real_BT.long()).expand(3, -1, -1)
