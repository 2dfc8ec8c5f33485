"""Appearance: CT in HU with the tissues' means, and random contrasts for training."""

from __future__ import annotations

import numpy as np
import pytest

from SAMoraLib.demo.painting import contrast_medium, paint_any, paint_ct, paint_random
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.demo.tissues import STRUCTURE, TISSUES
from Testing.closeness import assert_close
from Testing.library.demo import patients


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


def only(name: str, shape: tuple[int, int, int] = (12, 24, 24)) -> np.ndarray:
    return np.full(shape, STRUCTURE[name], np.uint8)


@pytest.mark.parametrize("seed", patients.CT_SEEDS)
def test_a_seed_has_the_same_ct_in_every_version(seed: int) -> None:
    found = paint_ct(patients.block_of_tissues(), patients.SPACING, np.random.default_rng(seed))
    off = np.abs(found.astype(int) - patients.kept(f"ct_{seed}"))
    assert off.max() <= 1 and (off > 0).mean() < 0.01  # rounded the other way


@pytest.mark.parametrize("seed", patients.CT_SEEDS)
def test_a_seed_has_the_same_contrast_medium_in_every_version(seed: int) -> None:
    found = contrast_medium(patients.block_of_tissues(), patients.SPACING, np.random.default_rng(seed))
    assert_close(found, patients.kept(f"contrast_{seed}"))


@pytest.mark.parametrize("seed", patients.RANDOM_SEEDS)
def test_a_seed_has_the_same_random_contrast_in_every_version(seed: int) -> None:
    found = paint_random(patients.block_of_tissues(), np.random.default_rng(seed))
    assert_close(found, patients.kept(f"random_{seed}"))


def test_air_has_its_hounsfield_units_and_the_noise_of_a_scanner() -> None:
    """What no patient's tissue varies: its mean does not depend on the seed, its noise lies between 8 and 18 HU."""
    for seed in range(5):
        ct = paint_ct(only("bowel_gas"), (1.0, 1.0, 1.0), np.random.default_rng(seed))
        assert ct.dtype == np.int16
        assert abs(float(ct.mean()) + 900) < 5
        assert 7.9 < ct.std() < 18.1


def test_a_ct_begins_at_the_least_that_scanners_store() -> None:
    """The noise of air at -1000 HU would go below."""
    for seed in range(3):
        ct = paint_ct(only("air"), (1.0, 1.0, 1.0), np.random.default_rng(seed))
        assert ct.min() == -1024 and ct.max() < -900


def test_a_voxel_takes_part_of_its_neighbours_as_far_as_the_scanner_blurs() -> None:
    """Gas beside fat, 800 HU apart: at slices of 1 mm a good quarter goes over, at slices of 8 mm next to nothing."""
    structures = np.concatenate([only("bowel_gas"), only("perirenal_fat")])
    for step, least, most in ((1.0, 160, 260), (8.0, -8, 16)):
        slices = paint_ct(structures, (1.0, 1.0, step), np.random.default_rng(0)).mean(axis=(1, 2))
        assert least < slices[11] - slices[:8].mean() < most


def test_contrast_medium_adds_nothing_to_gas_and_fat_and_its_uptake_to_vessels() -> None:
    aorta = TISSUES[STRUCTURE["aorta"]].uptake
    for seed in range(6):
        rng = np.random.default_rng(seed)
        assert not contrast_medium(only("air"), (1.0, 1.0, 1.0), rng).any()
        assert not contrast_medium(only("visceral_fat"), (1.0, 1.0, 1.0), rng).any()
        added = contrast_medium(only("aorta"), (1.0, 1.0, 1.0), rng)
        assert added.dtype == np.float32
        assert 0.3 * 0.5 * aorta < added.min() <= added.max() < 1.15 * 1.5 * aorta


def test_without_contrast_medium_a_ct_is_as_the_tissues_are_by_themselves() -> None:
    """One phase in two: the aorta then is within its spread of 42 HU, else well above."""
    means = [float(paint_ct(only("aorta"), (2.0, 2.0, 2.0), np.random.default_rng(seed)).mean()) for seed in range(12)]
    plain = [mean for mean in means if mean < 90]
    assert 3 <= len(plain) <= 9
    assert abs(np.mean(plain) - 42) < 20
    assert all(mean < 42 + 1.15 * 1.5 * 115 + 60 for mean in means)


def test_any_contrast_is_a_cts_or_a_random_one_on_a_scale_of_its_own(structures):
    spacing, in_hu = (5.0, 5.0, 8.0), 0
    for seed in range(6):
        grey, rng = paint_any(structures, spacing, np.random.default_rng(seed)), np.random.default_rng(seed)
        assert grey.dtype == np.int16
        if rng.random() < 0.25:
            in_hu += 1
            assert np.array_equal(grey, paint_ct(structures, spacing, rng))
        else:
            scale = 200 + 2800 * rng.random()
            assert np.abs(grey - scale * paint_random(structures, rng)).max() <= 0.51
    assert 1 <= in_hu <= 4
