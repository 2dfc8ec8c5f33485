"""Random contrasts for training."""

from __future__ import annotations

import numpy as np
import pytest

from SAMoraLib.demo.painting import paint_random
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.demo.tissues import STRUCTURE


@pytest.fixture(scope="module")
def structures() -> np.ndarray:
    return make_phantom(0, (5.0, 5.0, 8.0)).structures


def test_is_deterministic_and_in_the_unit_range(structures):
    first, again, other = (paint_random(structures, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.dtype == np.float32
    assert first.shape == structures.shape
    assert first.min() >= 0 and first.max() <= 1
    assert first.std() > 0.05
    assert np.array_equal(first, again)
    assert not np.allclose(first, other, atol=0.05)


def test_no_organ_keeps_its_place_in_the_grey_scale(structures):
    """Fat is brighter than liver in some images and darker in others; the same for spleen and muscle."""
    def brighter(one: str, other: str) -> list[bool]:
        masks = [structures == STRUCTURE[name] for name in (one, other)]
        images = (paint_random(structures, np.random.default_rng(seed)) for seed in range(24))
        return [bool(np.median(image[masks[0]]) > np.median(image[masks[1]])) for image in images]

    for pair in (("subcutaneous_fat", "liver"), ("spleen", "muscle"), ("gallbladder", "liver")):
        assert 2 <= sum(brighter(*pair)) <= 22, pair
