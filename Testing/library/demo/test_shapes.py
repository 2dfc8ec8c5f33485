"""Implicit shapes have distances in mm, and a patient is the same on every grid."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from SAMoraLib.demo.shapes import (
    WARP_REACH,
    Canvas,
    Points,
    bspline_weights,
    ellipsoid,
    smooth_field,
    smooth_union,
    tube,
)
from SAMoraLib.demo.tissues import STRUCTURE
from Testing.closeness import assert_close

COARSE = (10.0, 10.0, 10.0)


def points(*places: tuple[float, float, float]) -> Points:
    return Points(*np.array(places, np.float32).T)


def canvas(spacing: tuple[float, float, float] = COARSE, seed: int = 3) -> Canvas:
    return Canvas(np.random.default_rng(seed), spacing)


def lattice_of(values: np.ndarray) -> Any:
    """What draws these in the place of random numbers."""
    return SimpleNamespace(standard_normal=lambda shape, dtype: values.reshape(shape).astype(dtype))


def test_a_spline_reaches_two_knots_to_each_side_and_knot_1_lies_at_0() -> None:
    weights = bspline_weights(np.array([0.0, 0.5, 1.0]), 5)
    expected = np.array([[8, 32, 8, 0, 0], [1, 23, 23, 1, 0], [0, 8, 32, 8, 0]]) / 48
    assert weights.dtype == np.float32
    assert_close(weights, expected.astype(np.float32))


def test_spline_weights_add_up_to_one_between_the_outer_knots() -> None:
    weights = bspline_weights(np.linspace(0, 4, 41), 7)
    assert_close(weights.sum(axis=1), np.ones(41, np.float32))


def test_a_field_of_unit_noise_has_unit_variance() -> None:
    """A lattice of ones shows the factor: over all phases the squares of the weights add up to what it makes good."""
    weights = bspline_weights(np.linspace(0, 1, 2001)[:-1], 4)
    kept = float((weights.astype(np.float64) ** 2).sum(axis=1).mean())
    field = smooth_field(lattice_of(np.ones(4**3)), [weights[:1]] * 3)
    assert_close(field, np.full((1, 1, 1), kept**-1.5, np.float32))


def test_each_axis_of_a_field_has_its_own_weights() -> None:
    lattice = np.zeros((4, 5, 6))
    lattice[1, 2, 3] = 1
    weights = [bspline_weights(np.linspace(0, 1, count), knots) for count, knots in ((2, 4), (3, 5), (7, 6))]
    field = smooth_field(lattice_of(lattice), weights)
    assert field.shape == (2, 3, 7)
    expected = np.einsum("i,j,k->ijk", weights[0][:, 1], weights[1][:, 2], weights[2][:, 3])
    assert_close(field / field.max(), expected / expected.max())


def test_the_distance_to_a_ball_is_exact() -> None:
    found = ellipsoid(points((13, -2, 5), (3, 8, 5), (3, -2, 9), (3, -2, 5.5)), (3, -2, 5), (4, 4, 4))
    assert found == pytest.approx([6, 6, 0, -3.5], abs=1e-3)


def test_the_distance_to_an_ellipsoid_is_exact_on_its_axes_and_negative_at_its_centre() -> None:
    found = ellipsoid(points((12, 0, 0), (0, -9, 0), (0, 0, 1), (0, 0, 0)), (0, 0, 0), (10, 5, 2))
    assert found[:3] == pytest.approx([2, 4, -1], abs=1e-3)
    assert found[3] < 0


def test_a_union_is_the_nearer_shape_but_for_a_fillet_where_both_are_near() -> None:
    one, other = np.array([0.0, 5, 8, 20, 3]), np.array([8.0, 5, 0, 3, 20])
    assert_close(smooth_union(one, other, 8), np.array([0.0, 3, 0, 3, 3]))
    # Half a fillet's width apart, three quarters of the way to the nearer one: 4 - 4 * 3/4 - 8 * 3/4 * 1/4.
    assert_close(smooth_union(np.array([0.0]), np.array([4.0]), 8), np.array([-0.5]))


def test_a_straight_tube_has_distance_0_at_its_radius() -> None:
    straight = tube([(0, 0, 0), (30, 0, 0)], [4, 4])
    near = straight.distance(points((30, 0, 0), (30, 4, 0), (0, 0, -9), (30, 7, 0), (-3, 4, 0)))
    assert_close(near, np.array([-4, 0, 5, 3, 1], np.float32))
    low, high = straight.bounds
    assert_close(low, np.array([-4.0, -4, -4]))
    assert_close(high, np.array([34.0, 4, 4]))


def test_far_from_a_tube_the_distance_is_its_reach() -> None:
    """Eight millimetres beyond the widest place are all that is looked at."""
    growing = tube([(0, 0, 0), (30, 0, 0)], [2, 4])
    assert_close(growing.distance(points((30, 11.75, 0), (0, 11.75, 0))), np.array([7.75, 9.75], np.float32))
    assert growing.distance(points((15, 0, 30), (500, 0, 0))).tolist() == [12, 12]
    assert growing.distance(Points(*np.zeros((3, 2, 3, 4), np.float32))).shape == (2, 3, 4)


def test_a_tube_runs_through_its_nodes_and_radii_in_steps_of_a_millimetre_and_a_half() -> None:
    """Three nodes at equal distances on a parabola; the two chords are 100 mm together."""
    curved = tube([(0, 0, 0), (40, 30, 0), (80, 0, 0)], [2, 6, 2])
    assert len(curved.line) == len(curved.radius) == 66
    along = curved.line[:, 0] / 40
    assert_close(curved.line[:, 1], 30 * along * (2 - along))
    assert 5.9 < curved.radius.max() <= 6 and curved.radius[[0, -1]].tolist() == [2, 2]
    assert int(curved.radius.argmax()) in (32, 33)


def test_the_shortest_tube_has_both_its_ends() -> None:
    assert tube([(0, 0, 0), (1, 0, 0)], [3, 5]).line.tolist() == [[0, 0, 0], [1, 0, 0]]
    assert len(tube([(0, 0, 0), (4.5, 0, 0)], [3, 5]).line) == 3


def test_a_tube_through_many_nodes_is_a_cubic_spline() -> None:
    """Through 0, 4, 0, 4, 0 at equal distances: 4 u^3 - 16 u^2 + 16 u up to the middle, highest at u = 2/3."""
    line = tube([(0, 0, 0), (30, 40, 0), (60, 0, 0), (90, 40, 0), (120, 0, 0)], np.ones(5)).line
    u = line[:67, 0] / 30
    assert u[-1] == pytest.approx(2)
    assert_close(line[:67, 1], 10 * (4 * u**3 - 16 * u**2 + 16 * u))
    assert_close(line[::-1, 1].copy(), line[:, 1])


def test_a_canvas_holds_as_many_voxels_as_fit_about_the_middle() -> None:
    ours = canvas((10, 20, 50))
    assert ours.structures.shape == (4, 16, 40)
    assert [axis[0] for axis in ours.axes] == [-195, -150, -75]
    assert [axis[-1] for axis in ours.axes] == [195, 150, 75]
    assert canvas((0.4 / 3 * 300, 1000, 220)).structures.shape == (1, 1, 10)


def test_a_patient_lies_nearly_along_the_axes_in_true_size() -> None:
    for seed in range(6):
        ours = canvas((20, 20, 20), seed)
        scale = np.linalg.norm(np.linalg.inv(ours.to_anatomy), axis=0)
        assert (scale > 0.95).all() and (scale < 1.065).all()
        turned = ours.to_anatomy * scale
        assert turned.diagonal().min() > np.cos(np.deg2rad(13))
        assert abs(turned[1, 2]) < np.sin(np.deg2rad(6)) and abs(turned[0, 2]) < np.sin(np.deg2rad(6))
        assert (np.abs(ours.shift) <= (6, 12, 11)).all()
        z, y, x = np.meshgrid(*reversed(ours.axes), indexing="ij")
        world = np.stack([x, y, z], axis=-1) - ours.shift
        warp = ours.points.stacked() - world @ ours.to_anatomy.T
        assert 3 < warp.std() < 6.5 and np.abs(warp).max() < WARP_REACH + 5


def test_noise_is_the_same_on_every_grid_and_in_every_box() -> None:
    coarse, fine = canvas((10, 10, 10)), canvas((5, 10, 10))
    coarse.rng, fine.rng = (np.random.default_rng(5) for _ in range(2))
    state = coarse.rng.bit_generator.state
    whole, finer = coarse.noise(45), fine.noise(45)
    assert np.abs((finer[..., ::2] + finer[..., 1::2]) / 2 - whole).max() < 0.05  # the mean of two neighbours
    assert 0.8 < whole.std() < 1.2
    coarse.rng.bit_generator.state = state
    box = (slice(3, 9), slice(20, 25), slice(0, 7))
    assert_close(coarse.noise(45, box), whole[box])


def test_noise_has_details_of_the_size_asked_for() -> None:
    ours = canvas()
    along = {scale: np.mean([np.abs(np.diff(ours.noise(scale), axis=2)).mean() for _ in range(4)])
             for scale in (30, 60, 120)}
    assert along[30] / along[60] == pytest.approx(2, rel=0.2)
    assert along[60] / along[120] == pytest.approx(2, rel=0.25)


@pytest.mark.parametrize("seed", range(4))
def test_a_box_holds_all_voxels_between_its_corners_and_few_others(seed: int) -> None:
    ours = canvas((4, 5, 6), seed)
    low, high = np.array([-80, -30, -20]), np.array([-20, 40, 50])
    box = ours.box(low, high)
    places = ours.points.stacked()
    between = ((places >= low) & (places <= high)).all(axis=-1)
    inside = np.zeros_like(between)
    inside[box] = True
    assert between.any() and not (between & ~inside).any()
    widths = [(part.stop - part.start) * step for part, step in zip(box, (6, 5, 4), strict=True)]
    assert all(width < extent + 2 * WARP_REACH + 45 for width, extent in zip(widths, (70, 70, 60), strict=True))
    assert_close(ours.points[box].y, ours.points.y[box])


def test_filling_takes_only_what_lies_inside_and_belongs_to_the_named() -> None:
    ours = canvas((40, 40, 40))
    inside = np.zeros(ours.structures.shape, bool)
    inside[1:3, 2:5, 3:8] = True
    ours.fill("muscle", inside)
    assert (ours.structures == np.where(inside, STRUCTURE["muscle"], STRUCTURE["air"])).all()
    box = (slice(2, 4), slice(None), slice(None))
    ours.fill("liver", np.ones_like(inside[box]), box, over=["muscle", "spleen"])
    expected = np.where(inside, STRUCTURE["muscle"], STRUCTURE["air"])
    expected[2][inside[2]] = STRUCTURE["liver"]
    assert (ours.structures == expected).all()
