"""Pictures before they are coded, and codes of signs (look-up-free quantization, MAGVIT-v2, arXiv 2310.05737).

Shapes: B pictures, C = 3 channels, H x W pixels or places, K bits.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def prepare_picture(picture: Tensor, side: int) -> Tensor:
    """A picture as it is coded: black at both ends of its shorter side, ``side`` x ``side``, about [-1, 1].

    Args:
        picture: [H, W, C] or [C, H, W]; uint8 or whole numbers to 255, or numbers within [0, 1].
        side: pixels.

    Returns:
        [C, side, side]; bicubic resizing may go beyond [-1, 1] a little, as released.
    """
    whole = not picture.is_floating_point()
    picture_CHW = picture if picture.shape[0] in (1, 3) else picture.permute(2, 0, 1)
    picture_CHW = picture_CHW.float() / (255 if whole else 1)
    height, width = picture_CHW.shape[1:]
    longest = max(height, width)
    top, left = (longest - height) // 2, (longest - width) // 2
    square_CHW = F.pad(picture_CHW, (left, longest - width - left, top, longest - height - top))
    sized_CHW = F.interpolate(square_CHW[None], (side, side), mode="bicubic", antialias=True)[0]
    return (sized_CHW - 0.5) / 0.5


def read_codes(vectors_BKHW: Tensor) -> Tensor:
    """The code of each place, [B, H x W], row by row: its bits are the signs, the first one the most significant."""
    bits_BKN = (vectors_BKHW > 0).flatten(2).long()
    weights_K = 2 ** torch.arange(bits_BKN.shape[1] - 1, -1, -1, device=bits_BKN.device)
    return (bits_BKN * weights_K[:, None]).sum(1)


def write_signs(codes: Tensor, bits: int) -> Tensor:
    """The vector of -1 and 1 that each code stands for, […, K]."""
    shifts_K = torch.arange(bits - 1, -1, -1, device=codes.device)
    return ((codes[..., None] >> shifts_K) & 1) * 2.0 - 1
