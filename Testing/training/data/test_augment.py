from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from Testing.closeness import assert_close
from Training.data.augment import (
    DEFAULT,
    POLICIES,
    augment,
    change_intensity,
    noisy_and_clean,
    one_view,
    sampling_grid,
    two_views,
)

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


# One change of intensity at a time: all others keep what is there.
KEPT = replace(NOTHING, intensity=1.0, gamma=(1.0, 1.0), brightness=0.0, contrast=(1.0, 1.0), shading=0.0,
               blur=(0.01, 0.01), noise=0.0)
SEEDS = range(300)


def changed(image, **policy):
    """The image after each seed's change, (seeds, S, S)."""
    changing = replace(KEPT, **policy)
    return torch.stack([change_intensity(image, _rng(seed), changing)[0] for seed in SEEDS])


def flat(*values):
    """A pixel of each value, on a slice of its own width."""
    return torch.tensor(values).expand(1, len(values), len(values)).contiguous()


def test_nothing_changes_where_every_range_is_a_point():
    image = torch.rand((2, 9, 9), generator=torch.Generator().manual_seed(0))
    assert_close(change_intensity(image, _rng(), KEPT), image)


def test_gamma_is_as_often_half_as_twice():
    found = changed(flat(0.25, 0.5, 0.0, 1.0), gamma=(0.5, 2.0))
    exponents = found[:, 0, 1].log2().neg().numpy()
    assert 0.5 <= exponents.min() < 0.52 and 1.95 < exponents.max() <= 2.001
    assert 0.45 < (exponents < 1).mean() < 0.55
    assert np.allclose(found[:, 0, 0], 0.25 ** exponents, atol=1e-5)
    assert (found[:, 0, 2] == 0).all() and (found[:, 0, 3] == 1).all()


def test_gamma_takes_what_lies_outside_for_the_ends():
    """As where an interpolation overshot."""
    found = changed(flat(-0.5, 1.5), gamma=(0.5, 2.0), contrast=(0.5, 0.5))
    assert_close(found[:, 0], torch.tensor([0.25, 0.75]).expand(len(SEEDS), 2))


def test_brightness_moves_all_values_by_up_to_its_size():
    found = changed(flat(0.4, 0.7), brightness=0.2)
    offsets = (found[:, 0, 0] - 0.4).numpy()
    assert -0.2001 <= offsets.min() < -0.19 and 0.19 < offsets.max() <= 0.2001 and abs(offsets.mean()) < 0.02
    assert np.allclose(found[:, 0, 1] - 0.7, offsets, atol=1e-5)


def test_contrast_turns_about_the_middle_of_the_range():
    found = changed(flat(0.4, 0.5, 0.7), contrast=(0.5, 1.5))
    factors = ((found[:, 0, 2] - found[:, 0, 0]) / 0.3).numpy()
    assert 0.499 <= factors.min() < 0.51 and 1.49 < factors.max() <= 1.501
    assert np.allclose(found[:, 0, 1], 0.5, atol=1e-6)


def test_what_leaves_the_range_is_cut_off():
    found = changed(flat(0.0, 1.0), brightness=0.5)
    assert (found.min(), found.max()) == (0, 1)


def test_shading_is_a_smooth_gain_of_four_nodes_a_side():
    """On a slice of four pixels a side each is a node: independent, of the standard deviation that is asked for."""
    logs = (changed(torch.full((1, 4, 4), 0.25), shading=0.15) / 0.25).log().numpy()
    assert logs.std() == pytest.approx(0.15, rel=0.04) and abs(logs.mean()) < 0.01
    assert logs[:, 1, 2].std() == pytest.approx(0.15, rel=0.12)
    assert abs(np.corrcoef(logs[:, 1, 1], logs[:, 1, 2])[0, 1]) < 0.15
    smooth = changed(torch.full((1, 31, 31), 0.25), shading=0.15).log()
    assert smooth.diff(dim=2).std() < 0.2 * smooth.std()


@pytest.mark.parametrize("blur", [(0.5, 1.0), (2.0, 2.0)])
def test_a_blur_spreads_a_pixel_as_a_gaussian_does(blur):
    image = torch.zeros(1, 11, 11)
    image[0, 5, 5] = 1
    found = changed(image, blur=blur).numpy()
    sigmas = np.sqrt(-0.5 / np.log(found[:, 5, 6] / found[:, 5, 5]))
    assert blur[0] - 0.01 <= sigmas.min() < blur[0] + 0.02 and blur[1] - 0.02 < sigmas.max() <= blur[1] + 0.01
    assert np.allclose(found.sum(axis=(1, 2)), 1, atol=1e-5)
    assert np.allclose(found[:, 5, 8] / found[:, 5, 5], np.exp(-4.5 / sigmas**2), atol=1e-4)
    assert np.allclose(found[:, 3, 6], found[:, 3, 5] * found[:, 5, 6] / found[:, 5, 5], atol=1e-5)
    assert found[:, 5, 1].max() == 0 and np.allclose(found, found.transpose(0, 2, 1), atol=1e-6)


def test_noise_has_up_to_its_size():
    found = changed(torch.full((1, 20, 20), 0.5), noise=0.05).numpy()
    sizes = (found - 0.5).std(axis=(1, 2))
    assert sizes.min() < 0.001 and 0.045 < sizes.max() < 0.055 and sizes.mean() == pytest.approx(0.025, rel=0.1)


def test_each_change_of_intensity_happens_by_itself():
    """Half as often if that is asked for, and any of them without the others."""
    image, likely = flat(0.2, 0.9), replace(KEPT, intensity=0.5, gamma=(2.0, 2.0), contrast=(0.5, 0.5))
    found = {tuple(change_intensity(image, _rng(seed), likely)[0, 0].mul(1e4).round().long().tolist())
             for seed in range(60)}
    assert found == {(2000, 9000), (400, 8100), (3500, 7000), (2700, 6550)}


def motions(**policy):
    """Where the middle (0, 0) and the points one to the right and one below it are read, per seed: (seeds, 3, 2)."""
    still = {"affine": 1.0, "rotation": 0.0, "scale": (1.0, 1.0), "translation": 0.0} | policy
    found = []
    for seed in SEEDS:
        grid = sampling_grid(2, _rng(seed), replace(NOTHING, **still))[0].double().numpy()  # points at +- 1/2
        middle = grid.mean(axis=(0, 1))
        found.append([middle, grid[:, 1].mean(axis=0) * 2 - middle * 2, grid[1].mean(axis=0) * 2 - middle * 2])
    return np.array(found)


def test_a_shift_is_up_to_its_share_of_the_side_along_each_axis():
    middle, right, below = motions(translation=0.1).transpose(1, 0, 2)
    assert (middle.min(axis=0) < -0.19).all() and (middle.max(axis=0) > 0.19).all() and np.abs(middle).max() <= 0.2001
    assert abs(np.corrcoef(*middle.T)[0, 1]) < 0.15
    assert np.allclose(right, [1, 0], atol=1e-6) and np.allclose(below, [0, 1], atol=1e-6)


def test_a_slice_is_as_often_made_small_as_large():
    middle, right, below = motions(scale=(0.5, 2.0)).transpose(1, 0, 2)
    sizes = 1 / right[:, 0]
    assert 0.499 <= sizes.min() < 0.52 and 1.95 < sizes.max() <= 2.001 and 0.45 < (sizes < 1).mean() < 0.55
    assert np.allclose(below[:, 1], right[:, 0]) and np.allclose(right[:, 1], 0) and np.allclose(middle, 0)


def test_a_turn_keeps_lengths_and_angles():
    _, right, below = motions(rotation=30.0, scale=(2.0, 2.0)).transpose(1, 0, 2)
    assert np.allclose(np.hypot(*right.T), 0.5) and np.allclose(below, right[:, ::-1] * [-1, 1])
    angles = np.degrees(np.arctan2(right[:, 1], right[:, 0]))
    assert -30.01 <= angles.min() < -29 and 29 < angles.max() <= 30.01 and abs(angles.mean()) < 3


def test_nodes_are_moved_by_the_asked_share_of_the_side():
    """As many nodes as pixels, so that each is moved by itself."""
    policy = replace(NOTHING, elastic=1.0, elastic_size=0.02, elastic_nodes=5)
    places = (2 * np.arange(5) + 1) / 5 - 1
    still = np.stack(np.meshgrid(places, places), axis=-1)  # x, y
    moves = np.stack([sampling_grid(5, _rng(seed), policy)[0].numpy() - still for seed in SEEDS])
    assert moves.shape == (300, 5, 5, 2)
    assert moves.std() == pytest.approx(2 * 0.02, rel=0.03) and abs(moves.mean()) < 0.001
    assert abs(np.corrcoef(moves[..., 0].ravel(), moves[..., 1].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(moves[:, 2, 1, 0], moves[:, 2, 2, 0])[0, 1]) < 0.2


def test_fewer_nodes_make_a_smoother_field():
    policies = [replace(NOTHING, elastic=1.0, elastic_nodes=nodes) for nodes in (3, 12)]
    rough = [float(np.mean([sampling_grid(48, _rng(seed), policy).diff(dim=2).diff(dim=2).square().mean()
                            for seed in range(20)])) for policy in policies]
    assert rough[0] < 0.01 * rough[1]


def test_what_comes_from_outside_is_nothing():
    image = torch.ones(1, 32, 32)
    moved, label = augment(image, image.to(torch.uint8), _rng(), replace(NOTHING, affine=1.0, scale=(0.5, 0.5),
                                                                         rotation=0.0, translation=0.0))
    assert moved[0, 8:24, 8:24].min() == 1 and moved.sum() == label.sum() == 16 * 16


def test_the_target_of_denoising_is_blurred_half_the_time_by_a_pixel():
    image = torch.zeros(1, 11, 11)
    image[0, 5, 5] = 1
    noisy = [noisy_and_clean(image, _rng(seed), sigma=0.0)[0][0] for seed in SEEDS]
    blurred = [one for one in noisy if one[5, 5] < 1]
    assert 0.42 < len(blurred) / len(noisy) < 0.58
    assert all(one[5, 6] / one[5, 5] == pytest.approx(np.exp(-0.5), abs=1e-4) for one in blurred)
    bright, clean = noisy_and_clean(torch.full((1, 30, 30), 0.99), _rng())
    assert bright.max() == 1 and clean.min() == pytest.approx(0.99)
    assert noisy_and_clean(torch.zeros(1, 30, 30), _rng())[0].min() == 0


def test_a_single_view_is_the_first_of_two():
    image, _ = _slice()
    [alone] = one_view(image, _rng(5))
    assert torch.equal(alone, two_views(image, _rng(5))[0]) and alone.shape == image.shape


@pytest.mark.parametrize("name", ["turn_and_flip", "affine", "mirror", "elastic", "intensity"])
def test_a_probability_is_from_0_to_1(name):
    assert getattr(replace(DEFAULT, **{name: 0.0}), name) == 0 and getattr(replace(DEFAULT, **{name: 1.0}), name) == 1
    for value in (-0.01, 1.01):
        with pytest.raises(ValueError, match=f"augmentation's {name} is {value}; give a probability, 0 to 1"):
            replace(DEFAULT, **{name: value})


@pytest.mark.parametrize("name", ["scale", "gamma", "contrast", "blur"])
def test_a_range_is_positive_and_may_be_a_point(name):
    assert getattr(replace(DEFAULT, **{name: (0.5, 0.5)}), name) == (0.5, 0.5)
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.51, 0.5)):
        with pytest.raises(ValueError, match=f"augmentation's {name} is {low}..{high}; give a positive range"):
            replace(DEFAULT, **{name: (low, high)})


def _scene():
    """A soft spot below the middle on the left, and a bright right edge."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    return (0.1 + 0.5 * torch.exp(-((x - 10) ** 2 + (y - 18) ** 2) / 60) + 0.3 * (x > 22))[None]


ALWAYS = replace(DEFAULT, affine=1.0, elastic=1.0, elastic_size=0.05, intensity=1.0)


@pytest.mark.parametrize(("policy", "seed", "quarters"), [
    (ALWAYS, 1, (0.23625, 0.32512, 0.30874, 0.25648)), (ALWAYS, 2, (0.45124, 0.42725, 0.56228, 0.48514)),
    (POLICIES["samed"], 4, (0.19708, 0.28748, 0.30091, 0.30751)),
    (POLICIES["views"], 4, (0.24952, 0.1518, 0.19973, 0.21616)),
], ids=["always 1", "always 2", "samed", "views"])
def test_what_a_seed_makes_of_a_slice_stays_what_it_was(policy, seed, quarters):
    """Runs go on after an update, and what was published is trained again: the means of four quarters."""
    moved, _ = augment(_scene(), None, _rng(seed), policy)
    assert torch.nn.functional.avg_pool2d(moved, 16).flatten().tolist() == pytest.approx(quarters, abs=2e-4)


def test_the_noise_of_a_seed_stays_what_it_was():
    noisy, _ = noisy_and_clean(_scene(), _rng(3), sigma=0.2)
    assert noisy[0, 20, 4:8].tolist() == pytest.approx((0.14245, 0.16389, 0.8707, 0.64398), abs=2e-4)
