"""Pixel level: rebuild the clean slice from a degraded one (SAMora eq. 1 with F the identity)."""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.model import as_rgb_slices


def _up(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(channels, out, 2, stride=2), nn.GroupNorm(1, out), nn.GELU(),
                         nn.Conv2d(out, out, 3, padding=1), nn.GELU())


class DenoisingObjective(nn.Module):
    """Mean squared error of the image that a small up-sampling decoder rebuilds from the embedding.

    The decoder sees the embedding alone, without skips from the noisy image: what it rebuilds, the encoder has kept.
    """

    def __init__(self, encoder: SamImageEncoder, out_chans: int, patch_size: int) -> None:
        super().__init__()
        self.encoder = encoder
        stages = patch_size.bit_length() - 1
        widths = [max(out_chans >> stage, 16) for stage in range(stages + 1)]
        self.decoder = nn.Sequential(*(_up(a, b) for a, b in pairwise(widths)),
                                     nn.Conv2d(widths[-1], 1, 1))

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of (noisy, clean), (B, C, D, S, S) each."""
        noisy, clean = (as_rgb_slices(view) for view in views)
        rebuilt = self.decoder(self.encoder(noisy, "pixel"))
        return F.mse_loss(rebuilt, clean[:, 1:2])  # the slice itself, not its neighbours
