"""How much HL-Attn adds, whether it tells the tokens of a window apart, and how many keys a token attends to."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from SAMoraLib.model import SegmentationModel
from SAMoraLib.variants import Fusion
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import FUSION, IMAGE_SIZE, small_model
from Training.reports.fusion_blocks import FusedBlock, watched_blocks

IMAGE = torch.rand(2, 1, 1, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def seen_in(model: SegmentationModel) -> list[FusedBlock]:
    with watched_blocks(model) as seen:
        model(IMAGE)
    return seen


def test_a_new_fusion_adds_nothing() -> None:
    model = small_model("samora")
    for block in model.image_encoder.blocks:
        block.hl_attn.high.o.weight.data.zero_()
    assert [(block.size, block.window_share) for block in seen_in(model)] == [(0.0, 0.0)] * 2


def test_equal_attention_is_the_windows_mean_and_sharp_attention_is_not() -> None:
    model = small_model("samora")
    queries = [getattr(block.hl_attn, step).q.weight.data for block in model.image_encoder.blocks
               for step in ("low", "high")]
    for weight in queries:
        weight.zero_()
    equal = seen_in(model)  # block 0 has windows of four shapes
    assert_close(torch.tensor([[block.window_share, block.effective_keys] for block in equal]), torch.ones(2, 2))
    for weight in queries:
        weight.normal_(std=50, generator=torch.Generator().manual_seed(3))
    sharp = seen_in(model)
    assert max(block.window_share for block in sharp) < 0.99 and max(block.effective_keys for block in sharp) < 0.9


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e3])
def test_sizes_and_shares_by_hand(unit: float) -> None:
    """Windows (1, 3) and (-3, 1, 2): mean squares 5 and 14 / 3, of their means 4 and 0."""
    block = FusedBlock()
    block.see_fused(unit * torch.tensor([[[1.0], [3.0]]]))
    block.see_fused(unit * torch.tensor([[[-3.0], [1.0], [2.0]]]))
    block.output.add((unit * torch.full((1, 2, 2, 1), 2.0)).square())
    together = (10 + 14) / 5
    assert (block.size, block.window_share) == pytest.approx(((together / 4) ** 0.5, (2 * 4) / 5 / together))


@pytest.mark.parametrize(("heads", "scores"), [
    (1, [[0.0, math.log(3)]]),  # weights 1/4 and 3/4
    (2, [[0.0, math.log(3)], [0.0, 0.0]]),
])
def test_effective_keys_by_hand(heads: int, scores: list[list[float]]) -> None:
    """One query whose head h is (c^1/2, 0, ...), and two keys that hold the scores there."""
    width = 4
    q, k = torch.zeros(1, 1, heads, width), torch.zeros(1, 2, heads, width)
    q[..., 0], k[0, :, :, 0] = width**0.5, torch.tensor(scores).T
    block = FusedBlock()
    block.see_scores(q.flatten(2), k.flatten(2), heads)
    quarter = math.exp(-(0.25 * math.log(0.25) + 0.75 * math.log(0.75))) / 2
    assert block.effective_keys == pytest.approx((quarter + (heads - 1)) / heads)


@torch.inference_mode()
def test_what_is_seen_is_what_the_attention_computes() -> None:
    """From the tokens that the attention is given, normalised as it is given them."""
    fusion = Fusion(width=8, heads=2, norm=True, add_query=True, gain=True)
    model = small_model("samora", fusion=fusion)
    step = model.image_encoder.blocks[1].hl_attn.low  # the global block
    given: list[tuple[Tensor, ...]] = []
    hook = step.register_forward_hook(lambda module, inputs, out: given.append(inputs))
    seen = seen_in(model)[1]
    hook.remove()
    model.image_encoder.blocks[1].hl_attn.high.q.weight.data.zero_()  # its keys count as all, then
    alone = seen_in(model)[1]
    high, low, _ = given[0]
    q, k = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in (step.q(high), step.k(low)))
    weights = (q @ k.mT / 2).softmax(dim=-1)
    effective = torch.special.entr(weights).sum(-1).exp().mean().detach() / 16
    assert alone.effective_keys == pytest.approx((float(effective) + 1) / 2, rel=1e-4)
    assert seen.effective_keys < alone.effective_keys


def test_a_fusion_of_nothing_has_no_share_and_nothing_seen_is_nothing() -> None:
    block = FusedBlock()
    assert (block.size, block.window_share, block.effective_keys) == (0.0, 0.0, 0.0)
    block.see_fused(torch.zeros(1, 2, 3))
    block.output.add(torch.ones(1, 2, 2, 3))
    assert (block.size, block.window_share) == (0.0, 0.0)


def test_a_model_is_left_as_it_was() -> None:
    model = small_model("samora")
    before = [len(module._forward_hooks) for module in model.modules()]
    first, second = seen_in(model), seen_in(model)
    assert first == second
    assert [len(module._forward_hooks) for module in model.modules()] == before


@pytest.mark.parametrize("name", ["samed", "samora"])
def test_a_model_without_hl_attn_is_refused(name: str) -> None:
    model = small_model(name)
    model.variant = replace(model.variant, fusion=model.variant.fusion and replace(FUSION, kind="hcat"))
    assert refusal(lambda: seen_in(model)) == f"'{name}' has no HL-Attn; give a checkpoint of samora."
