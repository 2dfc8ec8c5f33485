"""HL-Attn: SAMora eq. 6 and 8."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from segment_anything.modeling.image_encoder import window_partition
from torch import Tensor

from SAMoraLib.adapters.hl_attn import CrossAttention, HLAttention, padding_mask
from SAMoraLib.variants import EXPERTS, Fusion
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
        torch.testing.assert_close(fused[b], known["fused"], rtol=0, atol=1e-5)
    assert set(given) == set(EXPERTS), "the caller's streams are not changed"


@pytest.mark.parametrize("order", ORDERS)
def test_it_starts_at_zero(order: str) -> None:
    assert not HLAttention(DIM, Fusion(order=order))(streams()).any()


def test_the_papers_width_and_no_bias() -> None:
    module = HLAttention(768, Fusion())
    assert {name: tuple(weight.shape) for name, weight in module.low.named_parameters()} == {
        "q.weight": (128, 768), "k.weight": (128, 768), "v.weight": (128, 768), "o.weight": (768, 128)}
    assert sum(weight.numel() for weight in module.parameters()) * 12 == 9_437_184


@pytest.mark.parametrize("order", ORDERS)
@torch.no_grad()
def test_padded_tokens_have_no_influence(order: str) -> None:
    module, given = trained(replace(FUSION, order=order)), streams()
    real = torch.ones(2, 1, TOKENS, dtype=torch.bool)
    real[0, 0, 5:] = False  # the second window has no padding
    fused = module(given, real)
    changed = {name: stream.masked_fill(~real.transpose(1, 2), 100.0) for name, stream in given.items()}
    assert torch.equal(module(changed, real)[real.squeeze(1)], fused[real.squeeze(1)])
    alone = module({name: stream[:1, :5] for name, stream in given.items()})
    torch.testing.assert_close(fused[:1, :5], alone, rtol=0, atol=1e-5)
    assert not torch.allclose(module(given)[:1, :5], alone, atol=1e-3), "without the mask they would have"


@pytest.mark.parametrize(("height", "width", "window"), [(4, 4, 3), (5, 8, 3), (3, 3, 14), (7, 6, 4)])
def test_the_mask_follows_the_windows(height: int, width: int, window: int) -> None:
    mask = padding_mask((height, width), window, torch.device("cpu"))
    windows = window_partition(torch.ones(1, height, width, 1), window)[0]
    assert mask is not None
    assert torch.equal(mask, windows.flatten(1).bool().unsqueeze(1))
    assert int(mask.sum()) == height * width


@pytest.mark.parametrize(("grid", "window"), [((4, 4), 0), ((4, 4), 2), ((6, 4), 2), ((14, 14), 14)])
def test_no_mask_where_nothing_is_padded(grid: tuple[int, int], window: int) -> None:
    assert padding_mask(grid, window, torch.device("cpu")) is None
