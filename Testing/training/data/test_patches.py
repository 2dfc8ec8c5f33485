"""Cubes out of volumes' grids: where they lie, what they show, and that they depend on seed, epoch and slice alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.training.conftest import Cases
from Training.data.augment import DEFAULT
from Training.data.patches import PatchDataset, corner_of_patch, cut
from Training.data.slices import IGNORED, SliceCache, SliceDataset, build_cache

GRID = Preprocessing("CT", "hu_window", -125, 275, "body", 16, spacing=2.0)


@pytest.fixture
def cache(cases: Cases, tmp_path: Path) -> SliceCache:
    for case in "ab":
        cases.add(case, seed=ord(case))
    manifest = cases.manifest(tmp_path / "out", train="a,b")
    return build_cache(manifest, manifest.of("train"), GRID, tmp_path / "cache")


def test_the_cache_holds_the_grid(cache: SliceCache) -> None:
    assert len(cache) == 2 * 15  # six slices of 5 mm each
    height, width = cache.label(0).shape
    assert cache.image(0).shape == (1, height, width) and height > 16
    organs = cache.label(7) > 0
    assert organs.any() and cache.image(7)[0][organs].mean() > cache.image(7)[0][~organs].mean()


def test_an_item_is_a_cube_of_the_volume(cache: SliceCache) -> None:
    patches = PatchDataset(SliceDataset(cache, depth=5), 16)
    assert len(patches) == 30
    image, label = patches[0, 9]
    assert (image.shape, image.dtype) == ((1, 5, 16, 16), torch.float32)
    assert (label.shape, label.dtype) == ((5, 16, 16), torch.int64)
    row, column = corner_of_patch(cache.label(9), 16, np.random.default_rng([0, 0, 9]))
    for place, number in enumerate(range(7, 12)):
        assert np.array_equal(image[0, place], cache.image(number)[0, row:row + 16, column:column + 16])
        assert np.array_equal(label[place], cache.label(number)[row:row + 16, column:column + 16])


def test_the_same_cube_whenever_it_is_asked_for(cache: SliceCache) -> None:
    policy = replace(DEFAULT, affine=1.0)
    first, again = (PatchDataset(SliceDataset(cache, seed=3, policy=policy, depth=4), 16) for _ in range(2))
    _ = again[0, 0]
    assert all(torch.equal(a, b) for a, b in zip(first[2, 8], again[2, 8], strict=True))
    assert not torch.equal(first[2, 8][0], first[3, 8][0])


def test_slices_that_nobody_labelled_do_not_count(cache: SliceCache) -> None:
    _, label = PatchDataset(SliceDataset(cache, [8, 10], depth=5), 16)[0, 0]
    assert [bool((plane == IGNORED).all()) for plane in label] == [True, True, False, True, False]


def test_small_volumes_are_filled_up(cache: SliceCache) -> None:
    image, label = PatchDataset(SliceDataset(cache, depth=40), 200)[0, 0]
    assert image.shape == (1, 40, 200, 200) and float(image[..., -1].abs().max()) == int(label[..., -1].max()) == 0
    assert torch.equal(image[0, 0], image[0, 20])  # below the first slice


def test_cubes_are_anywhere_and_often_on_organs() -> None:
    label, rng = np.zeros((60, 70), np.uint8), np.random.default_rng(0)
    label[50, 5] = 1
    corners = np.array([corner_of_patch(label, 16, rng) for _ in range(400)])
    assert corners.min(axis=0).tolist() == [0, 0] and corners.max(axis=0).tolist() == [44, 54]
    holding = [cut(label, tuple(corner), 16).any() for corner in corners.tolist()]
    assert 0.45 < np.mean(holding) < 0.7
    assert corner_of_patch(np.zeros((10, 12), np.uint8), 16, rng) == (0, 0)


def test_a_cube_on_an_organ_has_the_drawn_voxel_in_its_middle() -> None:
    label = np.zeros((60, 70), np.uint8)
    label[30, 35] = label[2, 69] = 1
    corners = {corner_of_patch(label, 16, np.random.default_rng(seed)) for seed in range(40)}
    assert {(22, 27), (0, 54)} < corners


def test_every_place_is_as_likely_as_any_other() -> None:
    rng = np.random.default_rng(0)
    rows = [corner_of_patch(np.zeros((17, 16), np.uint8), 16, rng)[0] for _ in range(400)]
    assert set(rows) == {0, 1} and 0.44 < np.mean(rows) < 0.56


def test_a_part_starts_at_its_corner_and_is_filled_up_at_its_end() -> None:
    image = np.arange(1, 13).reshape(3, 4)
    assert cut(image, (1, 1), 2).tolist() == [[6, 7], [10, 11]]
    assert cut(image, (1, 2), 3).tolist() == [[7, 8, 0], [11, 12, 0], [0, 0, 0]]
