"""TP-Mamba's long-range adapter: Mamba along the planes of a slab (TP-Mamba eq. 3, figure 2c).

Legend: N = B * D slices, the D of a slab in a row; h x w token grid; d channels of the encoder, r of the adapter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.adapters.mamba import Mamba

# plane -> the order in which (B, D, h, w, r) is laid out, and how many of these dimensions are sequences of their own.
ORDERS = {
    "volume": ((0, 1, 2, 3, 4), 1),  # (B, D h w, r)
    "hw": ((0, 1, 2, 3, 4), 2),  # (B D, h w, r)
    "dw": ((0, 2, 1, 3, 4), 2),  # (B h, D w, r)
    "dh": ((0, 3, 1, 2, 4), 2),  # (B w, D h, r)
}


class Planes(nn.Module):
    """GELU(LN(the sum of one Mamba per plane)); a single plane is the released SAM_Mamba's way.

    Args:
        planes: keys of ``ORDERS``.
    """

    def __init__(self, width: int, planes: Sequence[str]) -> None:
        super().__init__()
        self.mamba = nn.ModuleDict({plane: Mamba(width) for plane in planes})
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, h, w, r) -> (B, D, h, w, r)."""
        return F.gelu(self.norm(sum(along(x, plane, mamba) for plane, mamba in self.mamba.items())))


def along(x: Tensor, plane: str, mamba: nn.Module) -> Tensor:
    """Mamba over the tokens of each plane, row by row: (B, D, h, w, r) -> (B, D, h, w, r)."""
    order, sequences = ORDERS[plane]
    laid_out = x.permute(order)
    scanned: Tensor = mamba(laid_out.flatten(sequences, 3).flatten(0, sequences - 1)).view(laid_out.shape)
    back = sorted(range(5), key=order.__getitem__)
    return scanned.permute(back)


class PlaneMamba(nn.Module):
    """x + W_up Planes(W_down x), the released SAM_Mamba's adapter; W_up starts at zero, which changes nothing."""

    def __init__(self, dim: int, width: int, planes: Sequence[str]) -> None:
        super().__init__()
        self.down = nn.Linear(dim, width, bias=False)
        self.planes = Planes(width, planes)
        self.up = nn.Linear(width, dim, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """(N, h, w, d) -> (N, h, w, d), slices of the same slab ``depth`` at a time."""
        slabs = self.down(x).unflatten(0, (-1, depth))
        return x + self.up(self.planes(slabs)).flatten(0, 1)
