"""HL-Attn: SAMora eq. 6 and 8."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from SAMoraLib.adapters.hl_attn import CrossAttention, HLAttention
from SAMoraLib.variants import EXPERTS, Fusion
from Testing.closeness import assert_close
from Testing.small import FUSION, randomise

DIM, TOKENS = 12, 7
# order -> the two cross-attentions as (query, keys and values); "fused" is what the first one gives.
ORDERS = {"2-1-1": [("patch", "pixel"), ("image", "fused")],
          "1-1-2": [("image", "patch"), ("fused", "pixel")],
          "1-2-1": [("image", "pixel"), ("patch", "fused")]}


def streams(batch: int = 2, tokens: int = TOKENS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, tokens, DIM, generator=generator) for name in EXPERTS}


def trained(fusion: Fusion) -> HLAttention:
    torch.manual_seed(0)
    module = HLAttention(DIM, fusion)
    randomise(module)
    return module


def equation_8(attention: CrossAttention, high: Tensor, low: Tensor) -> Tensor:
    """softmax(Q_H K_L^T / sqrt(d_k)) V_L, projected back, for (N, d) and (M, d)."""
    q, k, v = high @ attention.q.weight.T, low @ attention.k.weight.T, low @ attention.v.weight.T
    return (q @ k.T / k.shape[1] ** 0.5).softmax(dim=1) @ v @ attention.o.weight.T


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("add_query", [False, True])
@torch.no_grad()
def test_two_cross_attentions_in_the_order_of_the_row(order: str, add_query: bool) -> None:
    module = trained(replace(FUSION, order=order, add_query=add_query))
    given = streams()
    fused = module(given)
    for b in range(2):
        known = {name: stream[b] for name, stream in given.items()}
        for attention, (query, key) in zip((module.low, module.high), ORDERS[order], strict=True):
            step = equation_8(attention, known[query], known[key])
            known["fused"] = known[query] + step if add_query else step
        assert_close(fused[b], known["fused"])
    assert set(given) == set(EXPERTS), "the caller's streams are not changed"


@pytest.mark.parametrize("order", ORDERS)
def test_it_starts_at_zero(order: str) -> None:
    assert not HLAttention(DIM, Fusion(order=order))(streams()).any()


def test_the_papers_width_and_no_bias() -> None:
    module = HLAttention(768, Fusion())
    assert {name: tuple(weight.shape) for name, weight in module.low.named_parameters()} == {
        "q.weight": (128, 768), "k.weight": (128, 768), "v.weight": (128, 768), "o.weight": (768, 128)}
    assert sum(weight.numel() for weight in module.parameters()) * 12 == 9_437_184
