"""HL-Attn: SAMora eq. 6 and 8."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from SAMoraLib.adapters.hl_attn import CrossAttention, FusionStep, HLAttention
from SAMoraLib.variants import EXPERTS, Fusion
from Testing.closeness import assert_close
from Testing.small import FUSION, randomise

DIM, TOKENS = 12, 7
# order -> the two cross-attentions as (query, keys and values); "fused" is what the first one gives.
ORDERS = {"2-1-1": [("patch", "pixel"), ("image", "fused")],
          "1-1-2": [("image", "patch"), ("fused", "pixel")],
          "1-2-1": [("image", "pixel"), ("patch", "fused")]}


READINGS = [{}, {"add_query": True}, {"heads": 2}, {"norm": True}, {"self_attention": True}, {"gain": True},
            {"add_query": True, "gain": True}, {"heads": 4, "norm": True, "self_attention": True},
            {"heads": 2, "norm": True, "self_attention": True, "add_query": True, "gain": True}]


def streams(batch: int = 2, tokens: int = TOKENS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, tokens, DIM, generator=generator) for name in EXPERTS}


def trained(fusion: Fusion) -> HLAttention:
    torch.manual_seed(0)
    module = HLAttention(DIM, fusion)
    randomise(module)
    return module


def equation_8(attention: CrossAttention, high: Tensor, low: Tensor, heads: int = 1) -> Tensor:
    """softmax(Q_H K_L^T / sqrt(d_k)) V_L of each head, next to each other and projected back, for (N, d) and (M, d)."""
    q, k, v = high @ attention.q.weight.T, low @ attention.k.weight.T, low @ attention.v.weight.T
    of_heads = [(one_q @ one_k.T / one_k.shape[1] ** 0.5).softmax(dim=1) @ one_v
                for one_q, one_k, one_v in zip(*(x.chunk(heads, dim=1) for x in (q, k, v)), strict=True)]
    return torch.cat(of_heads, dim=1) @ attention.o.weight.T


def normalised(tokens: Tensor) -> Tensor:
    """Each token with mean 0 and variance 1."""
    centred = tokens - tokens.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()


def one_step(step: FusionStep, fusion: Fusion, query: Tensor, low: Tensor) -> Tensor:
    """A step of the row's reading on the tokens (N, d) of one window."""
    norm = normalised if fusion.norm else lambda tokens: tokens
    if fusion.self_attention:
        query = query + equation_8(step.itself, norm(query), norm(query), fusion.heads)
    taken = equation_8(step, norm(query), norm(low), fusion.heads)
    return query + taken if fusion.add_query else taken


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: "+".join(reading) or "equation_8")
@torch.no_grad()
def test_two_steps_in_the_order_and_the_reading_of_the_row(order: str, reading: dict[str, int]) -> None:
    fusion = replace(FUSION, order=order, **reading)
    module = trained(fusion)
    given = streams()
    fused = module(given)
    for b in range(2):
        known = {name: stream[b] for name, stream in given.items()}
        for step, (query, key) in zip((module.low, module.high), ORDERS[order], strict=True):
            known["fused"] = one_step(step, fusion, known[query], known[key])
        assert_close(fused[b], known["fused"] * (module.gain if fusion.gain else 1))
    assert set(given) == set(EXPERTS), "the caller's streams are not changed"


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: "+".join(reading) or "equation_8")
@torch.no_grad()
def test_each_reading_is_another(reading: dict[str, int]) -> None:
    """And none of its parameters is without effect."""
    module = trained(replace(FUSION, **reading))
    before = module(streams())
    for name, parameter in module.named_parameters():
        kept = parameter.clone()
        parameter.mul_(-1.5)
        assert not torch.allclose(module(streams()), before, rtol=1e-3), name
        parameter.copy_(kept)


def test_what_is_normalised_has_no_unit() -> None:
    module = trained(replace(FUSION, norm=True))
    given = streams()
    large, larger = ({name: factor * stream for name, stream in given.items()} for factor in (10, 1000))
    assert_close(module(large), module(larger))


def test_the_experts_of_a_query_that_is_added_back_all_arrive() -> None:
    """Which eq. 8 alone leads through values: of the pixel expert, the others steer its softmax."""
    module = trained(replace(FUSION, add_query=True, gain=True))
    for step in (module.low, module.high):
        step.o.weight.data.zero_()
    given = streams()
    assert_close(module(given), module.gain * given["image"])


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("reading", [one for one in READINGS if "gain" in one or "add_query" not in one],
                         ids=lambda reading: "+".join(reading) or "equation_8")
def test_it_starts_at_zero_and_learns_from_there(order: str, reading: dict[str, int]) -> None:
    module = HLAttention(DIM, replace(FUSION, order=order, **reading))
    fused = module(streams())
    assert not fused.any()
    fused.sum().backward()
    first = module.gain if module.gain is not None else module.high.o.weight
    assert first.grad is not None and first.grad.abs().min() > 0


def test_the_papers_width_and_no_bias() -> None:
    module = HLAttention(768, Fusion())
    assert {name: tuple(weight.shape) for name, weight in module.low.named_parameters()} == {
        "q.weight": (128, 768), "k.weight": (128, 768), "v.weight": (128, 768), "o.weight": (768, 128)}
    assert sum(weight.numel() for weight in module.parameters()) * 12 == 9_437_184


@pytest.mark.parametrize(("reading", "more"), [
    ({"heads": 8}, 0), ({"norm": True}, 0), ({"add_query": True}, 0), ({"self_attention": True}, 0),
    ({"gain": True}, 768), ({"heads": 8, "norm": True, "self_attention": True, "add_query": True, "gain": True}, 768)])
def test_the_parameters_of_each_reading(reading: dict[str, int], more: int) -> None:
    """Per block of ViT-B: 8 widths of 768, whatever is made of them; a gain has one number per channel."""
    assert sum(weight.numel() for weight in HLAttention(768, Fusion(**reading)).parameters()) == 8 * 128 * 768 + more
