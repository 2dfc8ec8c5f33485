"""Boxes in the patient: which voxels they hold, however box and grid are turned."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from SAMoraLib.volume import Region, Volume
from Testing.refusals import refusal

ROTATION = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
turns = st.tuples(*[st.floats(-180, 180)] * 3).map(lambda angles: Rotation.from_euler("xyz", angles, degrees=True))


def grid(direction: np.ndarray, origin: tuple[float, ...] = (0.1, -7.3, 11.9)) -> Volume:
    return Volume(np.zeros((5, 6, 7), np.uint8), (0.7, 1.1, 3.3), origin,  # type: ignore[arg-type]
                  tuple(direction.ravel().tolist()))


def box(size: tuple[float, ...], axes: np.ndarray, centre: np.ndarray) -> Region:
    return Region(tuple(centre.tolist()), tuple((axes * size).ravel().tolist()))  # type: ignore[arg-type]


def stored_otherwise(volume: Volume, order: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same points of the patient, stored with grid axes in another ``order`` and direction."""
    array = np.transpose(volume.array, [2 - axis for axis in reversed(order)])
    array = np.flip(array, [2 - n for n, sign in enumerate(signs) if sign < 0])
    first = np.array([0, 0, 0, 1])
    for axis, sign in zip(order, signs, strict=True):
        first[axis] = volume.array.shape[2 - axis] - 1 if sign < 0 else 0
    direction = np.reshape(volume.direction, (3, 3))[:, order] * signs
    return Volume(array, tuple(volume.spacing[axis] for axis in order),  # type: ignore[arg-type]
                  tuple((volume.ijk_to_lps @ first)[:3]), tuple(direction.ravel()))


def test_voxels_between_two_corners_by_definition() -> None:
    volume = grid(np.eye(3))
    mask = Region.between((1.0, -6.0, 13.0), (3.0, -3.9, 23.0)).mask(volume)
    for k, j, i in np.ndindex(*mask.shape):
        x, y, z = 0.1 + 0.7 * i, -7.3 + 1.1 * j, 11.9 + 3.3 * k
        assert mask[k, j, i] == (1 <= x <= 3 and -6 <= y <= -3.9 and 13 <= z <= 23)


@given(turns, turns)
def test_turning_patient_and_box_together_changes_nothing(pose: Rotation, turn: Rotation) -> None:
    size, inside = (2.0, 3.0, 7.0), np.array([2.05, -4.6, 18.0])
    volume, region = grid(np.eye(3)), box(size, pose.as_matrix(), inside)
    turned = grid(turn.as_matrix(), tuple(turn.apply(volume.origin)))
    expected, found = region.mask(volume), box(size, (turn * pose).as_matrix(), turn.apply(inside)).mask(turned)
    assert np.count_nonzero(expected != found) <= 1  # a voxel within rounding of a face


def test_a_turned_box_holds_what_lies_between_its_faces() -> None:
    volume, axes, centre = grid(ROTATION), Rotation.from_euler("z", 30, degrees=True).as_matrix(), np.zeros(3)
    centre = (volume.ijk_to_lps @ (3, 2, 2, 1))[:3]
    mask = box((2.0, 4.0, 6.0), axes, centre).mask(volume)
    for k, j, i in np.ndindex(*mask.shape):
        along = axes.T @ ((volume.ijk_to_lps @ (i, j, k, 1))[:3] - centre)
        assert mask[k, j, i] == (np.abs(along) <= (1, 2, 3)).all()
    assert 0 < mask.sum() < mask.size


def test_a_sheared_box_is_cut_along_its_own_faces() -> None:
    edges = np.array([[2.0, 1.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 50.0]])
    volume = grid(np.eye(3), (-2.1, -2.75, -6.6))
    mask = Region((0.0, 0.0, 0.0), tuple(edges.ravel().tolist())).mask(volume)
    for k, j, i in np.ndindex(*mask.shape):
        x, y = -2.1 + 0.7 * i, -2.75 + 1.1 * j
        assert mask[k, j, i] == (abs(y) <= 1 and abs(x - y / 2) <= 1 + 1e-9)


@pytest.mark.parametrize("direction", [np.eye(3), ROTATION], ids=["straight", "oblique"])
@pytest.mark.parametrize("axes", [np.eye(3), ROTATION], ids=["straight box", "turned box"])
def test_voxels_on_the_faces_are_inside_in_all_48_orders(direction: np.ndarray, axes: np.ndarray) -> None:
    volume = grid(direction)
    first, last = ((volume.ijk_to_lps @ index)[:3] for index in ((1, 1, 1, 1), (5, 4, 3, 1)))
    region = box(tuple(np.abs(axes.T @ (last - first))), axes, (first + last) / 2)
    expected = volume.with_array(region.mask(volume))
    assert expected.array[1, 1, 1] and expected.array[3, 4, 5]
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        found = region.mask(stored_otherwise(volume, order, signs))
        assert np.array_equal(found, stored_otherwise(expected, order, signs).array), (order, signs)


def test_a_region_goes_through_json() -> None:
    region = box((2.0, 3.0, 4.0), ROTATION, np.array([1.5, -2.5, 1e3]))
    assert Region.from_json(json.loads(json.dumps(asdict(region)))) == region


@pytest.mark.parametrize(("region", "message"), [
    (lambda: Region.between((0, 0, 0), (10, 0, 20)), "The region is flat (10 x 0 x 20 mm)"),
    (lambda: Region((0, 0, 0), (1, 1, 0, 1, 1, 0, 0, 0, 1)), "The region is flat"),
    (lambda: Region((0, 0, float("nan")), (1, 0, 0, 0, 1, 0, 0, 0, 1)), "A region has a centre of 3 numbers"),
    (lambda: Region((0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), "A region has a centre of 3 numbers"),  # type: ignore[arg-type]
    (lambda: Region.between((-9, -9, 500), (9, 9, 600)).mask(grid(np.eye(3))),
     "The region z 500..600 mm does not meet the volume, whose z runs from 11.9 to 25.1 mm (LPS); move it."),
    (lambda: Region.between((0.2, -9, 0), (0.7, 0, 99)).mask(grid(np.eye(3))), "The region holds no voxel"),
])
def test_regions_that_cannot_be_used_are_refused(region, message: str) -> None:
    assert refusal(region).startswith(message)


@pytest.mark.parametrize("edges", [(1, 0, 0, 0, 1, 0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1, 0),
                                   (1, 0, 0, 0, 1, 0, 0, 0, float("inf"))])
def test_edges_are_nine_finite_numbers(edges: tuple[float, ...]) -> None:
    assert "edges of 9" in refusal(lambda: Region((1, 2, 3), edges))


@pytest.mark.parametrize(("edges", "sides"), [
    ((2, 0, 0, 0, 3, 0, 4, 0, 0), "4.47214 x 3 x 0 mm"), ((1000, 1000, 0, 0, 1e-4, 0, 0, 0, 7), "1000 x 1000 x 7 mm")],
    ids=["no-third", "nearly-one"])
def test_flat_is_what_its_edges_do_not_span(edges: tuple[float, ...], sides: str) -> None:
    assert f"is flat ({sides})" in refusal(lambda: Region((1, 2, 3), edges))


def test_a_box_reaches_as_far_as_its_corners() -> None:
    """However small it is, and where it is sheared."""
    low, high = Region.between((1, 2, 3), (1.001, 2.002, 3.004)).extent
    assert np.allclose([low, high], [(1, 2, 3), (1.001, 2.002, 3.004)], rtol=0, atol=1e-9)
    low, high = Region((10, 20, 30), (2, 1, 0, 0, -4, 0, 0, 0, 6)).extent
    assert (low.tolist(), high.tolist()) == ([8.5, 18, 27], [11.5, 22, 33])


@pytest.mark.parametrize(("beyond", "first"), [(5e-5, 2), (2e-4, 3)])
@pytest.mark.parametrize("width", [0.8, 9.0])
def test_rounding_is_the_same_in_boxes_of_any_size(beyond: float, first: int, width: float) -> None:
    volume = grid(np.eye(3), (0.0, 0.0, 0.0))
    region = Region.between((1.4 + beyond, -1, -1), (1.4 + beyond + width, 9, 99))
    assert int(np.flatnonzero(region.mask(volume).any(axis=(0, 1)))[0]) == first
    sheared = Region((1.4 + beyond + width / 2, 0, 0), (width, 500, 0, 0, 500, 0, 0, 0, 99))  # where y is 0
    assert int(np.flatnonzero(sheared.mask(volume)[0, 0])[0]) == first


@pytest.mark.parametrize("axis", range(3))
@pytest.mark.parametrize(("beyond", "inside"), [(5e-5, True), (2e-4, False)])
def test_a_voxel_within_rounding_of_a_face_is_inside(axis: int, beyond: float, inside: bool) -> None:
    """A tenth of a micrometre, at the volume's first and last voxel: the region ends just before, or begins behind."""
    volume = grid(np.eye(3), (0.0, 0.0, 0.0))
    last = np.array((0.7 * 6, 1.1 * 5, 3.3 * 4))
    for sign, edge in ((-1, 0.0), (1, last[axis])):
        low, high = np.full(3, -1.0), last + 1
        low[axis], high[axis] = (edge - 9, edge - beyond) if sign < 0 else (edge + beyond, edge + 9)
        region = Region.between(low, high)
        if inside:
            assert region.mask(volume).sum() == volume.array.size // volume.array.shape[2 - axis]
        else:
            assert f"The region {'xyz'[axis]} " in refusal(lambda region=region: region.mask(volume))
