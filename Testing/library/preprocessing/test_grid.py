"""Volumes on a grid of equal steps: torch's interpolation as oracle, and the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from SAMoraLib.preprocessing.grid import grid_labels, grid_shape, grid_slices, linear_weights, positions
from SAMoraLib.preprocessing.slices import prepare_volume
from SAMoraLib.volume import Volume
from Testing.closeness import assert_close
from Testing.small import CT

SPACING = (1.5, 2.0, 5.0)


def volume() -> Volume:
    rng = np.random.default_rng(0)
    array = np.full((8, 30, 40), -1000, np.int16)
    array[:, 3:27, 4:36] = rng.integers(-100, 200, (8, 24, 32))
    return Volume(array, SPACING, (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize(("before", "after"), [(5, 5), (5, 23), (23, 5), (7, 1), (1, 6), (40, 17)])
def test_weights_are_torchs(before: int, after: int) -> None:
    values = torch.rand(before)
    image = values[None, None, :, None].repeat(1, 1, 1, 4)
    expected = F.interpolate(image, (after, 4), mode="bilinear", antialias=True)[0, 0, :, 0]
    assert_close(linear_weights(before, after) @ values.numpy(), expected)


def test_a_grid_has_equal_steps() -> None:
    prepared = prepare_volume(volume(), replace(CT, spacing=2.5))
    height, width = prepared.box.shape
    assert grid_shape(prepared, 2.5) == (16, round(height * 2.0 / 2.5), round(width * 1.5 / 2.5))
    assert grid_shape(prepared, 0) == (8, 32, 32)


def test_slices_are_the_same_however_they_are_asked_for() -> None:
    prepared = prepare_volume(volume(), replace(CT, spacing=2.5))
    depth = grid_shape(prepared, 2.5)[0]
    whole = grid_slices(prepared, 2.5, 0, depth)
    assert whole.dtype == np.float32 and whole.min() >= 0 and whole.max() <= 1
    parts = [grid_slices(prepared, 2.5, start, min(start + 3, depth)) for start in range(0, depth, 3)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(grid_slices(prepared, 0, 2, 5), prepared.slices(2, 5))


def test_labels_lie_where_the_image_does() -> None:
    """Bright voxels and their label, far apart: on the grid each label is where the image is bright."""
    source = volume()
    source.array[source.array > -1000] = -125
    label = np.zeros(source.array.shape, np.uint8)
    label[2:6, 8:20, 10:30] = 1
    source.array[label > 0] = 275
    prepared = prepare_volume(source, replace(CT, spacing=1.0))
    depth = grid_shape(prepared, 1.0)[0]
    image = grid_slices(prepared, 1.0, 0, depth)[:, 0]
    assert (grid_labels(label, prepared, 1.0) != (image > 0.5)).mean() < 0.01


def test_places_on_the_grid() -> None:
    assert positions(slice(0, 4), 4, 4).tolist() == [0, 1, 2, 3]
    assert positions(slice(0, 2), 2, 4).tolist() == [0.5, 2.5]
    assert positions(slice(0, 4), 4, 2).tolist() == [0, 0.25, 0.75, 1]


def test_a_grid_has_at_least_one_place_along_every_axis() -> None:
    prepared = prepare_volume(volume(), replace(CT, spacing=2.5))
    assert grid_shape(prepared, 1000.0) == (1, 1, 1)
    assert grid_slices(prepared, 1000.0, 0, 1).shape == (1, 1, 1, 1)
    assert grid_labels(np.ones((8, 30, 40), np.uint8), prepared, 1000.0).tolist() == [[[1]]]


def test_labels_come_from_the_nearest_voxel() -> None:
    """Slices of 5 mm on steps of 2.5 come twice each, and of 10 every other one."""
    labels = np.arange(1, 9, dtype=np.uint8)[:, None, None] * np.ones((8, 30, 40), np.uint8)
    prepared = prepare_volume(volume(), replace(CT, spacing=2.5))
    assert grid_labels(labels, prepared, 2.5)[:, 6, 8].tolist() == [n for n in range(1, 9) for _ in "ab"]
    assert grid_labels(labels, prepared, 10.0)[:, 2, 2].tolist() == [2, 4, 6, 8]


def test_white_stays_white() -> None:
    """Weights add up to 1 within rounding, and nothing is brighter than 1."""
    source = volume()
    source.array[:] = 3000
    prepared = prepare_volume(source, replace(CT, spacing=0.7))
    depth = grid_shape(prepared, 0.7)[0]
    found = grid_slices(prepared, 0.7, 0, depth)
    assert found.max() == 1 and depth == 57
