"""What TesserAct is given: a picture, its depth and its normals, cut to a shape and resized as the release does.

Shapes: H x W pixels of what is given, h x w of what is made.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def crop_and_resize(
    map_HWC: Tensor, size: tuple[int, int], mode: Literal["bilinear", "nearest"] = "bilinear"
) -> Tensor:
    """The largest part around the middle of a shape, resized without care for aliases, [h, w, C], of the same type.

    Args:
        map_HWC: of any number of channels.
        size: h and w.
        mode: ``nearest`` mixes nothing.
    """
    height, width = map_HWC.shape[:2]
    if width * size[0] > height * size[1]:
        kept = height, int(height * size[1] / size[0])
    else:
        kept = int(width * size[0] / size[1]), width
    top, left = (height - kept[0]) // 2, (width - kept[1]) // 2
    part = map_HWC[top : top + kept[0], left : left + kept[1]]
    if kept == size:
        return part
    sized = F.interpolate(part.movedim(-1, 0)[None].float(), size, mode=mode)[0].movedim(0, -1)
    return sized if map_HWC.is_floating_point() else sized.round().clamp(0, 255).to(map_HWC.dtype)


def prepare_image(
    colours_HW3: Tensor, depth_HW: Tensor, normals_HW3: Tensor, size: tuple[int, int], compat: bool = False
) -> Tensor:
    """What is encoded, [1, 9, h, w] in [-1, 1]: colours, depth three times (near is 1), normals.

    Args:
        colours_HW3: uint8.
        depth_HW: 0 is near, 1 far, as Marigold has it; [H, W, 1] will do.
        normals_HW3: uint8: red to the right, green up, blue towards the viewer.
        size: h and w.
        compat: as released: depth is taken as it is, so that other ranges come out wrong.

    Raises:
        ValueError: depth outside 0 to 1; with ``compat`` depth [h, w, 1] of the very size, as the release can't either.
    """
    if not compat and not (depth_HW.isfinite().all() and depth_HW.min() >= 0 and depth_HW.max() <= 1):
        raise ValueError(
            f"depth from {depth_HW.min():g} to {depth_HW.max():g} must be 0 (near) to 1 (far); scale it by its range"
        )
    if compat and depth_HW.ndim == 3 and depth_HW.shape[:2] == size:
        raise ValueError(
            f"depth of shape {list(depth_HW.shape)} must be {list(size)}: the release can't copy it to three"
        )
    near_HW1 = 1 - (depth_HW if depth_HW.ndim == 3 else depth_HW[..., None])
    near_HW1 = (near_HW1 + 1) / 2 if compat and near_HW1.min() < 0 else near_HW1
    parts = [crop_and_resize(colours_HW3.float(), size) / 255]
    parts.append(crop_and_resize(near_HW1, size).expand(-1, -1, 3))
    parts.append(crop_and_resize(normals_HW3, size).float() / 255)
    image_19hw = torch.cat(parts, 2).movedim(-1, 0)[None]
    return image_19hw if compat and image_19hw.min() < 0 else image_19hw * 2 - 1
