"""Canonical orientation: the same for all 48 ways to store a grid, and no voxel leaves its place."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from SAMoraLib.volume import Volume, to_canonical
from SAMoraLib.volume.orientation import DIRECTIONS

COPIES = [(list(order), list(signs)) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]
angles = st.one_of(st.floats(-180, 180), st.sampled_from([-135.0, -90.0, -45.0, 0.0, 45.0, 90.0, 180.0]))


def make_volume(x: float = 0, y: float = 0, z: float = 0, mirrored: bool = False,
                shape: tuple[int, int, int] = (2, 3, 4)) -> Volume:
    """A grid turned by the Euler angles, every voxel different."""
    direction = Rotation.from_euler("xyz", (x, y, z), degrees=True).as_matrix() * ((-1, 1, 1) if mirrored else 1)
    return Volume(np.arange(np.prod(shape)).reshape(shape), (0.7, 1.3, 5.0), (-101.5, 33.25, 870.0),
                  tuple(direction.ravel().tolist()))


def stored_otherwise(volume: Volume, order: list[int], signs: list[int]) -> Volume:
    """The same points of the patient on a grid whose axis n is the old axis ``order[n]``, reversed if its sign is -1.

    Written from the definition, voxel by voxel, to share no code with what it tests.
    """
    size = volume.array.shape[::-1]
    array = np.empty([size[axis] for axis in reversed(order)], volume.array.dtype)
    first = [size[axis] - 1 if sign < 0 else 0 for axis, sign in zip(order, signs, strict=True)]
    for new in np.ndindex(*array.shape[::-1]):
        old = [0, 0, 0]
        for n, axis in enumerate(order):
            old[axis] = first[n] + signs[n] * new[n]
        array[new[::-1]] = volume.array[tuple(reversed(old))]
    corner = np.ones(4)
    corner[order] = first
    direction = np.reshape(volume.direction, (3, 3))[:, order] * signs
    x, y, z = (volume.ijk_to_lps @ corner)[:3].tolist()
    a, b, c = (volume.spacing[axis] for axis in order)
    return Volume(array, (a, b, c), (x, y, z), tuple(direction.ravel().tolist()))


@given(angles, angles, angles, st.booleans())
@example(45.0, 0.0, 0.0, False)
@example(0.0, 45.0, 45.0, True)
@example(45.0, 45.0, 45.0, False)
def test_all_48_copies_of_a_grid_have_one_canonical_form(x: float, y: float, z: float, mirrored: bool) -> None:
    volume = make_volume(x, y, z, mirrored)
    expected, _ = to_canonical(volume)
    for order, signs in COPIES[::5]:
        found, _ = to_canonical(stored_otherwise(volume, order, signs))
        assert np.array_equal(found.array, expected.array)
        assert found.spacing == expected.spacing and found.direction == expected.direction
        assert found.origin == pytest.approx(expected.origin)


def test_every_single_copy_of_a_tied_grid_has_one_canonical_form() -> None:
    volume = make_volume(45, 45, 45)
    expected, _ = to_canonical(volume)
    for order, signs in COPIES:
        assert np.array_equal(to_canonical(stored_otherwise(volume, order, signs))[0].array, expected.array)


@given(angles, angles, angles, st.booleans())
def test_a_voxel_keeps_its_place_and_value(x: float, y: float, z: float, mirrored: bool) -> None:
    volume = make_volume(x, y, z, mirrored)
    canonical, _ = to_canonical(volume)
    for index in np.ndindex(*canonical.array.shape):
        k, j, i = np.argwhere(volume.array == canonical.array[index])[0]
        assert canonical.ijk_to_lps @ (*index[::-1], 1) == pytest.approx(volume.ijk_to_lps @ (i, j, k, 1))


@given(angles, angles, angles, st.booleans())
def test_the_way_back_is_exact(x: float, y: float, z: float, mirrored: bool) -> None:
    volume = make_volume(x, y, z, mirrored)
    canonical, reorientation = to_canonical(volume)
    assert np.array_equal(reorientation.restore(canonical.array), volume.array)
    assert np.array_equal(reorientation.apply(volume.array), canonical.array)


@given(angles, angles, angles, st.booleans())
def test_each_axis_runs_the_way_of_its_name(x: float, y: float, z: float, mirrored: bool) -> None:
    """Left, posterior, superior: no other order or flip is nearer to the patient's axes."""
    direction = np.reshape(to_canonical(make_volume(x, y, z, mirrored))[0].direction, (3, 3))
    assert np.trace(direction) >= max(np.trace(direction[:, order] * signs) for order, signs in COPIES) - 1e-3


def test_a_canonical_grid_stays_as_it_is() -> None:
    volume = make_volume()
    canonical, reorientation = to_canonical(volume)
    assert (canonical.spacing, canonical.origin, canonical.direction) == (volume.spacing, volume.origin,
                                                                          volume.direction)
    assert reorientation.axes == (0, 1, 2) and reorientation.flipped == ()


def test_rounding_in_a_header_does_not_break_a_tie() -> None:
    """A grid turned by exactly 45 degrees, and its flipped copy as a float32 header returns it."""
    volume = make_volume(z=45)
    expected, _ = to_canonical(volume)
    rng = np.random.default_rng(0)
    for order, signs in COPIES:
        copy = stored_otherwise(volume, order, signs)
        noisy = tuple((np.array(copy.direction) + rng.uniform(-1e-6, 1e-6, 9)).tolist())
        found, _ = to_canonical(Volume(copy.array, copy.spacing, copy.origin, noisy))
        assert np.array_equal(found.array, expected.array), (order, signs)


# Rows and columns of the canonical slice (rows to posterior, columns to left) -> how the turned one is made of it.
TURNS = {("posterior", "left"): lambda a: a, ("anterior", "left"): lambda a: a[:, ::-1],
         ("posterior", "right"): lambda a: a[:, :, ::-1], ("anterior", "right"): lambda a: a[:, ::-1, ::-1],
         ("left", "posterior"): lambda a: a.transpose(0, 2, 1),
         ("right", "posterior"): lambda a: a.transpose(0, 2, 1)[:, ::-1],
         ("left", "anterior"): lambda a: a.transpose(0, 2, 1)[:, :, ::-1],
         ("right", "anterior"): lambda a: a.transpose(0, 2, 1)[:, ::-1, ::-1]}


@pytest.mark.parametrize(("rows", "columns"), TURNS)
@given(x=angles, y=angles, z=angles, mirrored=st.booleans())
def test_in_a_turned_slice_a_voxel_keeps_its_place_and_value(rows: str, columns: str, x: float, y: float, z: float,
                                                             mirrored: bool) -> None:
    volume = make_volume(x, y, z, mirrored)
    canonical, _ = to_canonical(volume)
    turned, back = to_canonical(volume, rows, columns)
    np.testing.assert_array_equal(turned.array, TURNS[rows, columns](canonical.array))
    np.testing.assert_array_equal(back.apply(volume.array), turned.array)
    np.testing.assert_array_equal(back.restore(turned.array), volume.array)
    places = {canonical.array[k, j, i]: canonical.ijk_to_lps @ [i, j, k, 1] for k, j, i in indexes(canonical)}
    for k, j, i in indexes(turned):
        assert turned.ijk_to_lps @ [i, j, k, 1] == pytest.approx(places[turned.array[k, j, i]])


def indexes(volume: Volume) -> Iterator[tuple[int, ...]]:
    """Of every voxel; the small volumes' values differ, each from all others."""
    assert len(np.unique(volume.array)) == volume.array.size
    return np.ndindex(*volume.array.shape)


def test_directions_are_those_of_lps() -> None:
    upright = Volume(np.zeros((1, 2, 3)), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    for rows, columns in TURNS:
        turned = np.reshape(to_canonical(upright, rows, columns)[0].direction, (3, 3))
        for word, column in ((columns, 0), (rows, 1)):
            axis, sign = DIRECTIONS[word]
            assert turned[axis, column] == sign
