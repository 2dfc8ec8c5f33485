"""The segmentation loss: the published ones, and what costs nothing and what everything."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from Testing.closeness import assert_close
from Training.objectives.losses import dice_loss, low_res_label, segmentation_loss


def test_agrees_with_samed(golden):
    logits = torch.from_numpy(golden["logits"])[:, :, None]  # (B, K, h, w) -> (B, K, D=1, h, w)
    label = torch.from_numpy(golden["label"])[:, None]
    assert_close(dice_loss(logits, label), float(golden["samed_dice_loss"]))
    expected = 0.2 * float(golden["samed_ce"]) + 0.8 * float(golden["samed_dice_loss"])
    assert_close(segmentation_loss(logits, label), expected)


def test_agrees_with_ma_sam_where_pixels_do_not_count(golden):
    logits = torch.from_numpy(golden["logits"])[:, :, None]
    label = torch.from_numpy(golden["label_ignore"])[:, None]
    assert (label == -100).any()
    assert_close(dice_loss(logits, label), float(golden["masam_dice_loss"]))
    expected = 0.2 * float(golden["masam_ce"]) + 0.8 * float(golden["masam_dice_loss"])
    assert_close(segmentation_loss(logits, label), expected)


def test_perfect_prediction_costs_nothing_and_the_opposite_everything():
    label = torch.randint(0, 3, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    logits = 100.0 * F.one_hot(label, 3).movedim(-1, 1).float()
    assert_close(segmentation_loss(logits, label), 0.0, scale=1.0)
    assert_close(dice_loss(logits.roll(1, dims=1), label), 1.0)


def test_sums_run_over_the_batch_so_an_absent_class_is_judged_with_the_others():
    label = torch.zeros(2, 1, 4, 4, dtype=torch.int64)
    label[0] = 1
    logits = torch.zeros(2, 2, 1, 4, 4)
    logits[:, 1] = 4.0  # class 1 everywhere: right in the first item only
    assert_close(dice_loss(logits, label), dice_loss(logits.flip(0), label))
    p = torch.softmax(torch.tensor([0.0, 4.0]), 0)
    expected = 1 - (2 * 16 * p) / (32 * p.square() + 16)
    assert_close(dice_loss(logits, label), expected.mean())


def test_depth_is_only_more_pixels():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 3, 1, 6, 6, generator=generator)
    label = torch.randint(0, 3, (4, 1, 6, 6), generator=generator)
    as_slab = segmentation_loss(logits.movedim(0, 2).reshape(1, 3, 4, 6, 6), label.reshape(1, 4, 6, 6))
    assert_close(segmentation_loss(logits, label), as_slab)


def test_half_precision_does_not_overflow():
    label = torch.ones(4, 1, 128, 128, dtype=torch.int64)
    loss = segmentation_loss(torch.full((4, 2, 1, 128, 128), 3.0, dtype=torch.float16), label)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)


def test_says_when_the_label_is_on_another_grid():
    with pytest.raises(ValueError, match="resize it first"):
        segmentation_loss(torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 1, 16, 16, dtype=torch.int64))


def test_class_weights_weigh_the_classes_in_the_dice_mean() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 3, 1, 6, 6), torch.randint(0, 3, (2, 1, 6, 6))
    single = torch.stack([dice_loss(logits, label, weights) for weights in torch.eye(3)])
    assert_close(dice_loss(logits, label), single.mean())
    weights = torch.tensor([1.0, 1.0, 4.0])
    assert_close(dice_loss(logits, label, weights), (single * weights).sum() / 6)


def test_a_class_that_is_neither_there_nor_found_costs_nothing() -> None:
    logits = torch.zeros(1, 3, 1, 4, 4)
    logits[:, 0] = 200.0
    nothing = torch.zeros(1, 1, 4, 4, dtype=torch.int64)
    assert_close(dice_loss(logits, nothing), 0.0, scale=1.0)
    assert_close(dice_loss(logits, nothing + 1), 2 / 3)  # found and not there, there and not found, neither


def test_dice_by_hand() -> None:
    """Two pixels of two classes, half sure of both: 2 * 1/2 of 2 * 1/4 + 1."""
    label = torch.tensor([[[[0, 1]]]])
    assert_close(dice_loss(torch.zeros(1, 2, 1, 1, 2), label), 1 - 1 / 1.5)
    assert_close(segmentation_loss(torch.zeros(1, 2, 1, 1, 2), label, 1.0, 0.0), math.log(2))


def test_the_papers_weights_are_the_default() -> None:
    logits, label = torch.zeros(1, 2, 1, 1, 2), torch.tensor([[[[0, 1]]]])
    assert_close(segmentation_loss(logits, label), 0.2 * math.log(2) + 0.8 * (1 - 1 / 1.5))


def test_pixels_that_do_not_count_change_nothing() -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(2, 3, 1, 6, 6, generator=generator)
    label = torch.randint(0, 3, (2, 1, 6, 6), generator=generator)
    label[:, :, 4:] = -100
    assert_close(dice_loss(logits, label), dice_loss(logits[..., :4, :], label[..., :4, :]))
    assert_close(segmentation_loss(logits, label), segmentation_loss(logits[..., :4, :], label[..., :4, :]))


def test_labels_are_reduced_to_the_nearest_pixel_and_keep_their_corners() -> None:
    label = torch.arange(49).reshape(1, 7, 7)
    assert low_res_label(label, 3).tolist() == [[[0, 3, 6], [21, 24, 27], [42, 45, 48]]]
    assert low_res_label(label, 7).equal(label)
    assert low_res_label(label, 1).tolist() == [[[0]]]
    assert low_res_label(label, 2).tolist() == [[[0, 6], [42, 48]]]


def test_labels_half_way_go_to_the_later_pixel() -> None:
    row = torch.arange(4).expand(1, 4, 4)  # of four pixels the middle of three lies between the second and the third
    assert low_res_label(row, 3)[0, 0].tolist() == [0, 2, 3]
    assert low_res_label(row, 7)[0, 0].tolist() == [0, 1, 1, 2, 2, 3, 3]
