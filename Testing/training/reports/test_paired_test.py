from __future__ import annotations

import math

import pytest

from Training.reports.paired_test import paired_difference


def test_the_interval_is_students() -> None:
    """Four differences 1, 2, 3, 4: mean 2.5, deviation 1.291, t(0.975, 3) = 3.1824, t = 3.873 and p = 0.0305."""
    found = paired_difference([2, 4, 6, 8], [1, 2, 3, 4])
    half = 3.182446 * math.sqrt(5 / 3) / 2
    assert found.mean == 2.5 and found.cases == 4
    assert (found.low, found.high) == (pytest.approx(2.5 - half, abs=1e-4), pytest.approx(2.5 + half, abs=1e-4))
    assert found.p == pytest.approx(0.0305, abs=1e-4)


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [0.5]), ([1.0, 2.0], [0.5, 1.5])])
def test_nothing_is_tested_where_nothing_varies(ours: list[float], theirs: list[float]) -> None:
    found = paired_difference(ours, theirs)
    assert found.mean == 0.5 and found.p is None and found.low is None


@pytest.mark.parametrize(("ours", "theirs"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_cannot_be_paired_is_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError, match="cannot be paired; compare runs of the same cases"):
        paired_difference(ours, theirs)
