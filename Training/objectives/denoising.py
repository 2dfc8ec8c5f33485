"""Pixel level: rebuild the clean slice from a degraded one (SAMora eq. 1 with F the identity)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.model import as_rgb_slices
from Training.objectives.losses import SMOOTH


def _up(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(channels, out, 2, stride=2), nn.GroupNorm(1, out), nn.GELU(),
                         nn.Conv2d(out, out, 3, padding=1), nn.GELU())


class DenoisingObjective(nn.Module):
    """Compare the clean slice with the one that the U-Net's up-sampling half rebuilds from the embedding.

    The decoder sees the embedding alone, without skips from the noisy image: what it rebuilds, the encoder has kept.

    Args:
        dice_weight: share of ``image_dice`` in the loss, the rest is the mean squared error; 0.9 in supplement A.1.
            Above 0 the decoder ends in a sigmoid, as a Dice wants values in [0, 1].
    """

    def __init__(self, encoder: Encoder, out_chans: int, patch_size: int, dice_weight: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.dice_weight = dice_weight
        stages = patch_size.bit_length() - 1
        widths = [max(out_chans >> stage, 16) for stage in range(stages + 1)]
        self.decoder = nn.Sequential(*(_up(a, b) for a, b in pairwise(widths)),
                                     nn.Conv2d(widths[-1], 1, 1))

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of (noisy, clean), (B, C, D, S, S) each."""
        noisy, clean = (as_rgb_slices(view) for view in views)
        rebuilt, clean = self.decoder(self.encoder(noisy, "pixel")), clean[:, 1:2]  # the slice itself, no neighbours
        if not self.dice_weight:
            return F.mse_loss(rebuilt, clean)
        rebuilt = rebuilt.float().sigmoid()
        return self.dice_weight * image_dice(rebuilt, clean) + (1 - self.dice_weight) * F.mse_loss(rebuilt, clean)


def image_dice(rebuilt: Tensor, clean: Tensor) -> Tensor:
    """1 - 2<r, c> / (<r, r> + <c, c>) over a batch (B, 1, S, S), in one sum: a black slice alone would always cost 1.

    With squares in the denominator (V-Net's form) this is |r - c|^2 / (|r|^2 + |c|^2): 0 where, and only where, the two
    are equal. With plain sums the best rebuilt image is black and white: docs/decisions/0008-dice-on-images.md.
    """
    total = rebuilt.square().sum() + clean.square().sum()
    return 1 - (2 * (rebuilt * clean).sum() + SMOOTH) / (total + SMOOTH)
