"""Is one row better than another on the same cases? The papers' paired t-test (SAMora, supplement B.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """Mean of the paired differences, its 95 % confidence interval and the two-sided p.

    ``low``, ``high`` and ``p`` are None where nothing can be tested: fewer than two cases, or all differences alike.
    """

    mean: float
    low: float | None
    high: float | None
    p: float | None
    cases: int


def paired_difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """``ours`` - ``theirs`` of the same cases in the same order, by Student's t for paired samples.

    It takes the differences for independent and normally distributed. With few cases that cannot be checked, and an
    interval of three cases is wide for want of cases, whatever the models do.

    Raises:
        ValueError: no case, or not the same number of them.
    """
    if len(ours) != len(theirs) or not ours:
        raise ValueError(f"{len(ours)} and {len(theirs)} cases cannot be paired; compare runs of the same cases.")
    differences = np.subtract(ours, theirs)
    mean, cases = float(differences.mean()), len(differences)
    if cases < 2 or np.allclose(differences, mean, rtol=0, atol=1e-12):
        return Difference(mean, None, None, None, cases)
    from scipy.stats import ttest_rel

    test = ttest_rel(ours, theirs)
    interval = test.confidence_interval(CONFIDENCE)
    return Difference(mean, float(interval.low), float(interval.high), float(test.pvalue), cases)
