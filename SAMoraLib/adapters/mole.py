"""MoLE in the place of HL-Attn (SAMora, table 4; Wu et al. 2024): a gate in every block weighs the experts' streams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.variants import EXPERTS, Fusion


class MixtureGate(nn.Module):
    """E_Omega = sum_i G_i E_i with G = softmax(e . normalised streams / tau), e and tau learnt.

    MoLE flattens all tokens before the product with e, which ties a model to one image size: here their mean stands for
    them. Without its balancing loss: three experts that are all wanted need none, and the paper's row names none. All
    weigh alike at the start.
    """

    def __init__(self, dim: int, fusion: Fusion) -> None:
        super().__init__()
        self.gate = nn.Linear(len(EXPERTS) * dim, len(EXPERTS), bias=False)
        self.log_temperature = nn.Parameter(torch.zeros(()))  # the logarithm keeps it positive
        nn.init.zeros_(self.gate.weight)

    def forward(self, streams: Tensor) -> Tensor:
        """Streams (3, B, H, W, d) -> E_Omega (B, H, W, d)."""
        pooled = F.layer_norm(streams, streams.shape[-1:]).mean(dim=(2, 3))  # (3, B, d)
        scores = self.gate(pooled.transpose(0, 1).flatten(1)) / self.log_temperature.exp()
        weights = scores.softmax(dim=-1).T  # (3, B)
        return (weights[:, :, None, None, None] * streams).sum(dim=0)
