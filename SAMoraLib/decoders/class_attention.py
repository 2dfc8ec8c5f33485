"""CMAttn: the classes' own maps attend to each other and say where the embedding matters (H-SAM, section 3.2).

Shapes: N slices, K classes and background, h x w the embedding's grid, L = side * side positions that are attended.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.packages.segment_anything import DecoderAttention, MLPBlock

MOST_HEADS = 8
# Weights grow with the side's fourth power: 12.6 million at 32, the largest published grid, 151 million at 64.
LARGEST_SIDE = 32


class ClassAttention(nn.Module):
    """Self-attention between the K maps, each a token as long as the grid, and one linear layer over the classes.

    Args:
        grid: side of the embedding's grid; a larger one than ``LARGEST_SIDE`` is reduced to it.
        channels: K.
        mlp_dim: hidden width of the feed-forward network.
        inner: width inside the attentions; 0 for the number of positions, as published.

    Raises:
        ValueError: a width that the positions cannot be reduced to, or that the heads do not divide.
    """

    def __init__(self, grid: int, channels: int, mlp_dim: int, inner: int = 0) -> None:
        super().__init__()
        self.side = min(grid, LARGEST_SIDE)
        positions = self.side * self.side
        heads = attention_heads(positions)
        reduction = positions // (inner or positions)
        if inner and (reduction < 1 or positions // reduction != inner or inner % heads):
            raise ValueError(f"A class attention of {heads} heads over {positions} positions cannot be {inner} wide "
                             f"inside; choose a multiple of {heads} that divides {positions}.")
        self.self_attn = DecoderAttention(positions, heads, reduction)
        self.norm1 = nn.LayerNorm(positions)
        self.self_attn2 = DecoderAttention(positions, heads, reduction)
        self.norm2 = nn.LayerNorm(positions)
        self.mlp = MLPBlock(positions, mlp_dim, nn.ReLU)
        self.med_sel = nn.Sequential(nn.Linear(channels, 1), nn.ReLU())

    def forward(self, features: Tensor, spread: Tensor | None = None) -> Tensor:
        """Mask features (N, K, h, w) -> how much each position matters (N, 1, h, w), at least 0.

        Args:
            spread: (N, h, w), standard deviation of the class-balanced noise at each position; None adds none.
        """
        maps = F.adaptive_avg_pool2d(features, self.side).flatten(2)
        maps = F.layer_norm(maps, maps.shape[-1:])
        if spread is not None:  # P(gt = i) += N(0, var(i)), eq. 1
            reduced = F.interpolate(spread.unsqueeze(1), (self.side, self.side), mode="nearest")
            maps = maps + torch.randn_like(maps) * reduced.flatten(2)
        saliency = self.attend(maps).transpose(1, 2).unflatten(2, (self.side, self.side))
        return F.interpolate(saliency, features.shape[-2:], mode="bilinear", align_corners=False)

    def attend(self, maps: Tensor) -> Tensor:
        """Maps (N, K, L) -> saliency (N, L, 1)."""
        x = self.norm1(self.self_attn(maps, maps, maps))
        x = self.self_attn2(x, x, x)
        x = self.norm2(x + self.mlp(x))
        return self.med_sel(x.transpose(1, 2))


def attention_heads(positions: int) -> int:
    """The most heads up to eight that divide L: 7 for 14 x 14 and 8 for 32 x 32, as published."""
    return max(heads for heads in range(1, MOST_HEADS + 1) if positions % heads == 0)
