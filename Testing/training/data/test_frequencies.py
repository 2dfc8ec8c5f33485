from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.training.conftest import Cases
from Training.data.frequencies import class_frequencies
from Training.data.slices import build_cache


def test_shares_of_the_chosen_slices_alone(cases: Cases, tmp_path: Path) -> None:
    cases.add("a")
    manifest = cases.manifest(tmp_path, train="a")
    preprocessing = Preprocessing("CT", "hu_window", -125, 275, "none", 24)
    cache = build_cache(manifest, manifest.cases, preprocessing, tmp_path / "cache")
    labels = [cache.label(index) for index in range(len(cache))]
    assert class_frequencies(cache, [0], 4) == [1, 0, 0, 0, 0], "the lowest slice has no organ"
    shares = class_frequencies(cache, [2, 3], 4)
    assert sum(shares) == pytest.approx(1)
    for value, share in enumerate(shares):
        assert share == pytest.approx(np.mean([labels[index] == value for index in (2, 3)]))
    assert min(shares) > 0
