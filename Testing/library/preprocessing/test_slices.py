"""Slices at the slab's size: right scale, right place, and the same for images and labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from SAMoraLib.preprocessing.body import Box
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.preprocessing.slices import (
    channel_offsets,
    normalise,
    prepare_volume,
    resample_labels,
    resample_slice,
)
from SAMoraLib.volume import Volume
from Testing.closeness import assert_close

CT = Preprocessing("CT", "hu_window", -125, 275, "body", 64)
WHOLE = replace(CT, crop="none")
LPS = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)


def disc(spacing: tuple[float, float, float], radius: float = 40, depth: int = 3) -> tuple[Volume, np.ndarray]:
    """A round body of 100 HU, 120 mm across, with a disc of 275 HU off its centre; and the disc as labels."""
    shape = (depth, round(200 / spacing[1]), round(260 / spacing[0]))
    y = (np.arange(shape[1]) + 0.5)[:, None] * spacing[1] - 100
    x = (np.arange(shape[2]) + 0.5) * spacing[0] - 130
    array = np.where(np.hypot(x, y) < 60, 100, -1000).astype(np.int16)
    labels = np.broadcast_to(np.hypot(x - 15, y + 10) < radius, shape).astype(np.uint8)
    return Volume(np.where(labels, 275, array).astype(np.int16), spacing, (0, 0, 0), LPS), labels


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint16, np.float32, np.float64])
def test_values_are_clipped_and_scaled(dtype: type) -> None:
    values = np.array([0, 100, 150, 300, 9000]).astype(dtype)
    found = normalise(values, (100, 300))
    assert found.dtype == np.float32
    assert found == pytest.approx([0, 0, 0.25, 1, 1])


def test_an_empty_window_divides_by_nothing() -> None:
    assert normalise(np.array([4, 5, 6]), (5, 5)).tolist() == [0, 0, 1]


def test_percentiles_are_those_of_the_body_and_not_of_the_air() -> None:
    rng = np.random.default_rng(0)
    array = np.zeros((5, 100, 100))
    array[:, 20:80, 20:80] = rng.uniform(200, 1000, (5, 60, 60))
    mr = Preprocessing("MR", "percentile", 10, 90, "body", 64)
    low, high = prepare_volume(Volume(array, (3, 3, 5), (0, 0, 0), LPS), mr).window
    assert (low, high) == pytest.approx((280, 920), abs=20)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (0.8, 2.4, 5.0), (2.6, 0.7, 5.0)])
def test_a_disc_stays_round_whatever_the_pixels(spacing: tuple[float, float, float]) -> None:
    volume, _ = disc(spacing)
    bright = prepare_volume(volume, CT).slices(1, 2)[0, 0] > 0.8
    height, width = np.ptp(np.flatnonzero(bright.any(axis=1))), np.ptp(np.flatnonzero(bright.any(axis=0)))
    assert height == pytest.approx(width, abs=4)
    assert width == pytest.approx(64 * 80 / 125, abs=4)  # 80 of 125 mm


@pytest.mark.parametrize("preprocessing", [CT, WHOLE])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (0.8, 2.4, 5.0), (0.5, 0.5, 5.0), (5.0, 4.0, 5.0)])
def test_labels_lie_where_the_image_shows_them(preprocessing: Preprocessing,
                                               spacing: tuple[float, float, float]) -> None:
    volume, labels = disc(spacing)
    prepared = prepare_volume(volume, preprocessing)
    seen = prepared.slices(0, 1)[0, 0] > 0.8
    drawn = resample_labels(labels, prepared.box, 64)[0] == 1
    rows, columns = np.nonzero(seen)
    drawn_rows, drawn_columns = np.nonzero(drawn)
    assert rows.mean() == pytest.approx(drawn_rows.mean(), abs=0.35)
    assert columns.mean() == pytest.approx(drawn_columns.mean(), abs=0.35)
    assert 2 * (seen & drawn).sum() / (seen.sum() + drawn.sum()) > 0.93


def test_without_a_crop_the_whole_slice_fills_the_slab() -> None:
    """As in SAMed: stretched, without regard to the aspect."""
    volume = Volume(np.full((2, 30, 50), 275, np.int16), (1, 1, 1), (0, 0, 0), LPS)
    assert_close(prepare_volume(volume, WHOLE).slices(0, 2), np.ones((2, 1, 64, 64)))


def test_beyond_the_image_is_0() -> None:
    volume = Volume(np.full((1, 30, 60), 275, np.int16), (3, 3, 3), (0, 0, 0), LPS)
    found = prepare_volume(volume, CT).slices(0, 1)[0, 0]
    assert found[0].max() == 0 and found[-1].max() == 0 and found[32, 32] == pytest.approx(1, rel=1e-4)


def test_shrinking_averages_instead_of_picking() -> None:
    noise = np.random.default_rng(0).random((256, 256), np.float32)
    assert resample_slice(noise, 32).std() < 0.25 * noise.std()  # 64 pixels become one


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 48), st.integers(0, 5))
def test_slices_stay_within_0_and_1(height: int, width: int, size: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 2, (height, width)).astype(np.float32)
    found = resample_slice(image, size)
    assert found.shape == (size, size) and found.dtype == np.float32
    assert found.min() >= 0 and found.max() <= 1


def test_a_slice_is_the_same_in_any_batch() -> None:
    volume, _ = disc((1.3, 1.1, 5.0), depth=7)
    volume.array[...] += np.random.default_rng(0).integers(-50, 50, volume.array.shape, dtype=np.int16)
    prepared = prepare_volume(volume, CT)
    together = prepared.slices(0, 7)
    assert together.shape == (7, 1, 64, 64) and together.dtype == np.float32
    assert np.array_equal(together, np.concatenate([prepared.slices(n, n + 1) for n in range(7)]))


@given(st.floats(0.5, 12), st.floats(0.5, 12))
def test_neighbours_lie_nearest_to_the_distance_asked_for(spacing: float, distance: float) -> None:
    below, own, above = channel_offsets(spacing, distance)
    assert (own, below) == (0, -above) and above >= 1
    others = [abs(offset * spacing - distance) for offset in range(1, 40)]
    assert abs(above * spacing - distance) == pytest.approx(min(others))


def test_neighbours_are_the_slices_below_and_above() -> None:
    volume, _ = disc((1.3, 1.1, 5.0), depth=7)
    volume.array[...] += np.random.default_rng(0).integers(-50, 50, volume.array.shape, dtype=np.int16)
    alone = prepare_volume(volume, CT).slices(0, 7)[:, 0]
    beside = prepare_volume(volume, replace(CT, neighbours=10.0)).slices(0, 7)
    assert beside.shape == (7, 3, 64, 64)
    for number, (below, above) in enumerate([(0, 2), (0, 3), (0, 4), (1, 5), (2, 6), (3, 6), (4, 6)]):
        assert np.array_equal(beside[number], alone[[below, number, above]])


def test_rows_may_run_to_anterior() -> None:
    """The same slices and labels upside down, and the way back ends where it began."""
    volume, labels = disc((0.8, 2.4, 5.0))
    upright, turned = (prepare_volume(volume, replace(WHOLE, rows=rows)) for rows in ("posterior", "anterior"))
    assert_close(turned.slices(0, 3), upright.slices(0, 3)[:, :, ::-1].copy())
    assert not np.array_equal(turned.slices(0, 3), upright.slices(0, 3))
    seen, expected = (resample_labels(one.reorientation.apply(labels), one.box, 64) for one in (turned, upright))
    np.testing.assert_array_equal(seen, expected[:, ::-1])
    np.testing.assert_array_equal(turned.reorientation.restore(turned.reorientation.apply(labels)), labels)


def test_voxels_are_not_copied_to_float() -> None:
    """Memory must not grow with the number of slices."""
    volume, _ = disc((1.0, 1.0, 5.0))
    assert prepare_volume(volume, CT).array.dtype == np.int16


def test_labels_keep_their_type_and_are_0_beyond_the_image() -> None:
    labels = np.full((2, 10, 10), 7, np.uint8)
    found = resample_labels(labels, Box(-10, 20, 0, 10), 30)
    assert found.dtype == np.uint8
    assert set(np.unique(found[:, 10:20])) == {7} and not found[:, :10].any() and not found[:, 20:].any()


@given(st.integers(1, 30), st.integers(1, 30))
def test_labels_at_their_own_size_are_unchanged(height: int, width: int) -> None:
    side = max(height, width)
    labels = np.arange(height * width).reshape(1, height, width)
    found = resample_labels(labels, Box(0, side, 0, side), side)
    assert np.array_equal(found[:, :height, :width], labels)
