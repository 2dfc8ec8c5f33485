"""TP-Mamba's adapter: convolutions over near and far slices, then Mamba along three planes (TP-Mamba, figure 2c).

Legend: N = B * D slices, the D of a slab in a row; h x w token grid; d channels of the encoder, r of the adapter.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.adapters.triplane_mamba import PlaneMamba, Planes
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.variants import Variant

DILATIONS = (1, 2, 4, 8)


class DepthConvolution(nn.Module):
    """x + up(between(multi-scale(down(x)))) with kernels of 3 x 1 x 1 (section 2.2).

    The last convolution starts at zero, so that the encoder starts as pretrained. Instance normalisation and GELU
    follow the other five, as in the released code; the paper is silent.

    Args:
        between: the tri-plane module; nothing, as in the released SAM_MS.
    """

    def __init__(self, dim: int, width: int, between: nn.Module | None = None) -> None:
        super().__init__()
        self.down = _depth_convolution(dim, width, 1)
        quarter = width // len(DILATIONS)
        self.scales = nn.ModuleList(_depth_convolution(width, quarter, dilation) for dilation in DILATIONS)
        self.between = between or nn.Identity()
        self.up = _depth_convolution(width, dim, 1)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """(N, h, w, d) -> (N, h, w, d), slices of the same slab ``depth`` at a time."""
        slabs = _normalised(self.down(x.unflatten(0, (-1, depth)).movedim(-1, 1)))
        scales = torch.cat([_normalised(scale(slabs)) for scale in self.scales], dim=1)
        mixed: Tensor = self.between(scales.movedim(1, -1))
        return x + self.up(mixed.movedim(-1, 1)).movedim(1, -1).flatten(0, 1)


def _depth_convolution(before: int, after: int, dilation: int) -> nn.Conv3d:
    return nn.Conv3d(before, after, (3, 1, 1), padding=(dilation, 0, 0), dilation=(dilation, 1, 1), bias=False)


def _normalised(slabs: Tensor) -> Tensor:
    return F.gelu(F.instance_norm(slabs))


def add_adapters_after_blocks(encoder: SamImageEncoder, variant: Variant) -> None:
    """Put the variant's adapter behind every block (TP-Mamba eq. 1).

    Raises:
        ValueError: the encoder is too narrow for an adapter of a quarter of its width.
    """
    dim = variant.size.embed_dim
    width = dim // 4
    if width % len(DILATIONS):
        raise ValueError(f"TP-Mamba's adapter has a quarter of the encoder's width, {width}, which four convolutions "
                         "cannot share; choose an encoder whose width is a multiple of 16.")
    encoder.depth_adapters = nn.ModuleList(_adapter(dim, width, variant) for _ in encoder.blocks)


def _adapter(dim: int, width: int, variant: Variant) -> nn.Module:
    if variant.depth_adapter == "plane_mamba":
        return PlaneMamba(dim, width, variant.planes)
    planes = Planes(width, variant.planes) if variant.depth_adapter == "triplane_mamba" else None
    return DepthConvolution(dim, width, planes)
