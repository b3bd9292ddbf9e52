"""Cameras as pictures of rays, and back.

Shapes: N cameras, H x W pixels, h x w places of P x P pixels. A map is [N, 6, h, w]: the direction of the ray through a
place, of length 1, and where the camera is, both as the camera before sees them.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

CENTRE = 0.5
"""Of a pixel."""


def draw_directions(intrinsics_N33: Tensor, size: tuple[int, int], patch: int, compat: bool) -> Tensor:
    """Rays through the places of cameras that aren't turned, at depth 1, [N, 3, h, w].

    Args:
        intrinsics_N33: in pixels.
        size: H and W, each a multiple of ``patch``.
        patch: P.
        compat: take a pixel's corner for its centre, as released: rotations come back turned by a tenth of a degree.
    """
    height, width = size
    like, first = intrinsics_N33, 0.0 if compat else CENTRE
    rows_H, columns_W = (torch.arange(count, dtype=like.dtype, device=like.device) + first for count in (height, width))
    (fx_N, fy_N), (cx_N, cy_N) = (
        intrinsics_N33[:, [0, 1], [0, 1]].unbind(1),
        intrinsics_N33[:, [0, 1], [2, 2]].unbind(1),
    )
    x_NHW = ((columns_W[None] - cx_N[:, None]) / fx_N[:, None])[:, None].expand(-1, height, -1)
    y_NHW = ((rows_H[None] - cy_N[:, None]) / fy_N[:, None])[:, :, None].expand(-1, -1, width)
    return F.avg_pool2d(torch.stack((x_NHW, y_NHW, torch.ones_like(x_NHW)), 1), patch)


def encode_rays(
    relative_N44: Tensor, intrinsics_N33: Tensor, size: tuple[int, int], patch: int = 8, compat: bool = False
) -> Tensor:
    """Draw the maps of cameras.

    Args:
        relative_N44: each as the one before sees it; places are written as they are.
        intrinsics_N33: in pixels.
        size: H and W.
        patch: P.
        compat: as :func:`draw_directions`.
    """
    straight_N3hw = draw_directions(intrinsics_N33, size, patch, compat)
    rays_N3hw = F.normalize(torch.einsum("nij,njhw->nihw", relative_N44[:, :3, :3], straight_N3hw), dim=1)
    places_N3hw = relative_N44[:, :3, 3, None, None].expand_as(rays_N3hw)
    return torch.cat((rays_N3hw, places_N3hw), 1)


def decode_rays(rays_N6hw: Tensor, patch: int = 8, compat: bool = False) -> tuple[Tensor, Tensor]:
    """The cameras of maps that needn't be exact.

    The principal point is taken to be the picture's middle.

    Args:
        rays_N6hw: maps; places are their mean over the map.
        patch: P.
        compat: as released, one focal length for both axes; otherwise each has its own.

    Returns:
        Each camera as the one before sees it, [N, 4, 4], and intrinsics, [N, 3, 3].
    """
    height, width = rays_N6hw.shape[2:]
    rays_N3hw, places_N3 = rays_N6hw[:, :3], rays_N6hw[:, 3:].mean((2, 3))
    middle_N311 = F.normalize(rays_N3hw.mean((2, 3), keepdim=True), dim=1)
    plane_N3hw = rays_N3hw / (rays_N3hw * middle_N311).sum(1, keepdim=True)
    ahead_N3 = plane_N3hw.mean((2, 3))
    across_N3 = (plane_N3hw[..., -1] - plane_N3hw[..., 0]).mean(2)
    down_N3 = (plane_N3hw[:, :, -1] - plane_N3hw[:, :, 0]).mean(2)
    z_N3 = F.normalize(ahead_N3, dim=1)
    x_N3 = F.normalize(across_N3 - (across_N3 * z_N3).sum(1, keepdim=True) * z_N3, dim=1)
    axes_N33 = torch.stack((x_N3, torch.linalg.cross(z_N3, x_N3, dim=1), z_N3), 2)
    # from the middle of the first place to the middle of the last one is one place less than the picture
    focal_2N = torch.stack(
        [
            patch * (count - 1) / torch.linalg.cross(span_N3, z_N3, dim=1).norm(dim=1)
            for span_N3, count in ((across_N3, width), (down_N3, height))
        ]
    )
    focal_2N = focal_2N.mean(0, keepdim=True).expand(2, -1) if compat else focal_2N
    intrinsics_N33 = torch.zeros_like(axes_N33)
    intrinsics_N33[:, [0, 1], [0, 1]] = focal_2N.T
    intrinsics_N33[:, [0, 1], [2, 2]] = torch.tensor([width, height], dtype=axes_N33.dtype) * patch / 2
    intrinsics_N33[:, 2, 2] = 1
    poses_N44 = torch.eye(4, dtype=axes_N33.dtype, device=axes_N33.device).repeat(len(axes_N33), 1, 1)
    poses_N44[:, :3, :3], poses_N44[:, :3, 3] = axes_N33, places_N3
    return poses_N44, intrinsics_N33
