from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from Testing.closeness import assert_close
from Training.reports.metrics import CONVENTIONS, dice, hd95, nsd, score

CUBE = (slice(2, 5), slice(3, 7), slice(1, 6))


def _mask(*boxes, shape=(8, 12, 10)):
    mask = np.zeros(shape, dtype=bool)
    for box in boxes:
        mask[box] = True
    return mask


def _blobs(seed, shape=(9, 14, 11)):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5) > 0.03


def test_agrees_with_the_published_evaluations(golden):
    for number, (expected_dice, expected_hd95) in enumerate(golden["samed_dice_hd95"], start=1):
        pair = golden["pred"] == number, golden["gt"] == number
        samed = score(*pair, (3.0, 1.0, 1.0), "samed")
        assert (samed.dice, samed.hd95) == pytest.approx((expected_dice, expected_hd95))
        assert score(*pair, (3.0, 1.0, 1.0), "ma_sam").dice == pytest.approx(golden["masam_dice"][number - 1])


def test_agrees_with_the_published_evaluation_of_a_volume(golden):
    for number, expected in enumerate(golden["tsv_metrics"], start=1):
        found = score(golden[f"tsv_pred{number}"], golden["tsv_label"] == number, (3.0, 1.0, 1.0), "samed")
        assert (found.dice, found.hd95) == pytest.approx(tuple(expected))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.tuples(*[st.floats(0.5, 8)] * 3))
def test_agrees_with_medpy_in_mm(seed, spacing):
    medpy = pytest.importorskip("medpy.metric.binary")
    prediction, reference = _blobs(seed), _blobs(seed + 1)
    assert hd95(prediction, reference, spacing) == pytest.approx(medpy.hd95(prediction, reference, spacing))
    assert hd95(prediction, reference) == pytest.approx(medpy.hd95(prediction, reference))
    assert dice(prediction, reference) == pytest.approx(medpy.dc(prediction, reference))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_symmetric_and_blind_to_empty_margins(seed):
    prediction, reference = _blobs(seed), _blobs(seed + 1)
    assert hd95(prediction, reference, (3, 1, 1)) == pytest.approx(hd95(reference, prediction, (3, 1, 1)))
    wide = np.pad(prediction, 1), np.pad(reference, 1)
    # A margin changes nothing, but at the border of the volume a mask's own outline does not count as inside.
    assert hd95(*(np.pad(mask, 3) for mask in wide), (3, 1, 1)) == pytest.approx(hd95(*wide, (3, 1, 1)))


def test_a_shift_along_an_axis_counts_in_that_axis_spacing():
    moved = (slice(3, 6), *CUBE[1:])
    assert hd95(_mask(CUBE), _mask(moved), (7.7, 1.25, 1.25)) == pytest.approx(7.7)
    assert hd95(_mask(CUBE), _mask(moved)) == pytest.approx(1)
    assert dice(_mask(CUBE), _mask(moved)) == pytest.approx(2 / 3)
    assert hd95(_mask(CUBE), _mask(CUBE)) == 0


def _nsd_by_loops(prediction, reference, tolerance, spacing):
    """Of two cuboids: where eight voxels meet, the piece of plane between them, its place and its area."""
    elements = [_pieces_of_a_cuboid(np.pad(mask, 1), spacing) for mask in (prediction, reference)]
    within = total = 0.0
    for own, other in (elements, elements[::-1]):
        for place, area in own:
            total += area
            within += area * (min(math.dist(place, there) for there, _ in other) <= tolerance)
    return within / total


def _pieces_of_a_cuboid(mask, spacing):
    found = []
    for corner in np.ndindex(*(n - 1 for n in mask.shape)):
        inside = np.argwhere(mask[tuple(slice(c, c + 2) for c in corner)])
        if len(inside) not in (1, 2, 4):
            continue
        crossed = [axis for axis in range(3) if len(set(inside[:, axis])) == 1]
        halves = [spacing[axis] / 2 for axis in crossed]  # the plane cuts these edges in their middles
        along = [spacing[axis] for axis in range(3) if axis not in crossed]
        if len(inside) == 4:  # on a face
            area = along[0] * along[1]
        elif len(inside) == 2:  # on an edge, which is cut off
            area = along[0] * math.hypot(*halves)
        else:  # on a corner
            a, b, c = halves
            area = math.hypot(a * b, b * c, c * a) / 2
        found.append(([c * s for c, s in zip(corner, spacing, strict=True)], area))
    return found


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (5.0, 0.8, 1.3)])
@pytest.mark.parametrize("tolerance", [0.0, 1.4, 5.5])
def test_nsd_agrees_with_loops_over_cuboids(spacing, tolerance):
    other = _mask((slice(0, 4), slice(5, 8), slice(2, 9)))  # at the volume's border, which is a surface, too
    for pair in ((_mask(CUBE), other), (other, _mask(CUBE)), (_mask(CUBE), _mask(CUBE))):
        assert_close(nsd(*pair, tolerance, spacing), _nsd_by_loops(*pair, tolerance, spacing), scale=1.0)


@pytest.mark.parametrize("seed", range(3))
def test_nsd_agrees_with_monai(seed):
    from monai.metrics import compute_surface_dice

    pair, spacing = (_blobs(seed), _blobs(seed + 1)), (3.7, 0.9, 1.2)
    batch = [torch.from_numpy(mask)[None, None] for mask in pair]
    for tolerance in (0.5, 2.0, 4.0):
        theirs = compute_surface_dice(*batch, [tolerance], include_background=True, spacing=spacing, use_subvoxels=True)
        assert_close(nsd(*pair, tolerance, spacing), theirs.item(), scale=1.0)


def test_empty_masks_in_every_convention():
    empty, full = _mask(), _mask(CUBE)
    scored = {name: [score(*pair, (2, 1, 1), name) for pair in [(empty, empty), (full, empty), (empty, full)]]
              for name in CONVENTIONS}
    assert [(s.dice, s.hd95) for s in scored["samed"]] == [(0, 0), (1, 0), (0, 0)]
    assert [s.dice for s in scored["ma_sam"]] == [1, 0, 0]
    assert math.isnan(scored["strict"][0].dice)
    assert math.isnan(scored["strict"][0].hd95)
    assert [s.nsd for s in scored["strict"]] == [pytest.approx(math.nan, nan_ok=True), 0, 0]
    assert all(math.isnan(s.nsd) for name in ("samed", "ma_sam") for s in scored[name])
    diagonal = math.hypot(8 * 2, 12, 10)
    assert [(s.dice, s.hd95) for s in scored["strict"][1:]] == [(0, pytest.approx(diagonal))] * 2


def test_missing_an_organ_is_never_better_than_any_overlap():
    reference = _mask(CUBE)
    poor = _mask((slice(7, 8), slice(11, 12), slice(9, 10)))
    assert score(_mask(), reference, (2, 1, 1)).hd95 > score(poor, reference, (2, 1, 1)).hd95


def test_refuses_what_it_cannot_compare():
    with pytest.raises(ValueError, match="on one grid"):
        dice(np.zeros((2, 3, 4)), np.zeros((2, 4, 3)))
    with pytest.raises(ValueError, match="choose from strict"):
        score(_mask(), _mask(), (1, 1, 1), "medpy")


def test_nsd_of_cubes_is_the_share_of_faces_within_the_tolerance():
    """A cube shifted by one voxel of 2 mm: the two faces across the shift lie 2 mm apart, the four along it touch."""
    cube = np.zeros((24, 24, 24), bool)
    cube[6:16, 6:16, 6:16] = True
    shifted = np.roll(cube, 1, axis=0)
    spacing = (2.0, 1.0, 1.0)
    assert nsd(cube, cube, 0.5, spacing) == 1
    assert nsd(cube, shifted, 2.5, spacing) == 1
    near = nsd(cube, shifted, 1.0, spacing)
    faces, sides = 2 * 10 * 10, 4 * 10 * 20  # mm2
    assert near == pytest.approx(1 - faces / (faces + sides), abs=0.08)
    assert nsd(cube, np.zeros_like(cube), 1.0, spacing) == 0
    assert np.isnan(nsd(np.zeros_like(cube), np.zeros_like(cube), 1.0, spacing))
