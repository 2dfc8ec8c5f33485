"""The loss of one target in its box."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SAMoraLib.model import Prediction
from Testing.closeness import assert_close
from Training.data.slices import IGNORED
from Training.objectives.losses import segmentation_loss
from Training.objectives.prompted import PromptedObjective
from Training.objectives.segmentation import SegmentationLoss


class Fixed(nn.Module):
    """Answers with the same logits, whatever the slabs."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, image: Tensor, boxes: Tensor) -> Prediction:
        assert boxes.shape == (len(image), 4)
        return Prediction(self.logits, None, tuple(image.shape[-2:]))


def test_each_slab_is_compared_on_its_own_target_and_the_background() -> None:
    torch.manual_seed(0)
    model = Fixed(torch.randn(2, 4, 3, 8, 8))
    label = torch.randint(0, 2, (2, 3, 8, 8))
    label[0, 0] = IGNORED
    loss = PromptedObjective(model, SegmentationLoss())([torch.rand(2, 1, 3, 8, 8), label, torch.zeros(2, 4),
                                                         torch.tensor([3, 1])])
    pairs = torch.stack([model.logits[0, [0, 3]], model.logits[1, [0, 1]]])
    assert_close(loss, segmentation_loss(pairs, label))
    loss.backward()
    touched = model.logits.grad.abs().amax((2, 3, 4)) > 0
    assert touched.tolist() == [[True, False, False, True], [True, True, False, False]]
    assert model.logits.grad[0, :, 0].abs().max() == 0  # nobody labelled this slice
