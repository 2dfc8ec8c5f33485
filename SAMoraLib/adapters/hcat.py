"""HCAT in the place of HL-Attn (SAMora, table 10): the same two steps, each a whole cross-attention layer."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.adapters.hl_attn import STEPS
from SAMoraLib.kernels.attention import attention
from SAMoraLib.variants import Fusion

HEADS = 8
EXPANSION = 4  # of the feed-forward part


class CrossAttentionLayer(nn.Module):
    """Multi-head cross-attention and a feed-forward part, each with its residual and normalised behind it.

    The layer of HCAT (Chen et al. 2022) and of TransT before it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.lin1, self.lin2 = nn.Linear(width, EXPANSION * width), nn.Linear(EXPANSION * width, width)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Query ``high`` (B, N, w) attends to ``low`` (B, N, w)."""
        q, k, v = (project(x).unflatten(-1, (HEADS, -1))
                   for project, x in ((self.q, high), (self.k, low), (self.v, low)))
        high = self.norm1(high + self.o(attention(q, k, v).flatten(2)))
        return self.norm2(high + self.lin2(F.relu(self.lin1(high))))


class HierarchicalCrossAttention(nn.Module):
    """Two such layers over the experts' streams, at ``fusion.width`` channels.

    The last projection starts at zero, as HL-Attn's does: stage 2 starts exactly at the pretrained encoder.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, fusion: Fusion) -> None:
        super().__init__()
        if fusion.width % HEADS:
            raise ValueError(f"HCAT has {HEADS} heads, which do not divide the fusion's width {fusion.width}; choose a "
                             f"multiple of {HEADS}.")
        self.steps = STEPS[fusion.order]
        self.enter = nn.Linear(dim, fusion.width)
        self.low, self.high = CrossAttentionLayer(fusion.width), CrossAttentionLayer(fusion.width)
        self.leave = nn.Linear(fusion.width, dim, bias=False)
        nn.init.zeros_(self.leave.weight)

    def forward(self, streams: dict[str, Tensor]) -> Tensor:
        """Streams "image", "patch", "pixel" (B, N, d) -> E_Omega (B, N, d)."""
        known = {name: self.enter(stream) for name, stream in streams.items()}
        for layer, (query, key) in zip((self.low, self.high), self.steps, strict=True):
            known["fused"] = layer(known[query], known[key])
        leaving: Tensor = self.leave(known["fused"])
        return leaving
