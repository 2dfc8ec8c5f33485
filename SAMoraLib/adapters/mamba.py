"""The Mamba block (Gu and Dao 2024, figure 3) under mamba_ssm's parameter names.

Legend: B sequences of L tokens of r channels; E = 2 r inner channels, N = 16 states each, k = 4 taps, R = r / 16.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.kernels.selective_scan import selective_scan

STATES = 16
TAPS = 4
EXPAND = 2
STEPS = (1e-3, 0.1)  # step sizes of a new block, log-uniform


class Mamba(nn.Module):
    """Gate, short convolution and selective scan, each token seeing those before it.

    Args:
        dim: r.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner, rank = EXPAND * dim, -(-dim // 16)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, TAPS, groups=inner, padding=TAPS - 1)
        self.x_proj = nn.Linear(inner, rank + 2 * STATES, bias=False)
        self.dt_proj = nn.Linear(rank, inner)
        self.A_log = nn.Parameter(torch.arange(1, STATES + 1).float().log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)
        self._draw_steps()

    def _draw_steps(self) -> None:
        """Start with step sizes softplus(bias) between 0.001 and 0.1."""
        rank, inner = self.dt_proj.in_features, self.dt_proj.out_features
        nn.init.uniform_(self.dt_proj.weight, -(rank**-0.5), rank**-0.5)
        low, high = (math.log(step) for step in STEPS)
        steps = torch.exp(torch.rand(inner, device=self.dt_proj.bias.device) * (high - low) + low)
        with torch.no_grad():
            self.dt_proj.bias.copy_(steps + torch.log(-torch.expm1(-steps)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, r) -> (B, L, r)."""
        values, gate = self.in_proj(x).chunk(2, dim=-1)
        values = F.silu(self.conv1d(values.transpose(1, 2))[..., :x.shape[1]].transpose(1, 2))
        rank = self.dt_proj.in_features
        steps, enter, leave = self.x_proj(values).split([rank, STATES, STATES], dim=-1)
        y = selective_scan(values, F.softplus(self.dt_proj(steps)), -self.A_log.float().exp(), enter, leave, self.D)
        return self.out_proj(y.to(gate.dtype) * F.silu(gate))
