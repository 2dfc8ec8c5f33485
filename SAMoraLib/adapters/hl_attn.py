"""HL-Attn: hierarchical cross-attention over the three experts of one block (SAMora eq. 6-8, figure 3)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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

GAIN = 10.0  # AdamW moves any number by about the rate: a gain would hardly come from 0 to 1 within a few hundred steps


class CrossAttention(nn.Module):
    """Eq. 8: softmax(Q_H K_L^T / sqrt(d_k)) V_L, bias-free, of heads that are ``width`` wide together, back to d."""

    def __init__(self, dim: int, width: int, heads: int = 1) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(dim, width, bias=False) for _ in range(3))
        self.o = nn.Linear(width, dim, bias=False)

    def forward(self, high: Tensor, low: Tensor, values: Tensor) -> Tensor:
        """Query ``high`` (B, N, d) attends to ``low`` (B, N, d) and takes of ``values`` (B, N, d), eq. 8's ``low``."""
        q, k, v = (project(x).unflatten(-1, (self.heads, -1))
                   for project, x in ((self.q, high), (self.k, low), (self.v, values)))
        return self.o(attention(q, k, v).flatten(2))

    @torch.no_grad()
    def align(self) -> None:
        """Compare by one projection, and give back what is taken as it was, as far as the width lets through."""
        self.k.weight.copy_(self.q.weight)
        nn.init.orthogonal_(self.v.weight)
        self.o.weight.copy_(self.v.weight.T)


class FusionStep(CrossAttention):
    """One step of figure 3: the query attends to itself, where the reading has that, and then to the level below.

    Pre-norm, as in a transformer's decoder: what is normalised is what the attentions see, not what goes round them.
    """

    def __init__(self, dim: int, fusion: Fusion) -> None:
        width = fusion.width // (1 + fusion.self_attention)
        super().__init__(dim, width, fusion.heads)
        self.add_query = fusion.add_query
        self.norm = _normalised if fusion.norm else nn.Identity()
        self.itself = CrossAttention(dim, width, fusion.heads) if fusion.self_attention else None
        if fusion.gain:
            self.align()
            if self.itself is not None:
                nn.init.zeros_(self.itself.o.weight)

    def step(self, high: Tensor, low: Tensor, base: Tensor | None) -> Tensor:
        """Query ``high`` (B, N, d) takes from ``low`` (B, N, d); with ``base`` tokens are compared by what each of them
        is when it is added.
        """
        if self.itself is not None:
            high = high + self.itself(self._compared(high, base), *self._seen(high, base))
        taken = self(self._compared(high, base), *self._seen(low, base))
        return high + taken if self.add_query else taken

    def _seen(self, low: Tensor, base: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is compared, and what is taken: the same, or with ``base`` the difference to it."""
        compared = self._compared(low, base)
        return compared, compared if base is None else low

    def _compared(self, tokens: Tensor, base: Tensor | None) -> Tensor:
        compared: Tensor = self.norm(tokens if base is None else base + tokens)
        return compared


class HLAttention(nn.Module):
    """Two cross-attention steps over the experts' streams (eq. 6).

    The last projection or, with ``fusion.gain``, a gain per channel starts at zero: stage 2 starts exactly at the
    pretrained encoder (eq. 7 with E_Omega = 0). Only with ``add_query`` and no gain it starts at F + query.
    """

    def __init__(self, dim: int, fusion: Fusion) -> None:
        super().__init__()
        self.steps = STEPS[fusion.order]
        self.low, self.high = FusionStep(dim, fusion), FusionStep(dim, fusion)
        self.gain = nn.Parameter(torch.zeros(dim)) if fusion.gain else None
        if self.gain is None:
            nn.init.zeros_(self.high.o.weight)

    def forward(self, streams: dict[str, Tensor], base: Tensor | None = None) -> Tensor:
        """Fuse the experts' tokens "image", "patch" and "pixel" (B, N, d), one window each: E_Omega (B, N, d).

        Args:
            base: F (B, N, d) of the same tokens, where ``streams`` are differences to it that are compared as streams.
        """
        streams = dict(streams)
        for step, (query, key) in zip((self.low, self.high), self.steps, strict=True):
            streams["fused"] = step.step(streams[query], streams[key], base)
        return streams["fused"] if self.gain is None else GAIN * self.gain * streams["fused"]


def _normalised(tokens: Tensor) -> Tensor:
    return F.layer_norm(tokens, tokens.shape[-1:])
