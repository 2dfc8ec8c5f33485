"""FacT: low-rank changes on q and v whose outer factors all blocks share (MA-SAM eq. 1-2; Jie and Deng 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.kernels.linear import Linear
from SAMoraLib.packages.subclassed import take_over

DROPOUT = 0.1  # of the released code, between Sigma and V; the paper is silent


class SharedFactors(nn.Module):
    """U (d to r) and V (r to d) of eq. 1; V starts at zero, so that the encoder starts as pretrained."""

    def __init__(self, dim: int, rank: int) -> None:
        super().__init__()
        self.u = nn.Linear(dim, rank, bias=False)
        self.v = nn.Linear(rank, dim, bias=False)
        nn.init.zeros_(self.v.weight)


class FacTLinear(Linear):
    """The fused qkv Linear of a block, with q += s V Sigma_q U x and v += s V Sigma_v U x (eq. 2).

    It *is* the Linear that it extends, as ``LoRALinear``. The shared factors stay the encoder's: a module of every
    block would save them once per block.
    """

    def __init__(self, linear: nn.Linear, shared: SharedFactors, scale: float = 1.0) -> None:
        take_over(self, linear)
        self.scale = scale
        rank = shared.u.out_features
        self.fact = nn.ModuleDict({part: nn.Linear(rank, rank, bias=False) for part in ("q", "v")})
        self.dropout = nn.Dropout(DROPOUT)
        self._shared: Sequence[SharedFactors] = (shared,)  # in a tuple torch does not take it for a part

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., 3d)."""
        (shared,) = self._shared
        out, reduced = super().forward(x), shared.u(x)
        change = {part: shared.v(self.dropout(sigma(reduced))) for part, sigma in self.fact.items()}
        if self.scale != 1:
            change = {part: self.scale * added for part, added in change.items()}
        q, k, v = out.chunk(3, dim=-1)
        return torch.cat([q + change["q"], k, v + change["v"]], dim=-1)


def add_fact_to_encoder(encoder: SamImageEncoder, rank: int, scale: float = 1.0) -> None:
    """Put FacT, times ``scale``, on q and v of every block; the factors that they share become ``encoder.fact``."""
    encoder.fact = SharedFactors(encoder.blocks[0].attn.qkv.in_features, rank)
    for block in encoder.blocks:
        block.attn.qkv = FacTLinear(block.attn.qkv, encoder.fact, scale)
