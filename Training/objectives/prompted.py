"""One target in its box against the background (MA-SAM's prompt mode)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from Training.objectives.segmentation import SegmentationLoss


class PromptedObjective(nn.Module):
    """Compare the target's logits and the background's, and no others, with a label of the target alone.

    A loss over all organs would ask every other organ's mask to be empty whenever it is not the target, which is nearly
    always: with eight organs on phantoms half of them were then never found.

    Args:
        model: maps slabs and boxes to a ``SAMoraLib.model.Prediction``.
    """

    def __init__(self, model: nn.Module, loss: SegmentationLoss) -> None:
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, batch: list[Tensor]) -> Tensor:
        """Loss of (image (B, C, D, S, S), label (B, D, S, S) of 0 and 1, box (B, 4), target (B,))."""
        image, label, boxes, target = batch
        logits = self.model(image, boxes).logits
        chosen = logits[torch.arange(len(target), device=target.device), target]
        return self.loss(torch.stack([logits[:, 0], chosen], dim=1), label)
