"""What imagined depth and normals are worth in space. Shapes: B clips, H x W pixels, P points."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from data_modules.episodes.normals import derive_normals
from mirage_pl.deepverse.clouds import place_points
from mirage_pl.deepverse.pictures import measure_angles, measure_depth_error
from mirage_pl.deepverse.surfaces import refine_depth
from mirage_pl.engine.seams import Measure

WITHIN = 11.25
"""Degrees."""
MOST = 1024
"""Pixels of which points are compared; of more every second or third counts, in each direction."""
NORMALS: Mapping[str, Measure] = {
    "angle": Measure("mean", "lower", "°", "median angle between normals and the true ones, mean over frames."),
    "angle_mean": Measure("mean", "lower", "°", "mean angle between normals and the true ones."),
    "within": Measure("mean", "higher", meaning=f"share of normals that are off by less than {WITHIN}°."),
}
POINTS: Mapping[str, Measure] = {
    "chamfer": Measure(
        "mean", "lower", meaning="Chamfer: from a point to the nearest true one, and back, mean, in the poses' unit."
    ),
    "angle_depth": Measure("mean", "lower", "°", "median angle of normals that are made of the imagined depth."),
}
REFINED: Mapping[str, Measure] = {
    "absrel_refined": Measure(
        "mean",
        "lower",
        meaning="AbsRel refined: of depth that was made to agree with normals.",
    ),
    "gain": Measure(
        "mean", "higher", meaning="gain: AbsRel of the depth as it was imagined less that of the refined one."
    ),
}
"""Of the last frame of the next unit, as all of ``POINTS``."""


def measure_normals(ours_BTHW3: Tensor, truth_BTHW3: Tensor) -> dict[str, Tensor]:
    """Measures of normals, of each frame, [B T]; no number where no true one is known."""
    angles_MP = measure_angles(ours_BTHW3, truth_BTHW3).flatten(2).flatten(0, 1)
    return {
        "angle": angles_MP.nanmedian(1).values,
        "angle_mean": angles_MP.nanmean(1),
        "within": (angles_MP < WITHIN).sum(1) / angles_MP.isfinite().sum(1),
    }


def measure_points(
    ours: Mapping[str, Tensor], truth: Mapping[str, Tensor], lens_B33: Tensor, strength: float
) -> dict[str, list[float]]:
    """Measures of the points of one frame of each clip, by measure.

    Args:
        ours: imagined ``disparity``: depth, [B, H, W]; and ``normals``, [B, H, W, 3], where there are any.
        truth: the same.
        lens_B33: of the cameras.
        strength: how much the imagined depth counts where it is refined.
    """
    rows: dict[str, list[float]] = {}
    for row, depth_HW in enumerate(ours["disparity"]):
        far_HW, lens_33 = truth["disparity"][row], lens_B33[row]
        values = {"chamfer": measure_chamfer(depth_HW, far_HW, lens_33)}
        exact = truth["normals"][row] if "normals" in truth else make_normals(far_HW, lens_33)
        derived = make_normals(depth_HW, lens_33)
        values["angle_depth"] = float(measure_angles(derived[None, None], exact[None, None]).nanmedian())
        if "normals" in ours:
            refined = refine_depth(depth_HW, ours["normals"][row], lens_33, strength)
            pair = depth_HW[None, None], refined[None, None]
            raw, after = (float(measure_depth_error(each, far_HW[None, None])) for each in pair)
            values |= {"absrel_refined": after, "gain": raw - after}
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    return rows


def make_normals(depth_HW: Tensor, lens_33: Tensor) -> Tensor:
    """Normals of depth, [H, W, 3]."""
    return torch.from_numpy(derive_normals(depth_HW[None].cpu().numpy(), lens_33[None].cpu().numpy())[0]).to(depth_HW)


def measure_chamfer(ours_HW: Tensor, truth_HW: Tensor, lens_33: Tensor) -> float:
    """Mean distance from the points of a depth to the nearest ones of another, and back; no number without points."""
    still = torch.eye(4, dtype=ours_HW.dtype, device=ours_HW.device)
    thin = slice(None, None, math.ceil((ours_HW.numel() / MOST) ** 0.5))
    ours_P3, truth_P3 = (
        place_points(each, still, lens_33)[thin, thin][each[thin, thin] > 0] for each in (ours_HW, truth_HW)
    )
    if not len(ours_P3) or not len(truth_P3):
        return float("nan")
    apart_PP = torch.cdist(ours_P3, truth_P3, compute_mode="donot_use_mm_for_euclid_dist")
    return float((apart_PP.amin(1).mean() + apart_PP.amin(0).mean()) / 2)
