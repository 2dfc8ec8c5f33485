"""Stage 2: 0.2 cross-entropy + 0.8 Dice on labelled slices (SAMora eq. 9)."""

from __future__ import annotations

from torch import Tensor, nn

from Training.data.slices import low_res_label
from Training.losses import segmentation_loss


class SegmentationObjective(nn.Module):
    """Compare a model's logits with labels, at the decoder's or at the slice's resolution.

    Args:
        model: maps slabs to a ``SAMoraLib.model.Prediction``.
        resolution: "low" is SAMed's (labels reduced to the decoder's grid), "full" enlarges the logits instead.
    """

    def __init__(self, model: nn.Module, resolution: str = "low", ce_weight: float = 0.2,
                 dice_weight: float = 0.8) -> None:
        super().__init__()
        self.model = model
        self.resolution = resolution
        self.ce_weight, self.dice_weight = ce_weight, dice_weight

    def forward(self, batch: list[Tensor]) -> Tensor:
        """Loss of (image (B, C, D, S, S), label (B, D, S, S))."""
        image, label = batch
        prediction = self.model(image)
        if self.resolution == "low":
            logits = prediction.low_res_logits
            label = low_res_label(label, logits.shape[-1])
        else:
            logits = prediction.logits
        return segmentation_loss(logits, label.long(), self.ce_weight, self.dice_weight)
