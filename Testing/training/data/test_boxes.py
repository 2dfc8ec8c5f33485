"""Targets and their boxes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from SAMoraLib.labels import get_label_set
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume
from Training.data.augment import DEFAULT, POLICIES
from Training.data.boxes import RELAXATION, BoxDataset, boxes_around, enclosing, relaxed
from Training.data.slices import IGNORED, SliceDataset, build_cache

CT = Preprocessing("CT", "hu_window", -100, 200, "none", 64)


@pytest.fixture
def manifest(cases, tmp_path):
    cases.add("a", 0)
    cases.add("b", 1)
    return cases.manifest(tmp_path / "out", train="a,b")


@pytest.fixture
def cache(manifest, tmp_path):
    return build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")


def test_a_slab_is_the_slices_around_one_and_stays_in_its_case(cache):
    assert cache.slab(3, 5).tolist() == [1, 2, 3, 4, 5]
    assert cache.slab(1, 5).tolist() == [0, 0, 1, 2, 3]
    assert cache.slab(6, 3).tolist() == [6, 6, 7]
    image, label = SliceDataset(cache, depth=3)[0, 5]
    assert (image.shape, label.shape) == ((1, 3, 64, 64), (3, 64, 64))
    for place, index in enumerate((4, 5, 5)):
        assert np.array_equal(image[:, place], cache.image(index))
        assert np.array_equal(label[place], cache.label(index))


def test_channels_and_slices_of_a_slab_keep_their_places(manifest, cache, tmp_path):
    beside = build_cache(manifest, manifest.of("train"), replace(CT, neighbours=5.0), tmp_path / "cache")
    image, _ = SliceDataset(beside, depth=3)[0, 2]
    assert image.shape == (3, 3, 64, 64)
    for place, index in enumerate((1, 2, 3)):
        assert np.array_equal(image[:, place], beside.image(index))


def test_one_transform_moves_all_slices_of_a_slab(cache):
    policy = replace(POLICIES["none"], affine=1.0)
    image, label = SliceDataset(cache, policy=policy, depth=5)[0, 2]
    assert np.array_equal(label[1], label[2]) and label[1].any()  # the blocks are the same in slices 1 to 4
    assert image.shape == (1, 5, 64, 64)


def test_slices_that_were_not_chosen_have_no_label_in_a_slab(cache):
    _, label = SliceDataset(cache, [2, 4], depth=5)[0, 0]
    assert [bool((part == IGNORED).all()) for part in label] == [True, True, False, True, False]
    assert np.array_equal(label[2], cache.label(2))


def test_items_hold_one_organ_and_its_box(cache):
    boxes = BoxDataset(SliceDataset(cache, depth=3))
    assert len(boxes) == 8  # four of the six slices of each case hold organs
    targets = set()
    for epoch in range(4):
        image, label, box, target = boxes[epoch, 1]
        assert (image.shape, label.shape, box.shape) == ((1, 3, 64, 64), (3, 64, 64), (4,))
        targets.add(target)
        assert label.unique().tolist() == [0, 1]
        assert torch.equal(label == 1, torch.from_numpy(np.stack([cache.label(i) for i in (1, 2, 3)])) == target)
        tight = enclosing((label == 1).any(0).numpy())
        sides = np.tile(tight[2:] - tight[:2] + 1, 2)
        outwards = (box.numpy() - tight) * [-1, -1, 1, 1]
        assert (outwards >= 0).all() and (outwards <= RELAXATION * sides + 1e-4).all()
    assert len(targets) > 1


def test_the_box_moves_with_the_slab(cache):
    boxes = BoxDataset(SliceDataset(cache, policy=replace(DEFAULT, affine=1.0, scale=(1.0, 1.0)), depth=3))
    _, label, box, _ = boxes[3, 2]
    tight = enclosing((label == 1).any(0).numpy())
    assert np.abs(box.numpy() - tight).max() <= 1 + RELAXATION * 64


def test_the_same_item_is_the_same_again(cache):
    first, again = (BoxDataset(SliceDataset(cache, seed=3, depth=3))[2, 4] for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first[:3], again[:3], strict=True)) and first[3] == again[3]


def test_what_a_seed_draws_stays_what_it_was(cache):
    """The organ, then how far each face is moved, of a generator that is not the slab's own."""
    _, label, box, target = BoxDataset(SliceDataset(cache, seed=3, depth=3))[5, 6]
    at = 9  # the seventh slice with organs: 1 to 4 of six hold some
    rng = np.random.default_rng([3, 5, at, 1])
    assert target == rng.choice(np.unique(cache.label(at))[1:])
    rows, columns = np.flatnonzero((label == 1).any(0).any(1)), np.flatnonzero((label == 1).any(0).any(0))
    outwards = rng.uniform(0, 0.05, 4)
    expected = [columns[0] - outwards[0] * len(columns), rows[0] - outwards[1] * len(rows),
                columns[-1] + outwards[2] * len(columns), rows[-1] + outwards[3] * len(rows)]
    assert box.tolist() == pytest.approx(expected, abs=1e-4)


def test_every_organ_is_a_target_and_the_background_none(cache):
    boxes = BoxDataset(SliceDataset(cache))
    assert {boxes[epoch, 1][3] for epoch in range(60)} == {1, 2, 3, 4}


def test_a_box_goes_from_the_first_to_the_last_column_and_row():
    mask = np.zeros((9, 12), bool)
    mask[2, 5] = mask[6, 3] = True
    assert enclosing(mask).tolist() == [3, 2, 5, 6] and enclosing(mask).dtype == np.float32
    mask[:] = True
    assert enclosing(mask).tolist() == [0, 0, 11, 8]


def test_faces_are_moved_outwards_by_up_to_a_twentieth_of_their_side():
    tight = np.array([10, 20, 29, 59], np.float32)  # 20 columns, 40 rows
    moved = np.array([relaxed(tight, np.random.default_rng(seed)) for seed in range(300)]) - tight
    outwards = moved * [-1, -1, 1, 1] / [20, 40, 20, 40]
    assert (outwards.min(axis=0) >= 0).all() and (outwards.min(axis=0) < 0.001).all()
    assert (outwards.max(axis=0) > 0.049).all() and outwards.max() <= 0.0501
    assert np.abs(np.corrcoef(outwards.T) - np.eye(4)).max() < 0.2


def test_the_box_of_an_empty_mask_is_the_slice():
    assert enclosing(np.zeros((8, 6))).tolist() == [0, 0, 5, 7]
    assert relaxed(np.array([2, 2, 5, 5], np.float32), np.random.default_rng(0)).dtype == np.float32


def test_boxes_around_the_organs_of_a_volume(manifest):
    labels = read_volume(manifest.label_path(manifest.cases[0]))
    tight, loose = (boxes_around(labels, manifest.labels, relaxation) for relaxation in (0.0, RELAXATION))
    assert set(tight) == set(manifest.labels.names) and boxes_around(labels, manifest.labels) == tight
    for label in manifest.labels:
        organ = labels.array == label.value
        inside = tight[label.name].mask(labels)
        assert inside[organ].all() and inside.sum() == organ.sum()  # the phantom's organs are blocks
        assert loose[label.name].mask(labels)[organ].all()
        low, high = tight[label.name].extent
        assert np.allclose(np.subtract(*loose[label.name].extent[::-1]), (high - low) * (1 + 2 * RELAXATION))


def test_a_box_lies_where_its_organ_does_in_a_turned_volume():
    """i runs to the head, 2 mm a voxel; j to the left, 3 mm; k to the back, 5 mm."""
    labels = get_label_set("chaos_mr")
    array = np.zeros((7, 8, 9), np.uint8)  # k, j, i
    array[1:4, 2:4, 3:8] = labels.by_name("spleen").value
    volume = Volume(array, (2.0, 3.0, 5.0), (10.0, 20.0, 30.0), (0, 1, 0, 0, 0, 1, 1, 0, 0))
    [(name, region)] = boxes_around(volume, labels, 0.25).items()
    assert name == "spleen"
    low, high = region.extent
    # Along left, back and head j, k and i: 2 voxels of 3 mm, 3 of 5 mm, 5 of 2 mm, and a quarter more on each side.
    assert np.allclose((low + high) / 2, [10 + 2.5 * 3, 20 + 2 * 5, 30 + 5 * 2])
    assert np.allclose(high - low, [1.5 * 6, 1.5 * 15, 1.5 * 10])


def test_slices_that_were_not_chosen_have_no_target_either(cache):
    _, label, _, _ = BoxDataset(SliceDataset(cache, [2, 3], depth=3))[0, 0]
    assert bool((label[0] == IGNORED).all()) and label[1:].unique().tolist() == [0, 1]
