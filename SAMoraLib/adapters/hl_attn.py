"""HL-Attn: hierarchical cross-attention over the three experts of one block (SAMora eq. 6-8, figure 3)."""

from __future__ import annotations

from torch import Tensor, nn

from SAMoraLib.kernels.attention import attention
from SAMoraLib.variants import Fusion

# order -> the two steps as (query, key/value); "fused" is the first step's output.
# The digits give the level at which image, patch and pixel enter (supplement, table 11).
STEPS = {
    "2-1-1": (("patch", "pixel"), ("image", "fused")),
    "1-1-2": (("image", "patch"), ("fused", "pixel")),
    "1-2-1": (("image", "pixel"), ("patch", "fused")),
}


class CrossAttention(nn.Module):
    """Eq. 8: softmax(Q_H K_L^T / sqrt(d_k)) V_L, bias-free, one head of width d_k, projected back to d."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(dim, width, bias=False) for _ in range(3))
        self.o = nn.Linear(width, dim, bias=False)

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Query ``high`` (B, N, d) attends to ``low`` (B, N, d)."""
        q, k, v = (project(x).unsqueeze(2) for project, x in ((self.q, high), (self.k, low), (self.v, low)))
        return self.o(attention(q, k, v).squeeze(2))


class HLAttention(nn.Module):
    """Two cross-attention steps over the experts' streams (eq. 6).

    The last projection starts at zero: stage 2 starts exactly at the pretrained encoder (eq. 7 with E_Omega = 0).
    """

    def __init__(self, dim: int, fusion: Fusion) -> None:
        super().__init__()
        self.steps = STEPS[fusion.order]
        self.add_query = fusion.add_query
        self.low = CrossAttention(dim, fusion.width)
        self.high = CrossAttention(dim, fusion.width)
        nn.init.zeros_(self.high.o.weight)

    def forward(self, streams: dict[str, Tensor]) -> Tensor:
        """Fuse the experts' tokens "image", "patch" and "pixel" (B, N, d), one window each: E_Omega (B, N, d)."""
        streams = dict(streams)
        for step, (query, key) in zip((self.low, self.high), self.steps, strict=True):
            fused = step(streams[query], streams[key])
            streams["fused"] = streams[query] + fused if self.add_query else fused
        return streams["fused"]
