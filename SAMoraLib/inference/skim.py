"""Which slices of a volume are worth a model's time: a mark (D,) bool for every slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def first_look(wanted: np.ndarray, step: int) -> np.ndarray:
    """Every ``step``-th slice of the volume, so far as it is among the wanted ones or less than ``step`` away.

    The same slices whatever else is wanted, so that a region changes nothing inside.
    """
    return near(wanted, step) & (np.arange(len(wanted)) % step == 0)


def near(marked: np.ndarray, step: int) -> np.ndarray:
    """The marked slices and all that are less than ``step`` away from one."""
    return ndimage.binary_dilation(marked, np.ones(2 * step - 1, bool))
