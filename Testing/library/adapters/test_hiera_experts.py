"""Experts and fusion on Hiera: SAMora eq. 2-8 against a slow and literal writing of them with the package's blocks."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from sam2.modeling.backbones.hieradet import MultiScaleBlock, do_pool
from torch import Tensor

from SAMoraLib.adapters.fusion import add_fusion
from SAMoraLib.adapters.hiera_experts import HieraExpertsBlock
from SAMoraLib.adapters.hl_attn import CrossAttention
from SAMoraLib.adapters.lora import add_lora_to_encoder
from SAMoraLib.encoders.sam2_hiera import Sam2ImageEncoder
from SAMoraLib.variants import EXPERTS, FUSIONS, Fusion
from Testing.closeness import assert_close
from Testing.small import FUSION, HIERA, randomise

# Block 0 stays on its grid; 1, 2 and 4 begin a stage; 3 is global. With the second spec, block 3's windows and what
# block 4 pools need padding.
BLOCKS = [(spec, index) for spec in ((4, 2, 4, 2), (4, 2, 6, 3)) for index in range(5)]
WITH_WINDOWS = replace(HIERA, global_attn_indexes=())
GRIDS = (16, 16, 8, 4, 4)


def experts_encoder(spec: tuple[int, ...], index: int, fusion: Fusion = FUSION) -> Sam2ImageEncoder:
    """Random weights throughout, also where training starts at zero; float64."""
    torch.manual_seed(0)
    size = HIERA if index == 3 and spec[2] == 4 else WITH_WINDOWS
    encoder = Sam2ImageEncoder(replace(size, window_spec=spec), 64).eval()
    add_lora_to_encoder(encoder, EXPERTS, rank=2)
    add_fusion(encoder, fusion)
    randomise(encoder)
    return encoder.double()


def tokens(block: HieraExpertsBlock, index: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, GRIDS[index], GRIDS[index], block.dim, generator=torch.Generator().manual_seed(1),
                       dtype=torch.float64)


def plain_block(block: HieraExpertsBlock, expert: str | None) -> MultiScaleBlock:
    """The package's block with W, or with W + dW of one expert."""
    weights = {key: value.clone() for key, value in block.state_dict().items()
               if ".lora." not in key and key.split(".")[0] not in FUSIONS}
    if expert is not None:
        for part, start in (("q", 0), ("v", 2 * block.dim_out)):
            pair = block.attn.qkv.lora[expert][part]
            weights["attn.qkv.weight"][start : start + block.dim_out] += pair.b @ pair.a
    plain = MultiScaleBlock(block.dim, block.dim_out, block.attn.num_heads, q_stride=block.q_stride,
                            window_size=block.window_size).double()
    plain.load_state_dict(weights)
    return plain.eval()


def after_attention(plain: MultiScaleBlock, x: Tensor) -> Tensor:
    """Eq. 2 and 4: the package's block without its MLP."""
    whole, plain.mlp = plain.mlp, torch.nn.Module()
    plain.mlp.forward = torch.zeros_like  # type: ignore[assignment]
    out = plain(x)
    plain.mlp = whole
    return out


def cross_attention(attention: CrossAttention, high: Tensor, low: Tensor) -> Tensor:
    """Eq. 8 on the tokens (N, d) of one window."""
    q, k, v = high @ attention.q.weight.T, low @ attention.k.weight.T, low @ attention.v.weight.T
    return (q @ k.T / k.shape[1] ** 0.5).softmax(dim=1) @ v @ attention.o.weight.T


def hierarchical(block: HieraExpertsBlock, streams: dict[str, Tensor]) -> Tensor:
    """Eq. 6 in each window of the output's grid, cut from its top left; a window sees the tokens of the grid alone."""
    out = torch.full_like(streams["image"], float("nan"))
    grid = out.shape[1]
    side = block.window_size // (2 if block.dim != block.dim_out else 1) or grid
    for b, top, left in itertools.product(range(len(out)), range(0, grid, side), range(0, grid, side)):
        cut = (b, slice(top, top + side), slice(left, left + side))
        image, patch, pixel = (streams[name][cut].flatten(0, 1) for name in EXPERTS)
        fused = cross_attention(block.hl_attn.high, image, cross_attention(block.hl_attn.low, patch, pixel))
        out[cut] = fused.reshape(out[cut].shape)
    return out


@pytest.mark.parametrize("scope", ["block", "attention"])
@pytest.mark.parametrize(("spec", "index"), BLOCKS)
@torch.no_grad()
def test_the_fused_block_is_equations_2_to_8(spec: tuple[int, ...], index: int, scope: str) -> None:
    block = experts_encoder(spec, index, replace(FUSION, scope=scope)).blocks[index]
    x, plain = tokens(block, index), plain_block(block, None)
    run = (lambda one: one(x)) if scope == "block" else (lambda one: after_attention(one, x))
    base = run(plain)
    shown = {name: run(plain_block(block, name)) - base for name in EXPERTS}
    expected = base + hierarchical(block, shown)
    if scope == "attention":
        expected = expected + plain.mlp(plain.norm2(expected))
    assert_close(block(x), expected)
    assert not torch.allclose(expected, plain(x), atol=0.05), "the fusion does something"


@pytest.mark.parametrize(("spec", "index"), BLOCKS)
@torch.no_grad()
def test_an_experts_stream_is_a_block_with_its_weights(spec: tuple[int, ...], index: int) -> None:
    block = experts_encoder(spec, index).blocks[index]
    x = tokens(block, index)
    assert_close(block(x, "patch"), plain_block(block, "patch")(x))


@pytest.mark.parametrize("kind", ["hl_attn", "hcat"])
@torch.no_grad()
def test_it_starts_at_the_base_stream(kind: str) -> None:
    encoder = experts_encoder((4, 2, 6, 3), 0, replace(FUSION, kind=kind))
    for index, block in enumerate(encoder.blocks):
        last = block.fusion.high.o if kind == "hl_attn" else block.fusion.leave
        last.weight.zero_()
        x = tokens(block, index)
        assert_close(block(x), plain_block(block, None)(x))


@pytest.mark.parametrize("kind", FUSIONS)
@torch.no_grad()
def test_every_way_to_fuse_runs(kind: str) -> None:
    encoder = experts_encoder((4, 2, 6, 3), 0, replace(FUSION, kind=kind))
    image = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    assert encoder(image).isfinite().all()


def test_where_a_stage_begins_hl_attn_is_half_as_wide() -> None:
    """8 x 128 x the input's width in every block, as the papers' count asks."""
    encoder = experts_encoder((4, 2, 6, 3), 0)
    for block in encoder.blocks:
        assert block.hl_attn.low.q.in_features == block.dim_out
        assert sum(p.numel() for p in block.hl_attn.parameters()) == 8 * FUSION.width * block.dim


@torch.no_grad()
def test_what_passes_the_attention_by_is_pooled() -> None:
    block = experts_encoder((4, 2, 6, 3), 1).blocks[1]
    x = tokens(block, 1)
    shortcut, normalised = block.enter(x)
    assert torch.equal(shortcut, do_pool(block.proj(normalised), block.pool)) and shortcut.shape[1] == GRIDS[1] // 2
