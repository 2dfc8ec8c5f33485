"""HCAT in the place of HL-Attn: against torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.adapters.hcat import HEADS, CrossAttentionLayer, HierarchicalCrossAttention
from SAMoraLib.adapters.hl_attn import STEPS
from SAMoraLib.variants import EXPERTS, Fusion
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import randomise

DIM, WIDTH, TOKENS = 12, 16, 9
FUSION = Fusion(kind="hcat", width=WIDTH)


def streams() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(2, TOKENS, DIM, generator=generator) for name in EXPERTS}


def torchs_layer(layer: CrossAttentionLayer, high: Tensor, low: Tensor) -> Tensor:
    """The same by torch's multi-head attention."""
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    theirs.in_proj_weight.data = torch.cat([layer.q.weight, layer.k.weight, layer.v.weight])
    theirs.in_proj_bias.data = torch.cat([layer.q.bias, layer.k.bias, layer.v.bias])
    theirs.out_proj.load_state_dict(layer.o.state_dict())
    attended, _ = theirs(high, low, low, need_weights=False)
    high = layer.norm1(high + attended)
    return layer.norm2(high + layer.lin2(torch.relu(layer.lin1(high))))


@pytest.mark.parametrize("order", STEPS)
@torch.no_grad()
def test_two_layers_in_the_order_of_the_row(order: str) -> None:
    torch.manual_seed(0)
    module = HierarchicalCrossAttention(DIM, Fusion(kind="hcat", order=order, width=WIDTH))
    randomise(module)
    known = {name: module.enter(stream) for name, stream in streams().items()}
    for layer, (query, key) in zip((module.low, module.high), STEPS[order], strict=True):
        known["fused"] = torchs_layer(layer, known[query], known[key])
    assert_close(module(streams()), module.leave(known["fused"]))


def test_it_starts_at_zero() -> None:
    assert not HierarchicalCrossAttention(DIM, FUSION)(streams()).any()


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    assert "do not divide the fusion's width 12" in refusal(
        lambda: HierarchicalCrossAttention(DIM, Fusion(kind="hcat", width=12)))
