"""An expert that is taught with labels, for the positive control of the fusion: no part of the papers' method."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.model import as_rgb_slices
from Training.objectives.losses import segmentation_loss


class LabelledObjective(nn.Module):
    """Compare labels with what one linear layer reads from the embedding with the expert ``level``.

    A decoder would learn the organs itself and leave the expert nothing to know; what a linear layer finds, the
    low-rank pairs have put there.
    """

    def __init__(self, encoder: Encoder, level: str, out_chans: int, organs: int) -> None:
        super().__init__()
        self.encoder, self.level = encoder, level
        self.head = nn.Conv2d(out_chans, 1 + organs, 1)

    def forward(self, batch: list[Tensor]) -> Tensor:
        """Loss of (image (B, C, D, S, S), label (B, D, S, S))."""
        image, label = batch
        read = self.head(self.encoder(as_rgb_slices(image), self.level))
        logits = F.interpolate(read, label.shape[-2:], mode="bilinear", align_corners=False)
        return segmentation_loss(logits.unflatten(0, label.shape[:2]).transpose(1, 2), label)
