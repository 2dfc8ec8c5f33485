"""Stage 2 of the rows with two decoders: both are supervised, and rare classes are blurred most (H-SAM, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from SAMoraLib.model import SegmentationModel
from Training.objectives.losses import low_res_label
from Training.objectives.segmentation import SegmentationLoss
from Training.settings.deep_supervision import DeepSupervision

HIGHEST_VARIANCE = 0.35  # of the rarest class: the highest in the released code's list


class HierarchicalObjective(nn.Module):
    """The first decoder against labels at its own resolution, the second at the slice's.

    Args:
        model: of a row whose decoder is "hierarchical".
        frequencies: (K,), share of background and each class in the training set's pixels.
        supervision: how the two losses are weighted as training goes on.
        loss: of one decoder.
    """

    spread: Tensor

    def __init__(self, model: SegmentationModel, frequencies: Sequence[float], supervision: DeepSupervision,
                 loss: SegmentationLoss) -> None:
        super().__init__()
        self.model = model
        self.supervision = supervision
        self.loss = loss
        self.register_buffer("spread", noise_spread(torch.tensor(frequencies)), persistent=False)

    def forward(self, batch: list[Tensor]) -> Tensor:
        """Loss of (image (B, C, D, S, S), label (B, D, S, S), epoch (B,))."""
        image, label, epochs = batch
        features = self.model.encode(image)
        features = replace(features, noise=self._noise(label, features.embedding.shape[-1]))
        first, second = self.model.decode(features).auxiliary
        share = sum(self.supervision.first_share(epoch) for epoch in epochs.tolist()) / len(epochs)
        return (share * self.loss(first, low_res_label(label, first.shape[-1]))
                + (1 - share) * self.loss(second, low_res_label(label, second.shape[-1])))

    def _noise(self, label: Tensor, grid: int) -> Tensor:
        """(N, grid, grid): what eq. 1 adds where the label says so, nothing where it is unknown."""
        reduced = low_res_label(label, grid).flatten(0, 1)
        return self.spread[reduced.clamp(min=0)] * (reduced >= 0)


def noise_spread(frequencies: Tensor) -> Tensor:
    """Standard deviation of each class's noise: its variance is inversely proportional to the frequency (H-SAM, eq. 1).

    Args:
        frequencies: (K,); a class of frequency 0 is never met and gets none.
    """
    met = frequencies > 0
    rarest = frequencies[met].min()
    return torch.where(met, HIGHEST_VARIANCE * rarest / frequencies.where(met, rarest), 0).sqrt()
