"""How much of the training set each class covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from Training.data.slices import SliceCache


def class_frequencies(cache: SliceCache, indexes: Sequence[int], num_classes: int) -> list[float]:
    """Share of background and each class in the pixels of some slices; K = num_classes + 1 numbers that add up to 1."""
    counts = np.zeros(num_classes + 1)
    for index in indexes:
        counts += np.bincount(cache.label(index).ravel(), minlength=num_classes + 1)
    return (counts / counts.sum()).tolist()
