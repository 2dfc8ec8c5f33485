"""Experts that become one low-rank pair, in the place of HL-Attn (SAMora, table 4): LAC and LoRAHub.

There is one stream, at the price of SAMed's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SAMoraLib.adapters.lora import Composition
from SAMoraLib.encoders.block import Encoder
from SAMoraLib.variants import EXPERTS


def mean_of_pairs(a: list[Tensor], b: list[Tensor]) -> tuple[Tensor, Tensor]:
    """LAC: the mean of B_i A_i, as one pair of the ranks' sum. Nothing is learnt."""
    return torch.cat(a), torch.cat(b, dim=1) / len(b)


class LoRAHub(nn.Module):
    """B = sum_i w_i B_i and A = sum_i w_i A_i with one w_i per expert for the whole encoder (Huang et al. 2023).

    LoRAHub searches w without gradients because all else is frozen; here the decoder is trained anyway, and w with it.
    It starts at 1/3: at zero, its own start, the product has no gradient.
    """

    def __init__(self, experts: int = len(EXPERTS)) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.full((experts,), 1 / experts))

    def forward(self, a: list[Tensor], b: list[Tensor]) -> tuple[Tensor, Tensor]:
        """All A (r, d) and B (width, r) of a part to one of each."""
        return (torch.einsum("e,erd->rd", self.weights, torch.stack(a)),
                torch.einsum("e,ewr->wr", self.weights, torch.stack(b)))


def add_composition(encoder: Encoder, kind: str) -> None:
    """Let the pairs of every block's q and v work as one; LoRAHub's weights become ``encoder.lorahub``."""
    compose: Composition = mean_of_pairs
    if kind == "lorahub":
        hub = LoRAHub()
        encoder.add_module("lorahub", hub)
        compose = hub.forward  # its method, not the module, which every block would save once more
    for block in encoder.blocks:
        block.attn.qkv.compose = compose
