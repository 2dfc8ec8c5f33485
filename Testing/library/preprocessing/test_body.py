"""The box around the body: square in mm, the same for noise, tables and reorientation, and exact to paste back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from SAMoraLib.preprocessing import body as body_module
from SAMoraLib.preprocessing.body import (
    MARGIN,
    MIN_SIDE_MM,
    Body,
    Box,
    background_threshold,
    body_box,
    body_slices,
    find_body,
    largest_slice,
)
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume, to_canonical

CT = Preprocessing("CT", "hu_window", -125, 275, "body", 32)
MR = Preprocessing("MR", "percentile", 1, 99, "body", 32)
LPS = (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)
AIR, FAT, LIVER = -1000, -100, 60


def ct(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    return Volume(np.full(shape, AIR, np.int16), spacing, (0, 0, 0), LPS)


def box_of(volume: Volume, preprocessing: Preprocessing = CT) -> Box:
    return body_box(find_body(volume, preprocessing), volume)


def sides_mm(box: Box, spacing: tuple[float, float, float]) -> tuple[float, float]:
    return box.shape[0] * spacing[1], box.shape[1] * spacing[0]


edges = st.integers(-9, 20)


@given(edges, edges, st.integers(1, 25), st.integers(1, 25), st.integers(1, 12), st.integers(1, 12))
def test_pasting_a_crop_restores_the_slice_inside_the_box(y: int, x: int, h: int, w: int, height: int,
                                                          width: int) -> None:
    box = Box(y, y + h, x, x + w)
    slices = np.arange(1, 2 * height * width + 1).reshape(2, height, width)
    cropped = box.crop(slices)
    assert cropped.shape == (2, h, w)
    pasted = np.zeros_like(slices)
    box.paste(cropped, pasted)
    rows, columns = np.arange(height)[:, None], np.arange(width)
    inside = (rows >= y) & (rows < y + h) & (columns >= x) & (columns < x + w)
    assert np.array_equal(pasted, slices * inside)
    assert np.count_nonzero(cropped) == 2 * inside.sum()


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (0.7, 1.9, 3.0), (3.0, 1.0, 1.0), (1.5, 0.5, 8.0)])
def test_the_box_is_square_in_mm_and_holds_the_body(spacing: tuple[float, float, float]) -> None:
    across, along = round(300 / spacing[0]), round(200 / spacing[1])  # voxels of a body of 300 x 200 mm
    volume = ct((4, along + 60, across + 70), spacing)
    volume.array[:, 20:20 + along, 30:30 + across] = FAT
    box = box_of(volume)
    height, width = sides_mm(box, spacing)
    assert height == pytest.approx(width, abs=max(spacing))
    assert width == pytest.approx(300 * (1 + 2 * MARGIN), abs=2 * 3.0 + spacing[0])
    assert box.y0 < 20 and box.y1 > 20 + along and box.x0 < 30 and box.x1 > 30 + across


def test_table_arm_and_noise_do_not_widen_the_box() -> None:
    bare = ct((5, 160, 160), (2.0, 2.0, 5.0))
    bare.array[:, 40:100, 40:120] = LIVER
    furnished = bare.with_array(bare.array.copy())
    furnished.array[:, 130:132, 5:155] = 200  # the shell of a table, 4 mm
    furnished.array[:, 60:80, 5:20] = LIVER  # an arm beside the body
    furnished.array[np.random.default_rng(0).random(bare.array.shape) < 0.002] = 500
    found, expected = box_of(furnished), box_of(bare)
    assert np.abs(np.subtract((found.y0, found.y1, found.x0, found.x1),
                              (expected.y0, expected.y1, expected.x0, expected.x1))).max() <= 2  # one coarse voxel


@pytest.mark.parametrize("side", [-1, 1])
def test_an_arm_that_touches_the_trunk_does_not_widen_the_box(side: int) -> None:
    """As in a CT with the arms down: joined over 36 mm, which would show the patient a fifth smaller."""
    bare = ct((6, 120, 170), (3.0, 3.0, 5.0))
    y, x = np.mgrid[:120, :170]
    trunk = ((y - 60) / 35) ** 2 + ((x - 85) / 50) ** 2 < 1
    arm = ((y - 65) / 13) ** 2 + ((x - 85 - side * 58) / 11) ** 2 < 1
    assert 5 < (trunk & arm).any(axis=1).sum() < 20, "it touches"
    bare.array[:, trunk] = LIVER
    expected = box_of(bare)
    found = box_of(bare.with_array(np.where(arm, LIVER, bare.array)))
    assert found.shape[1] - expected.shape[1] <= 8  # of the arm's 19 voxels beyond the trunk


def test_one_box_serves_all_slices() -> None:
    volume = ct((6, 100, 100), (3.0, 3.0, 5.0))
    volume.array[:3, 30:60, 30:60] = LIVER
    volume.array[3:, 30:60, 30:90] = LIVER
    box = box_of(volume)
    assert box.x0 < 30 and box.x1 > 90


def test_a_body_cut_by_the_border_gets_a_box_beyond_it() -> None:
    volume = ct((3, 60, 100), (3.0, 3.0, 5.0))
    volume.array[:, :, :] = LIVER
    box = box_of(volume)
    assert box.y0 < 0 and box.y1 > 60 and box.x0 < 0 and box.x1 > 100


@pytest.mark.parametrize("shape", [(1, 90, 90), (40, 1, 90), (40, 90, 1), (1, 1, 1)])
def test_flat_volumes_have_a_box(shape: tuple[int, int, int]) -> None:
    volume = ct(shape, (2.0, 2.0, 2.0))
    volume.array[...] = LIVER
    height, width = sides_mm(box_of(volume), volume.spacing)
    assert height == width and width >= MIN_SIDE_MM


def test_the_body_is_searched_on_a_coarse_grid() -> None:
    volume = ct((4, 60, 70), (0.5, 1.0, 5.0))
    volume.array[:, 15:45, 20:60] = LIVER
    body = find_body(volume, CT)
    assert body.steps == (1, 3, 6)
    assert body.mask.shape == (4, 20, 12)
    assert body.voxels(volume.array).tolist() == [LIVER] * 4 * (10 * 6 - 4)  # the opening rounds the corners


def test_a_body_in_a_single_row_is_found() -> None:
    volume = ct((9, 1, 90), (2.0, 2.0, 2.0))
    volume.array[:, :, 30:70] = LIVER
    box = box_of(volume)
    assert box.x0 in range(26, 31) and box.x1 in range(70, 75)


@pytest.mark.parametrize("preprocessing", [CT, MR])
@pytest.mark.parametrize("value", [AIR, 0, 7])
def test_without_a_body_the_box_is_around_everything(preprocessing: Preprocessing, value: int) -> None:
    volume = ct((3, 50, 50), (2.0, 2.0, 2.0))
    volume.array[...] = value
    box = box_of(volume, preprocessing)
    assert box.y0 <= 0 and box.y1 >= 50 and box.x0 <= 0 and box.x1 >= 50


@pytest.mark.parametrize(("scale", "shift"), [(1, 0), (30, 0), (0.01, 0), (1, -500)])
def test_an_mr_body_is_found_whatever_the_scale(scale: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    array = np.abs(rng.normal(0, 8, (6, 120, 120)))
    array[:, 40:80, 30:100] = rng.normal(120, 20, (6, 40, 70))  # muscle and organs
    array[:, 40:45, 30:100] = rng.normal(600, 40, (6, 5, 70))  # fat, far brighter
    volume = Volume(array * scale + shift, (3.0, 3.0, 6.0), (0, 0, 0), LPS)
    box = box_of(volume, MR)
    assert sides_mm(box, volume.spacing) == pytest.approx((210 * (1 + 2 * MARGIN),) * 2, abs=8)
    assert box.x0 in range(26, 31) and box.x1 in range(100, 105)


def test_dark_organs_inside_bright_fat_belong_to_the_body() -> None:
    """Otherwise the percentiles are those of the fat, and the organs become black."""
    rng = np.random.default_rng(0)
    array = np.abs(rng.normal(0, 4, (6, 120, 120)))
    array[:, 20:100, 15:105] = rng.normal(600, 40, (6, 80, 90))
    array[:, 28:92, 23:97] = rng.normal(90, 10, (6, 64, 74))
    volume = Volume(array, (3.0, 3.0, 6.0), (0, 0, 0), LPS)
    assert np.percentile(find_body(volume, MR).voxels(volume.array), 10) < 90


@pytest.mark.parametrize("spacing", [1.0, 3.0, 5.0])
def test_the_body_beyond_a_gap_is_looked_at(spacing: float) -> None:
    """Blank slices in the middle, as a failed reconstruction leaves them; above lies nothing but a table."""
    volume = ct((40, 120, 120), (3.0, 3.0, spacing))
    volume.array[5:30, 20:100, 15:105] = FAT
    volume.array[5:, 104:108, 30:90] = FAT
    volume.array[12:15] = AIR
    wanted = body_slices(find_body(volume, CT), 40)
    assert wanted[5:30].all()
    margin = round(3 / spacing)  # the coarse grid's step
    assert not wanted[:max(0, 5 - margin)].any() and not wanted[30 + margin:].any()


@pytest.mark.parametrize("step", [1, 3, 4])
def test_no_slice_of_the_body_is_left_out(step: int) -> None:
    rng = np.random.default_rng(step)
    for _ in range(50):
        count = int(rng.integers(1, 40))
        true = np.zeros(count, bool)
        first = int(rng.integers(count))
        true[first:int(rng.integers(first, count)) + 1] = True
        coarse = true[::step]
        if coarse.any():
            wanted = body_slices(Body(coarse[:, None, None], (step, 2, 2), coarse), count)
            assert wanted[true].all()
            assert wanted.sum() <= true.sum() + 2 * (step - 1)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize(("spacing", "crop", "pixels"), [
    ((1.0, 1.0, 5.0), "none", 60 * 90), ((1.0, 1.0, 5.0), "body", 94 * 94), ((0.1, 0.2, 5.0), "body", 500 * 250),
    ((0.1, 0.2, 5.0), "none", 60 * 90)])
def test_the_most_that_a_slice_may_have_is_known_before_the_body(axes: tuple[int, int, int],
                                                                 spacing: tuple[float, float, float], crop: str,
                                                                 pixels: int) -> None:
    """However the volume is stored: 90 columns, 60 rows, 7 slices from the feet."""
    direction = np.eye(3)[:, axes]
    shape = tuple(np.array((90, 60, 7))[list(axes)][::-1].tolist())
    stored = Volume(np.full(shape, FAT, np.int16), tuple(np.array(spacing)[list(axes)].tolist()), (0, 0, 0),
                    tuple(direction.ravel().tolist()))
    assert largest_slice(stored, replace(CT, crop=crop)) == pixels
    box = box_of(to_canonical(stored)[0])
    assert crop == "none" or box.shape[0] * box.shape[1] <= pixels


@pytest.mark.parametrize(("rows", "columns", "box"), [
    ((2, 6), (1, 8), Box(0, 24, 1, 16)),  # 36 x 70 mm, and 72.8 with the margins
    ((0, 10), (3, 4), Box(-1, 29, -2, 16)),  # 87 mm: the last voxel of the coarse grid reaches beyond the volume
    ((4, 5), (4, 5), Box(5, 22, 4, 14)), ((1, 2), (9, 10), Box(-4, 13, 13, 23))])
def test_a_box_is_as_large_as_its_longer_side(rows: tuple[int, int], columns: tuple[int, int], box: Box) -> None:
    """Coarse voxels of 3 x 2, each of which measures 3 x 5 mm."""
    mask = np.zeros((2, 10, 10), bool)
    mask[1, slice(*rows), slice(*columns)] = True
    canonical = Volume(np.zeros((2, 29, 19), np.int16), (5.0, 3.0, 7.0), (0, 0, 0), LPS)
    assert body_box(Body(mask, (1, 3, 2), mask.any(axis=(1, 2))), canonical) == box


def test_what_hangs_on_the_trunk_by_less_than_6_cm_is_cut_off() -> None:
    mask = np.zeros((1, 100, 120), bool)
    mask[0, 20:80, 10:70] = True
    for width, end in ((20, 81), (21, 110)):  # 11 beyond the trunk are left where it is joined
        joined = mask.copy()
        joined[0, 40:40 + width, 70:110] = True
        found = body_module._without_arms(joined)
        assert not (found & ~joined).any() and found[mask].mean() > 0.9
        assert int(np.flatnonzero(found.any(axis=(0, 1)))[-1]) + 1 == end
    thin = mask & (np.arange(120) < 30)
    assert np.array_equal(body_module._without_arms(thin), thin)


@pytest.mark.parametrize(("value", "found"), [(-300, False), (-299, True)])
def test_the_skin_is_above_300_hu(value: int, found: bool) -> None:
    volume = ct((1, 30, 40), (3.0, 3.0, 5.0))
    volume.array[:, 5:15, 10:30] = value
    assert find_body(volume, CT).mask[0, 0, 0] != found  # without a body, all of it


@pytest.mark.parametrize(("rows", "seen"), [(2, False), (3, True)])
def test_a_slice_of_a_tenth_of_the_body_is_looked_at(rows: int, seen: bool) -> None:
    volume = ct((3, 40, 40), (3.0, 3.0, 5.0))
    volume.array[0, 5:25, 5:25] = LIVER  # 400 pixels, of which opening takes the four corners
    volume.array[2, 5:5 + rows * 2, 5:15] = LIVER  # 36 or 56
    assert find_body(volume, CT).slices.tolist() == [True, False, seen]


@pytest.mark.parametrize("seed", range(3))
def test_the_threshold_of_an_mr_parts_the_roots_best(seed: int) -> None:
    """Otsu by definition: the least variance within the two classes."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([np.abs(rng.normal(20, 15, 300)), rng.normal(200, 60, 500), rng.normal(700, 40, 90)]) - 50
    low, high = np.percentile(values, 0.5), np.percentile(values, 99)
    roots = np.sqrt(np.clip(values, low, high) - low) / np.sqrt(high - low)
    binned = np.minimum(np.floor(roots * 256), 255) / 256 + 1 / 512
    within = [sum(part.size * part.var() for part in (binned[binned < edge], binned[binned > edge]))
              for edge in np.arange(1, 256) / 256]
    best = (1 + int(np.argmin(within))) / 256
    assert background_threshold(values) == pytest.approx(low + best ** 2 * (high - low), rel=1e-9)
