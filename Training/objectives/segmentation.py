"""Stage 2: 0.2 cross-entropy + 0.8 Dice on labelled slices (SAMora eq. 9)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from Training.objectives.losses import low_res_label, segmentation_loss


class SegmentationLoss(nn.Module):
    """``segmentation_loss`` with its weights.

    Args:
        class_weights: of background and each organ in the Dice's mean; all alike by default.
    """

    class_weights: Tensor | None

    def __init__(self, ce_weight: float = 0.2, dice_weight: float = 0.8, class_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.ce_weight, self.dice_weight = ce_weight, dice_weight
        self.register_buffer("class_weights", torch.tensor(class_weights) if class_weights else None, persistent=False)

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Logits (B, K, D, h, w) against a label (B, D, h, w)."""
        return segmentation_loss(logits, label.long(), self.ce_weight, self.dice_weight, self.class_weights)


class SegmentationObjective(nn.Module):
    """Compare a model's logits with labels, at the decoder's or at the slice's resolution.

    Args:
        model: maps slabs to a ``SAMoraLib.model.Prediction``.
        resolution: "low" is SAMed's (labels reduced to the decoder's grid), "full" enlarges the logits instead.
        class_weights: of background and each organ in the Dice's mean; all alike by default.
    """

    def __init__(self, model: nn.Module, resolution: str = "low", ce_weight: float = 0.2,
                 dice_weight: float = 0.8, class_weights: Sequence[float] = ()) -> None:
        super().__init__()
        self.model = model
        self.resolution = resolution
        self.loss = SegmentationLoss(ce_weight, dice_weight, class_weights)

    def forward(self, batch: list[Tensor]) -> Tensor:
        """Loss of (image (B, C, D, S, S), label (B, D, S, S))."""
        image, label = batch
        prediction = self.model(image)
        if self.resolution == "full":
            return self.loss(prediction.logits, label)
        logits = prediction.low_res_logits
        return self.loss(logits, low_res_label(label, logits.shape[-1]))
