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
            {"heads": 2, "norm": True, "self_attention": True, "add_query": True, "gain": True},
            {"inputs": "mixed"}, {"inputs": "mixed", "heads": 2, "norm": True, "self_attention": True, "gain": True},
            {"inputs": "mixed", "norm": True, "add_query": True, "gain": True}]


def streams(batch: int = 2, tokens: int = TOKENS) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(batch, tokens, DIM, generator=generator) for name in EXPERTS}


def trained(fusion: Fusion) -> HLAttention:
    torch.manual_seed(0)
    module = HLAttention(DIM, fusion)
    randomise(module)
    return module


def equation_8(attention: CrossAttention, high: Tensor, low: Tensor, values: Tensor, heads: int = 1) -> Tensor:
    """softmax(Q_H K_L^T / sqrt(d_k)) V_L of each head, next to each other and projected back, for (N, d) and (M, d)."""
    q, k, v = high @ attention.q.weight.T, low @ attention.k.weight.T, values @ attention.v.weight.T
    of_heads = [(one_q @ one_k.T / one_k.shape[1] ** 0.5).softmax(dim=1) @ one_v
                for one_q, one_k, one_v in zip(*(x.chunk(heads, dim=1) for x in (q, k, v)), strict=True)]
    return torch.cat(of_heads, dim=1) @ attention.o.weight.T


def normalised(tokens: Tensor) -> Tensor:
    """Each token with mean 0 and variance 1."""
    centred = tokens - tokens.mean(dim=1, keepdim=True)
    return centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()


def one_step(step: FusionStep, fusion: Fusion, query: Tensor, low: Tensor, base: Tensor) -> Tensor:
    """A step of the row's reading on the tokens (N, d) of one window."""
    norm = normalised if fusion.norm else lambda tokens: tokens
    if fusion.inputs == "mixed":
        if fusion.self_attention:
            query = query + equation_8(step.itself, norm(base + query), norm(base + query), query, fusion.heads)
        taken = equation_8(step, norm(base + query), norm(base + low), low, fusion.heads)
    else:
        if fusion.self_attention:
            query = query + equation_8(step.itself, norm(query), norm(query), norm(query), fusion.heads)
        taken = equation_8(step, norm(query), norm(low), norm(low), fusion.heads)
    return query + taken if fusion.add_query else taken


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: "+".join(reading) or "equation_8")
@torch.no_grad()
def test_two_steps_in_the_order_and_the_reading_of_the_row(order: str, reading: dict[str, int]) -> None:
    fusion = replace(FUSION, order=order, **reading)
    module = trained(fusion)
    given, base = streams(), torch.randn(2, TOKENS, DIM, generator=torch.Generator().manual_seed(1))
    fused = module(given, *[base] * (fusion.inputs == "mixed"))
    for b in range(2):
        known = {name: stream[b] for name, stream in given.items()}
        for step, (query, key) in zip((module.low, module.high), ORDERS[order], strict=True):
            known["fused"] = one_step(step, fusion, known[query], known[key], base[b])
        assert_close(fused[b], known["fused"] * (10 * module.gain if fusion.gain else 1))
    assert set(given) == set(EXPERTS), "the caller's streams are not changed"


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: "+".join(reading) or "equation_8")
@torch.no_grad()
def test_each_reading_is_another(reading: dict[str, int]) -> None:
    """And none of its parameters is without effect."""
    module = trained(replace(FUSION, **reading))
    base = [streams()["pixel"].flip(1)] * (reading.get("inputs") == "mixed")
    before = module(streams(), *base)
    for name, parameter in module.named_parameters():
        kept = parameter.clone()
        parameter.mul_(-1.5)
        assert not torch.allclose(module(streams(), *base), before, rtol=1e-3), name
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
    assert_close(module(given), 10 * module.gain * given["image"])


@pytest.mark.parametrize("width", [DIM, 8])
@torch.no_grad()
def test_a_gain_starts_with_what_tokens_say_that_look_alike(width: int) -> None:
    """In windows of two kinds of tokens, far apart, it is the sum of the experts over a token's own kind: all of it, or
    as much as the width lets through.
    """
    torch.manual_seed(0)
    module = HLAttention(DIM, Fusion(width=width, inputs="mixed", add_query=True, gain=True))
    module.gain.fill_(0.1)
    kinds = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    base = 30 * torch.nn.functional.one_hot(kinds, DIM).float()[None]
    given = {name: 1e-5 * stream for name, stream in streams(1).items()}  # too little to tell tokens of a kind apart
    of_kind = torch.stack([(kinds == kind).float() for kind in kinds.tolist()])
    of_kind = of_kind / of_kind.sum(dim=1, keepdim=True)
    through = {step: getattr(module, step).o.weight @ getattr(module, step).v.weight for step in ("low", "high")}
    below = given["patch"] + of_kind @ given["pixel"] @ through["low"].T
    assert_close(module(given, base), given["image"] + of_kind @ below @ through["high"].T)
    for step in through.values():
        assert_close(step @ step, step)
        assert round(float(step.trace())) == width


def test_what_is_taken_alike_is_compared_by_one_projection() -> None:
    module = HLAttention(DIM, replace(FUSION, gain=True, add_query=True, self_attention=True))
    assert torch.equal(module.low.q.weight, module.low.k.weight) and not module.high.itself.o.weight.any()
    plain = HLAttention(DIM, FUSION)
    assert not torch.equal(plain.low.q.weight, plain.low.k.weight) and plain.low.o.weight.any()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("reading", [one for one in READINGS if "gain" in one or "add_query" not in one],
                         ids=lambda reading: "+".join(reading) or "equation_8")
def test_it_starts_at_zero_and_learns_from_there(order: str, reading: dict[str, int]) -> None:
    module = HLAttention(DIM, replace(FUSION, order=order, **reading))
    fused = module(streams(), *[streams()["pixel"]] * (reading.get("inputs") == "mixed"))
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
