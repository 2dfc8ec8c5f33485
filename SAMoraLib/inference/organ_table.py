"""What was found: volume and mean intensity of every organ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from SAMoraLib.labels import LabelSet
from SAMoraLib.volume import Volume


@dataclass(frozen=True)
class OrganRow:
    """One organ of a label volume.

    Attributes:
        volume_ml: size in ml.
        mean_intensity: mean of the image inside (HU for CT); None when not found, or no number.
        confidence: mean softmax probability of its voxels; None when not found, not known, or no number.
    """

    name: str
    title: str
    voxels: int
    volume_ml: float
    mean_intensity: float | None
    confidence: float | None = None

    @property
    def found(self) -> bool:
        return self.voxels > 0


def organ_table(segmentation: Volume, labels: LabelSet, image: Volume, organs: Sequence[str] | None = None,
                confidence: Mapping[str, float] | None = None) -> list[OrganRow]:
    """A row for every organ, or for those asked for, in the order of ``labels``; an absent one has 0 voxels."""
    counts, sums = np.zeros(len(labels) + 1, int), np.zeros(len(labels) + 1)
    for values, intensities in zip(segmentation.array, image.array, strict=True):  # bincount takes 16 bytes a voxel
        counts += np.bincount(values.ravel(), minlength=len(counts))
        sums += np.bincount(values.ravel(), weights=intensities.ravel(), minlength=len(counts))
    rows = []
    for label in labels:
        if organs is not None and label.name not in organs:
            continue
        count = int(counts[label.value])
        mean = float(sums[label.value] / count) if count else None
        rows.append(OrganRow(label.name, label.title, count, count * segmentation.voxel_volume_ml, _finite(mean),
                             _finite((confidence or {}).get(label.name))))
    return rows


def _finite(number: float | None) -> float | None:
    """JSON, by which tables travel, has neither infinities nor NaN."""
    return number if number is not None and math.isfinite(number) else None
