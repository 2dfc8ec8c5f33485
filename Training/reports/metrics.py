"""Dice, HD95 and NSD of one organ in one volume, and what published work counts when an organ is absent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

NAN = math.nan
METRICS = ("dice", "hd95", "nsd")

# How far a surface may be off, mm: FLARE 2022's numbers, where it has the organ.
TOLERANCES = {"spleen": 3.0, "right_kidney": 3.0, "left_kidney": 3.0, "gallbladder": 2.0, "liver": 5.0, "stomach": 5.0,
              "aorta": 2.0, "pancreas": 5.0, "esophagus": 3.0, "duodenum": 7.0, "inferior_vena_cava": 2.0,
              "right_adrenal_gland": 2.0, "left_adrenal_gland": 2.0}
OTHER_TOLERANCE = 3.0  # our choice


@dataclass(frozen=True)
class Score:
    """``dice`` and ``nsd`` in [0, 1]; ``hd95`` in the convention's unit; NaN where there is nothing to measure."""

    dice: float
    hd95: float
    nsd: float = NAN


@dataclass(frozen=True)
class Convention:
    """How an organ scores when prediction or reference is empty; an infinite HD95 stands for the image's diagonal.

    Attributes:
        unit: of HD95: "mm", "voxels" (spacing ignored), or None where the published code has no HD95. NSD needs mm.
    """

    unit: str | None
    both_empty: Score
    only_prediction: Score
    only_reference: Score


CONVENTIONS = {
    # Ours. An absent organ is left out of means; a missed or invented one gets the worst of both, so that no model
    # gains by leaving out what is hard.
    "strict": Convention("mm", Score(NAN, NAN), Score(0.0, math.inf, 0.0), Score(0.0, math.inf, 0.0)),
    # SAMed, H-SAM (and TransUNet before them): an invented organ scores full marks, an absent one none.
    "samed": Convention("voxels", Score(0.0, 0.0), Score(1.0, 0.0), Score(0.0, 0.0)),
    "ma_sam": Convention(None, Score(1.0, NAN), Score(0.0, NAN), Score(0.0, NAN)),
}


def score(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], convention: str = "strict",
    tolerance: float = OTHER_TOLERANCE,
) -> Score:
    """Dice, HD95 and NSD of two masks of the same shape (D, H, W).

    Args:
        spacing: mm along the arrays' axes, hence (k, j, i).
        convention: a key of ``CONVENTIONS``.
        tolerance: of the NSD, mm.

    Raises:
        ValueError: unknown convention, or the shapes differ.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"Unknown convention '{convention}'; choose from {', '.join(CONVENTIONS)}.")
    rule = CONVENTIONS[convention]
    scale = tuple(spacing) if rule.unit == "mm" else (1.0,) * prediction.ndim
    found, present = bool(prediction.any()), bool(reference.any())
    if found and present:
        return Score(dice(prediction, reference), hd95(prediction, reference, scale) if rule.unit else NAN,
                     nsd(prediction, reference, tolerance, scale) if rule.unit == "mm" else NAN)
    empty = rule.only_prediction if found else rule.only_reference if present else rule.both_empty
    diagonal = math.hypot(*np.multiply(prediction.shape, scale))
    return replace(empty, hd95=diagonal) if math.isinf(empty.hd95) else empty


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """2 |P and R| / (|P| + |R|) of two masks; NaN when both are empty.

    Raises:
        ValueError: the shapes differ.
    """
    prediction, reference = _masks(prediction, reference)
    total = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / total if total else NAN


def hd95(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float] | None = None) -> float:
    """95th percentile of all distances from either surface to the other; NaN when a mask is empty.

    As ``medpy.metric.binary.hd95``: surface voxels are those with a face towards the outside, and the distances of
    both directions are pooled before the percentile is taken.

    Args:
        spacing: mm along the arrays' axes; None counts in voxels.

    Raises:
        ValueError: the shapes differ.
    """
    prediction, reference = _masks(prediction, reference)
    if not prediction.any() or not reference.any():
        return NAN
    box = _bounding_box(prediction | reference)
    surfaces = [_points(_surface(mask[box]), spacing) for mask in (prediction, reference)]
    return float(np.percentile(np.concatenate([_distances(*surfaces), _distances(*surfaces[::-1])]), 95))


def nsd(prediction: np.ndarray, reference: np.ndarray, tolerance: float, spacing: Sequence[float]) -> float:
    """Normalised surface dice: the share of both surfaces that lies within ``tolerance`` of the other one.

    As DeepMind's ``surface-distance`` (Nikolov et al. 2021) and MONAI's ``compute_surface_dice`` with subvoxels: the
    surface passes between the voxels, each of its elements counts with its area in mm2, so that thick slices do not
    distort the share.

    Args:
        tolerance: mm.
        spacing: mm along the arrays' axes.

    Returns:
        a share in [0, 1]; NaN when both masks are empty, 0 when one is.

    Raises:
        ValueError: the shapes differ.
    """
    prediction, reference = _masks(prediction, reference)
    if not prediction.any() or not reference.any():
        return 0.0 if prediction.any() or reference.any() else NAN
    box = _bounding_box(prediction | reference)
    (first, first_areas), (second, second_areas) = _surface_elements(prediction[box], reference[box], spacing)
    within = (first_areas[_distances(first, second) <= tolerance].sum()
              + second_areas[_distances(second, first) <= tolerance].sum())
    return float(within / (first_areas.sum() + second_areas.sum()))


def _surface_elements(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions (n, 3) in mm and areas (n,) in mm2 of each mask's surface elements."""
    import torch
    from monai.metrics.utils import get_mask_edges

    spacing = [float(s) for s in spacing]
    edges_and_areas = get_mask_edges(torch.from_numpy(prediction), torch.from_numpy(reference), spacing=spacing)
    *edges, areas, other_areas = [tensor.numpy() for tensor in edges_and_areas]
    return [(_points(edge, spacing), area[edge].astype(np.float64))
            for edge, area in zip(edges, (areas, other_areas), strict=True)]


def _masks(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prediction.shape != reference.shape:
        raise ValueError(f"The prediction has shape {prediction.shape} but the reference {reference.shape}; "
                         f"compare them on one grid.")
    return prediction.astype(bool), reference.astype(bool)


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    return tuple(_occupied(mask, axis) for axis in range(mask.ndim))


def _occupied(mask: np.ndarray, axis: int) -> slice:
    """From the first to the last place along an axis where the mask is."""
    others = tuple(other for other in range(mask.ndim) if other != axis)
    at = np.flatnonzero(mask.any(axis=others))
    return slice(int(at[0]), int(at[-1]) + 1)


def _surface(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion, generate_binary_structure

    surface: np.ndarray = mask & ~binary_erosion(mask, generate_binary_structure(mask.ndim, 1))
    return surface


def _points(mask: np.ndarray, spacing: Sequence[float] | None) -> np.ndarray:
    return np.argwhere(mask) * (1.0 if spacing is None else np.asarray(spacing, dtype=np.float64))


def _distances(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Of each point to the nearest of ``to``: a tree of surface points, as a distance map of an organ's box is slow."""
    from scipy.spatial import cKDTree

    distances: np.ndarray = cKDTree(to).query(points)[0]
    return distances
