"""Dice and HD95 of one organ in one volume, and what published work counts when an organ is absent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NAN = math.nan


@dataclass(frozen=True)
class Score:
    """``dice`` in [0, 1]; ``hd95`` in the convention's unit; NaN where there is nothing to measure."""

    dice: float
    hd95: float


@dataclass(frozen=True)
class Convention:
    """How an organ scores when prediction or reference is empty; an infinite HD95 stands for the image's diagonal.

    Attributes:
        unit: of HD95: "mm", "voxels" (spacing ignored), or None where the published code has no HD95.
    """

    unit: str | None
    both_empty: Score
    only_prediction: Score
    only_reference: Score


CONVENTIONS = {
    # Ours. An absent organ is left out of means; a missed or invented one gets the worst of both, so that no model
    # gains by leaving out what is hard.
    "strict": Convention("mm", Score(NAN, NAN), Score(0.0, math.inf), Score(0.0, math.inf)),
    # SAMed, H-SAM (and TransUNet before them): an invented organ scores full marks, an absent one none.
    "samed": Convention("voxels", Score(0.0, 0.0), Score(1.0, 0.0), Score(0.0, 0.0)),
    "ma_sam": Convention(None, Score(1.0, NAN), Score(0.0, NAN), Score(0.0, NAN)),
}


def score(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float], convention: str = "strict"
) -> Score:
    """Dice and HD95 of two masks of the same shape (D, H, W).

    Args:
        spacing: mm along the arrays' axes, hence (k, j, i).
        convention: a key of ``CONVENTIONS``.

    Raises:
        ValueError: unknown convention, or the shapes differ.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"Unknown convention '{convention}'; choose from {', '.join(CONVENTIONS)}.")
    rule = CONVENTIONS[convention]
    scale = tuple(spacing) if rule.unit == "mm" else (1.0,) * prediction.ndim
    found, present = bool(prediction.any()), bool(reference.any())
    if found and present:
        return Score(dice(prediction, reference), hd95(prediction, reference, scale) if rule.unit else NAN)
    empty = rule.only_prediction if found else rule.only_reference if present else rule.both_empty
    diagonal = math.hypot(*np.multiply(prediction.shape, scale))
    return Score(empty.dice, diagonal if math.isinf(empty.hd95) else empty.hd95)


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
    surfaces = _surface(prediction[box]), _surface(reference[box])
    return float(np.percentile(np.concatenate([_distances(*surfaces, spacing), _distances(*surfaces[::-1], spacing)]),
                               95))


def _masks(prediction: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if prediction.shape != reference.shape:
        raise ValueError(f"The prediction has shape {prediction.shape} but the reference {reference.shape}; "
                         f"compare them on one grid.")
    return prediction.astype(bool), reference.astype(bool)


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    axes = range(mask.ndim)
    occupied = [np.flatnonzero(mask.any(axis=tuple(a for a in axes if a != axis))) for axis in axes]
    return tuple(slice(int(at[0]), int(at[-1]) + 1) for at in occupied)


def _surface(mask: np.ndarray) -> np.ndarray:
    from scipy.ndimage import binary_erosion, generate_binary_structure

    surface: np.ndarray = mask & ~binary_erosion(mask, generate_binary_structure(mask.ndim, 1))
    return surface


def _distances(surface: np.ndarray, to: np.ndarray, spacing: Sequence[float] | None) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    distances: np.ndarray = distance_transform_edt(~to, sampling=spacing)[surface]
    return distances
