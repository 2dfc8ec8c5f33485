"""CMAttn: the classes' maps attend to each other, and training blurs them by class."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from SAMoraLib.decoders.class_attention import LARGEST_SIDE, ClassAttention, attention_heads
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import randomise

FEATURES = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def small(grid: int = 4, channels: int = 3) -> ClassAttention:
    torch.manual_seed(0)
    attention = ClassAttention(grid, channels, mlp_dim=8)
    randomise(attention)
    return attention.eval()


@pytest.mark.parametrize(("positions", "heads"), [(14 * 14, 7), (32 * 32, 8), (16 * 16, 8), (15 * 15, 5), (11 * 11, 1)])
def test_heads_divide_the_grid_as_published(positions: int, heads: int) -> None:
    assert attention_heads(positions) == heads


@torch.no_grad()
def test_the_scale_and_offset_of_a_classs_map_do_not_matter() -> None:
    """P is the normalised mask feature (eq. 1)."""
    saliency = small()(FEATURES)
    assert saliency.shape == (2, 1, 4, 4) and saliency.min() >= 0 and saliency.max() > 0
    assert_close(small()(5 * FEATURES + 3), saliency)


@torch.no_grad()
def test_every_class_and_position_is_heard() -> None:
    """One number of one class changes the saliency elsewhere."""
    changed = FEATURES.clone()
    changed[0, 2, 0, 0] += 4
    difference = (small()(changed) - small()(FEATURES)).abs()
    assert difference[0, 0, 3, 3] > 0
    assert difference[1].max() == 0, "slices do not see each other"


def noise_of(spread: Tensor) -> Tensor:
    """What ``spread`` adds to the maps that are attended."""
    attention = small()
    seen = []
    attention.self_attn.register_forward_hook(lambda *call: seen.append(call[1][0]))
    torch.manual_seed(0)
    attention(FEATURES.repeat(200, 1, 1, 1))
    attention(FEATURES.repeat(200, 1, 1, 1), spread.expand(400, -1, -1))
    return (seen[1] - seen[0]).unflatten(2, (4, 4))


@torch.no_grad()
def test_noise_lies_where_its_class_lies() -> None:
    spread = torch.zeros(1, 4, 4)
    spread[0, :2] = 0.5
    noise = noise_of(spread)
    assert noise[:, :, 2:].abs().max() == 0
    assert noise[:, :, :2].std().item() == pytest.approx(0.5, rel=0.05)
    assert abs(noise.mean().item()) < 0.02


@torch.no_grad()
def test_a_large_grid_is_reduced() -> None:
    with torch.device("meta"):
        attention = ClassAttention(LARGEST_SIDE * 2, 3, 8)
        assert attention.self_attn.q_proj.weight.shape == (LARGEST_SIDE**2, LARGEST_SIDE**2)
        side = 2 * LARGEST_SIDE
        assert attention(torch.rand(1, 3, side, side), torch.rand(1, side, side)).shape == (1, 1, side, side)


@torch.no_grad()
def test_each_class_is_normalised_by_itself() -> None:
    """Another scale or offset of one class alone changes nothing either."""
    changed = FEATURES.clone()
    changed[:, 1] = 7 * changed[:, 1] - 2
    assert_close(small()(changed), small()(FEATURES))


@torch.no_grad()
def test_maps_attend_twice_and_the_network_adds_to_what_they_saw() -> None:
    """Figure 4 of the paper, written out on normalised maps."""
    attention = small()
    maps = torch.nn.functional.layer_norm(FEATURES.flatten(2), (16,))
    x = attention.norm1(attention.self_attn(maps, maps, maps))
    x = attention.self_attn2(x, x, x)
    hidden = (x @ attention.mlp.lin1.weight.T + attention.mlp.lin1.bias).relu()
    x = attention.norm2(x + hidden @ attention.mlp.lin2.weight.T + attention.mlp.lin2.bias)
    linear = attention.med_sel[0]
    expected = (torch.einsum("nkl,k->nl", x, linear.weight[0]) + linear.bias).relu()
    assert_close(attention(FEATURES)[:, 0].flatten(1), expected)


def test_it_may_be_narrower_inside() -> None:
    attention = ClassAttention(14, 3, 16, 28)
    assert attention.self_attn.q_proj.weight.shape == attention.self_attn2.v_proj.weight.shape == (28, 196)
    assert attention(torch.rand(2, 3, 14, 14)).shape == (2, 1, 14, 14)
    assert ClassAttention(14, 3, 16).self_attn.q_proj.weight.shape == (196, 196)
    assert ClassAttention(14, 3, 16, 196).self_attn.q_proj.weight.shape == (196, 196)
    for inner in (27, 30, 49 * 8, 4):
        assert f"cannot be {inner} wide inside; choose a multiple of 7 that divides 196" in refusal(
            lambda inner=inner: ClassAttention(14, 3, 16, inner))
