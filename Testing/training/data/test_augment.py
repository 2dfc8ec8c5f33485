from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from Testing.closeness import assert_close
from Training.data.augment import DEFAULT, POLICIES, augment, noisy_and_clean, sampling_grid, two_views

SIDE = 48
SPATIAL = replace(DEFAULT, intensity=0.0)
NOTHING = POLICIES["none"]


def _slice(side=SIDE, depth=1):
    """A disc left of the middle and a square right of it; the image shows the label."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    label = ((x - side * 0.3) ** 2 + (y - side * 0.5) ** 2 < (side * 0.15) ** 2).to(torch.uint8)
    label[int(side * 0.4) : int(side * 0.65), int(side * 0.6) : int(side * 0.8)] = 2
    return (0.1 + 0.4 * label.float()).expand(depth, -1, -1), label.expand(depth, -1, -1)


def _rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", POLICIES)
def test_shapes_types_and_range(name):
    image, label = _slice(depth=3)
    for seed in range(20):
        moved, moved_label = augment(image, label, _rng(seed), POLICIES[name])
        assert moved.shape == image.shape
        assert moved.dtype == torch.float32
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert moved_label.dtype == torch.uint8
        assert set(moved_label.unique().tolist()) <= {0, 1, 2}


def test_the_generator_decides_alone():
    image, label = _slice()
    first, second, other = (augment(image, label, _rng(seed), DEFAULT) for seed in (5, 5, 6))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_the_input_is_left_alone():
    image, label = _slice()
    before = image.clone(), label.clone()
    for seed in range(10):
        augment(image, label, _rng(seed), replace(DEFAULT, elastic=1, intensity=1, mirror=0.5))
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


def test_none_is_the_identity():
    image, label = _slice()
    same, same_label = augment(image, label, _rng(), NOTHING)
    assert torch.equal(same, image)
    assert torch.equal(same_label, label)


@pytest.mark.parametrize("policy", [SPATIAL, replace(SPATIAL, elastic=1.0), POLICIES["samed"],
                                    replace(SPATIAL, mirror=1.0)])
def test_image_and_label_move_together(policy):
    _, label = _slice()
    image = (label > 0).float()
    for seed in range(20):
        moved, moved_label = augment(image, label, _rng(seed), policy)
        # Both interpolate the same outline, so they part only along it.
        assert ((moved > 0.5) != (moved_label > 0)).float().mean() < 0.01


def test_all_slices_of_a_slab_move_alike():
    image, label = _slice(depth=4)
    moved, moved_label = augment(image, label, _rng(3), replace(SPATIAL, elastic=1.0))
    assert torch.equal(moved_label, moved_label[:1].expand(4, -1, -1))
    assert_close(moved, moved[:1].expand(4, -1, -1))


def test_rotation_and_scale_stay_in_their_ranges():
    """Measured on the label: the disc's area and the direction from the disc to the square."""
    _, label = _slice(128)
    policy = replace(SPATIAL, affine=1.0, elastic=0.0)
    area, angles, scales = float((label == 1).sum()), [], []
    for seed in range(60):
        _, moved = augment(label.float(), label, _rng(seed), policy)
        disc, square = ((moved[0] == value).nonzero().float().mean(0) for value in (1, 2))
        angles.append(float(torch.rad2deg(torch.atan2(*(square - disc)))))
        scales.append(float((moved == 1).sum() / area) ** 0.5)
    assert -23 < min(angles) < -10
    assert 10 < max(angles) < 26  # the square lies a little below the disc from the start
    assert 0.83 < min(scales) < 0.92
    assert 1.08 < max(scales) < 1.17


def test_the_default_never_swaps_left_and_right():
    _, label = _slice()
    for seed in range(40):
        _, moved = augment(label.float(), label, _rng(seed), DEFAULT)
        assert (moved[0] == 1).nonzero()[:, 1].float().mean() < (moved[0] == 2).nonzero()[:, 1].float().mean()


def test_mirror_swaps_left_and_right_exactly():
    image, label = _slice()
    mirrored, mirrored_label = augment(image, label, _rng(), replace(NOTHING, mirror=1.0))
    assert_close(mirrored, image.flip(-1))
    assert torch.equal(mirrored_label, label.flip(-1))


def test_a_flip_along_each_axis_by_itself():
    image, label = _slice()
    seen = set()
    for seed in range(40):
        moved, moved_label = augment(image, label, _rng(seed), replace(NOTHING, flip=0.5))
        axes = next(axes for axes in ([], [-1], [-2], [-2, -1]) if torch.equal(moved_label, label.flip(axes)))
        assert_close(moved, image.flip(axes))
        seen.add(tuple(axes))
    assert len(seen) == 4


def test_a_flip_comes_beside_the_affine_map_and_nothing_is_drawn_without_it():
    image, label = _slice()
    both = replace(NOTHING, affine=1.0, rotation=15.0)
    turned, _ = augment(image, label, _rng(1), both)
    flipped, _ = augment(image, label, _rng(1), replace(both, flip=1.0))
    assert not torch.allclose(flipped, turned, atol=0.05)
    seen, expected = _rng(1), _rng(1)
    sampling_grid(8, seen, both)
    expected.random(8)  # how it comes out: 3; angle, scale and shifts; elastic
    assert seen.random() == expected.random()


def test_quarter_turns_and_flips_are_exact():
    _, label = _slice()
    square = [turned for k in range(4) for turned in (label.rot90(k, (1, 2)), label.rot90(k, (1, 2)).flip(-1))]
    seen = set()
    for seed in range(60):
        _, moved = augment(label.float(), label, _rng(seed), replace(NOTHING, turn_and_flip=1.0))
        matches = [number for number, turned in enumerate(square) if torch.equal(turned, moved)]
        assert len(matches) == 1
        seen.update(matches)
    # SAMed always flips after turning, so four of the square's eight symmetries occur.
    assert seen == {1, 3, 5, 7}


def test_intensity_never_moves_a_label_and_changes_the_image():
    image, label = _slice()
    changed, same = augment(image, label, _rng(), replace(NOTHING, intensity=1.0))
    assert torch.equal(same, label)
    assert not torch.equal(changed, image)
    # The organs stay brighter than the background.
    assert changed[label == 2].mean() > changed[label == 1].mean() > changed[label == 0].mean()


def test_two_views_differ_from_each_other():
    image, _ = _slice()
    first, second = two_views(image, _rng())
    assert first.shape == second.shape == image.shape
    assert (first - second).abs().mean() > 0.01


def test_noise_has_the_asked_size_and_leaves_the_target_clean():
    image = torch.full((1, 128, 128), 0.5)
    noisy, clean = noisy_and_clean(image, _rng())
    assert torch.equal(clean, image)
    assert (noisy - clean).std().item() == pytest.approx(0.08, rel=0.05)
    assert torch.equal(noisy_and_clean(image, _rng(), sigma=0.0, blur=0.0)[0], image)


def test_blur_keeps_a_constant_image_up_to_its_edges():
    image = torch.full((1, 32, 32), 0.7)
    noisy, _ = noisy_and_clean(image, _rng(), sigma=0.0, blur=1.0)
    assert_close(noisy, image)


def test_refuses_impossible_values():
    with pytest.raises(ValueError, match="probability"):
        replace(DEFAULT, affine=1.5)
    with pytest.raises(ValueError, match="low first"):
        replace(DEFAULT, scale=(1.2, 0.8))
