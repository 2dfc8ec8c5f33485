"""Stage 2's objective: at which resolution it compares, and with which weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.model import Prediction, build_model
from SAMoraLib.variants import get_variant
from Testing.closeness import assert_close
from Testing.small import SIZE
from Training.data.slices import IGNORED
from Training.objectives.losses import dice_loss, segmentation_loss
from Training.objectives.segmentation import SegmentationLoss, SegmentationObjective

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = torch.randn(2, 3, 1, 8, 8, generator=GENERATOR)
LABEL = torch.randint(0, 3, (2, 1, 8, 8), generator=GENERATOR)


class Fixed(nn.Module):
    """Answers with the same logits for slices of 16 pixels."""

    def forward(self, image: Tensor) -> Prediction:
        return Prediction(LOGITS, None, (image.shape[-2], image.shape[-1]))


@pytest.mark.parametrize("resolution", ["low", "full"])
def test_segmentation_compares_at_the_chosen_resolution(resolution: str) -> None:
    torch.manual_seed(0)
    model = build_model(get_variant("samed", encoder_size=SIZE), 2, 32)
    image = torch.rand(2, 1, 1, 32, 32)
    label = torch.zeros(2, 1, 32, 32, dtype=torch.long)
    label[:, :, 8:, 8:] = 1
    loss = SegmentationObjective(model, resolution)([image, label])
    prediction = model(image)
    if resolution == "low":
        side = prediction.low_res_logits.shape[-1]
        rows = torch.round(torch.linspace(0, 31, side)).long()  # order-0 zoom keeps the corners
        expected = segmentation_loss(prediction.low_res_logits, label[..., rows, :][..., rows])
    else:
        expected = segmentation_loss(prediction.logits, label)
    assert_close(loss, expected)


def test_labels_are_reduced_if_nothing_else_is_said() -> None:
    label = torch.randint(0, 3, (2, 1, 16, 16), generator=torch.Generator().manual_seed(1))
    batch = [torch.zeros(2, 1, 1, 16, 16), label]
    assert torch.equal(SegmentationObjective(Fixed())(batch), SegmentationObjective(Fixed(), "low")(batch))
    assert not torch.isclose(SegmentationObjective(Fixed())(batch), SegmentationObjective(Fixed(), "full")(batch))


def test_the_papers_weights_are_the_default() -> None:
    """0.2 cross-entropy and 0.8 Dice (SAMora eq. 9)."""
    entropy, dice = nn.functional.cross_entropy(LOGITS, LABEL), dice_loss(LOGITS, LABEL)
    assert_close(SegmentationLoss()(LOGITS, LABEL), 0.2 * entropy + 0.8 * dice)
    assert_close(SegmentationObjective(Fixed())([torch.zeros(2, 1, 1, 8, 8), LABEL]), 0.2 * entropy + 0.8 * dice)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)])
def test_each_part_has_its_own_weight(weights: tuple[float, float]) -> None:
    entropy, dice = nn.functional.cross_entropy(LOGITS, LABEL), dice_loss(LOGITS, LABEL)
    expected = weights[0] * entropy + weights[1] * dice
    assert_close(SegmentationLoss(*weights)(LOGITS, LABEL), expected)
    assert_close(SegmentationObjective(Fixed(), "low", *weights)([torch.zeros(2, 1, 1, 8, 8), LABEL]), expected)


def test_class_weights_weigh_the_dice_alone() -> None:
    weights = (1.0, 1.0, 4.0)
    entropy, dice = nn.functional.cross_entropy(LOGITS, LABEL), dice_loss(LOGITS, LABEL, torch.tensor(weights))
    assert not torch.isclose(dice, dice_loss(LOGITS, LABEL))
    assert_close(SegmentationLoss(0.2, 0.8, weights)(LOGITS, LABEL), 0.2 * entropy + 0.8 * dice)


def test_class_weights_go_to_the_device_but_into_no_file() -> None:
    loss = SegmentationLoss(class_weights=(1.0, 2.0))
    assert [name for name, _ in loss.named_buffers()] == ["class_weights"]
    assert not loss.state_dict() and SegmentationLoss().class_weights is None


def test_labels_of_any_whole_number_type_are_taken_and_unknown_ones_left_out() -> None:
    assert torch.equal(SegmentationLoss()(LOGITS, LABEL.to(torch.int16)), SegmentationLoss()(LOGITS, LABEL))
    unknown = LABEL.clone()
    unknown[0] = IGNORED
    assert_close(SegmentationLoss()(LOGITS, unknown), SegmentationLoss()(LOGITS[1:], LABEL[1:]))
