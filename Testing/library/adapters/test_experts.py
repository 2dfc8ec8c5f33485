"""Experts and fusion: SAMora eq. 2-8 against a slow and literal writing of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

import pytest
import torch
from segment_anything.modeling.image_encoder import Block, window_partition, window_unpartition
from torch import Tensor, nn

from SAMoraLib.adapters.experts import ExpertsBlock
from SAMoraLib.adapters.fusion import add_fusion
from SAMoraLib.adapters.hl_attn import CrossAttention
from SAMoraLib.adapters.lora import add_lora_to_encoder
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.variants import EXPERTS, EncoderSize, Fusion
from SAMoraLib.variants import FUSIONS as FUSION_KINDS
from Testing.closeness import assert_close
from Testing.small import FUSION, SIZE, randomise

STEPS = {"2-1-1": [("patch", "pixel"), ("image", "fused")],
         "1-1-2": [("image", "patch"), ("fused", "pixel")],
         "1-2-1": [("image", "pixel"), ("patch", "fused")]}
FUSIONS = [Fusion(scope, inputs, add_query, order, width=8)
           for scope, inputs, add_query, order in itertools.product(("block", "attention"), ("difference", "stream"),
                                                                    (False, True), STEPS)]
WINDOWS = pytest.mark.parametrize("window", [0, 2, 3, 5])  # global, fitting, padded, wider than the grid
GRID = 4


def sized(window: int) -> EncoderSize:
    """One block, global or with windows."""
    return replace(SIZE, depth=1, global_attn_indexes=() if window else (0,), window_size=window)


def experts_encoder(size: EncoderSize, fusion: Fusion = FUSION) -> SamImageEncoder:
    """Random weights throughout, also where training starts at zero; float64, so that rounding explains nothing."""
    torch.manual_seed(0)
    encoder = SamImageEncoder(size, 8 * GRID).eval()
    add_lora_to_encoder(encoder, EXPERTS, rank=2)
    add_fusion(encoder, fusion)
    randomise(encoder)
    return encoder.double()


def tokens(batch: int = 2) -> Tensor:
    return torch.randn(batch, GRID, GRID, SIZE.embed_dim, generator=torch.Generator().manual_seed(1),
                       dtype=torch.float64)


def plain_block(block: ExpertsBlock, expert: str | None) -> Block:
    """The package's block with W, or with W + dW of one expert."""
    weights = {key: value.clone() for key, value in block.state_dict().items()
               if ".lora." not in key and key.split(".")[0] not in FUSION_KINDS}
    if expert is not None:
        width = SIZE.embed_dim
        for part, start in (("q", 0), ("v", 2 * width)):
            pair = block.attn.qkv.lora[expert][part]
            weights["attn.qkv.weight"][start : start + width] += pair.b @ pair.a
    plain = Block(SIZE.embed_dim, SIZE.num_heads, norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True,
                  window_size=block.window_size, input_size=(GRID, GRID)).double()
    plain.load_state_dict(weights)
    return plain.eval()


def after_attention(plain: Block, x: Tensor) -> Tensor:
    """Eq. 2 and 4: the residual stream after the attention."""
    if not plain.window_size:
        return x + plain.attn(plain.norm1(x))
    windows, padded = window_partition(plain.norm1(x), plain.window_size)
    return x + window_unpartition(plain.attn(windows), plain.window_size, padded, (GRID, GRID))


def cross_attention(attention: CrossAttention, high: Tensor, low: Tensor) -> Tensor:
    """Eq. 8 on the tokens (N, d) of one window."""
    q, k, v = high @ attention.q.weight.T, low @ attention.k.weight.T, low @ attention.v.weight.T
    return (q @ k.T / k.shape[1] ** 0.5).softmax(dim=1) @ v @ attention.o.weight.T


def hierarchical(block: ExpertsBlock, fusion: Fusion, streams: dict[str, Tensor]) -> Tensor:
    """Eq. 6 image by image and window by window; a window holds the tokens of the grid and nothing else."""
    out, side = torch.full_like(streams["image"], float("nan")), block.window_size or GRID
    for b, top, left in itertools.product(range(len(out)), range(0, GRID, side), range(0, GRID, side)):
        cut = (b, slice(top, top + side), slice(left, left + side))
        known = {name: stream[cut].flatten(0, 1) for name, stream in streams.items()}
        for attention, (query, key) in zip((block.hl_attn.low, block.hl_attn.high), STEPS[fusion.order], strict=True):
            step = cross_attention(attention, known[query], known[key])
            known["fused"] = known[query] + step if fusion.add_query else step
        out[cut] = known["fused"].reshape(out[cut].shape)
    return out


def literal(block: ExpertsBlock, fusion: Fusion, x: Tensor) -> Tensor:
    """Eq. 2-7, one stream after the other."""
    plain, experts = plain_block(block, None), {name: plain_block(block, name) for name in EXPERTS}
    run = (lambda one: one(x)) if fusion.scope == "block" else (lambda one: after_attention(one, x))
    base = run(plain)
    shown = {name: run(one) - (base if fusion.inputs == "difference" else 0) for name, one in experts.items()}
    out = base + hierarchical(block, fusion, shown)
    return out if fusion.scope == "block" else out + plain.mlp(plain.norm2(out))


@WINDOWS
@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda f: f"{f.scope}-{f.inputs}-{f.add_query}-{f.order}")
@torch.no_grad()
def test_the_fused_block_is_equations_2_to_8(fusion: Fusion, window: int) -> None:
    block = experts_encoder(sized(window), fusion).blocks[0]
    expected = literal(block, fusion, tokens())
    assert_close(block(tokens()), expected)
    assert not torch.allclose(expected, plain_block(block, None)(tokens()), atol=0.05), "the fusion does something"


@WINDOWS
@pytest.mark.parametrize("expert", EXPERTS)
@torch.no_grad()
def test_an_experts_stream_is_a_block_with_its_weights(expert: str, window: int) -> None:
    block = experts_encoder(sized(window)).blocks[0]
    assert_close(block(tokens(), expert), plain_block(block, expert)(tokens()))


@torch.no_grad()
def test_an_experts_stream_is_a_samed_with_its_weights() -> None:
    """What stage 1 trains alone is what stage 2 puts in."""
    encoder = experts_encoder(SIZE)
    samed = SamImageEncoder(SIZE, 8 * GRID).eval()
    add_lora_to_encoder(samed, ("default",), rank=2)
    samed.double()
    samed.load_state_dict({key.replace(".lora.patch.", ".lora.default."): value
                           for key, value in encoder.state_dict().items()
                           if "hl_attn" not in key and ".lora.image." not in key and ".lora.pixel." not in key})
    image = torch.rand(2, 3, 8 * GRID, 8 * GRID, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert_close(encoder(image, "patch"), samed(image))


@pytest.mark.parametrize("fusion", [f for f in FUSIONS if not f.add_query],
                         ids=lambda f: f"{f.scope}-{f.inputs}-{f.order}")
@WINDOWS
@torch.no_grad()
def test_it_starts_at_the_base_stream(fusion: Fusion, window: int) -> None:
    block = experts_encoder(sized(window), fusion).blocks[0]
    block.hl_attn.high.o.weight.zero_()
    assert_close(block(tokens()), plain_block(block, None)(tokens()))


@pytest.mark.parametrize("fusion", FUSIONS, ids=lambda f: f"{f.scope}-{f.inputs}-{f.add_query}-{f.order}")
@WINDOWS
@torch.no_grad()
def test_with_a_gain_every_reading_starts_at_the_base_stream(fusion: Fusion, window: int) -> None:
    full = replace(fusion, heads=2, norm=True, self_attention=True, gain=True)
    block = experts_encoder(sized(window), full).blocks[0]
    plain = plain_block(block, None)(tokens())
    assert not torch.allclose(block(tokens()), plain, atol=0.05), "the fusion does something"
    block.hl_attn.gain.zero_()
    assert_close(block(tokens()), plain)


@WINDOWS
@pytest.mark.parametrize("scope", ["block", "attention"])
@torch.no_grad()
def test_mixed_inputs_are_differences_compared_as_streams(scope: str, window: int) -> None:
    """The block gives HL-Attn the base of each window beside the experts' differences to it."""
    fusion = Fusion(scope, "mixed", True, width=8)
    block = experts_encoder(sized(window), fusion).blocks[0]
    run = (lambda one: one(tokens())) if scope == "block" else (lambda one: after_attention(one, tokens()))
    plain = plain_block(block, None)
    base, out, side = run(plain), torch.full_like(tokens(), float("nan")), window or GRID
    shown = {name: run(plain_block(block, name)) - base for name in EXPERTS}
    for top, left in itertools.product(range(0, GRID, side), range(0, GRID, side)):
        cut = (slice(None), slice(top, top + side), slice(left, left + side))
        window_tokens = {name: stream[cut].flatten(1, 2) for name, stream in shown.items()}
        out[cut] = block.hl_attn(window_tokens, base[cut].flatten(1, 2)).reshape(out[cut].shape)
    expected = base + out
    assert_close(block(tokens()), expected if scope == "block" else expected + plain.mlp(plain.norm2(expected)))


@torch.no_grad()
def test_new_experts_leave_nothing_to_fuse() -> None:
    """B = 0: the differences vanish, whatever HL-Attn has learnt."""
    block = experts_encoder(sized(3)).blocks[0]
    for name, parameter in block.named_parameters():
        if ".lora." in name and name.endswith(".b"):
            parameter.zero_()
    fused = block(tokens())
    block.hl_attn.high.o.weight.zero_()
    assert_close(fused, block(tokens()))  # products differ with their batch's split


@torch.no_grad()
def test_images_of_a_batch_do_not_see_each_other() -> None:
    block, x = experts_encoder(sized(3)).blocks[0], tokens(3)
    together = block(x)
    for i in range(3):
        assert_close(together[i : i + 1], block(x[i : i + 1]))


@pytest.mark.parametrize("scope", ["block", "attention"])
@pytest.mark.parametrize("inputs", ["difference", "stream"])
@WINDOWS
@torch.no_grad()
def test_mole_is_a_weighted_sum_of_the_streams(inputs: str, scope: str, window: int) -> None:
    """Eq. 7 with the gate's sum in the place of eq. 6."""
    fusion = Fusion(scope, inputs, kind="mole")
    block, x = experts_encoder(sized(window), fusion).blocks[0], tokens()
    plain = plain_block(block, None)
    run = (lambda one: one(x)) if scope == "block" else (lambda one: after_attention(one, x))
    base = run(plain)
    shown = torch.stack([run(plain_block(block, name)) - (base if inputs == "difference" else 0) for name in EXPERTS])
    out = base + block.fusion(shown)
    expected = out if scope == "block" else out + plain.mlp(plain.norm2(out))
    assert_close(block(x), expected)
    assert not torch.allclose(expected, plain_block(block, None)(x), atol=0.05)


@WINDOWS
@torch.no_grad()
def test_hcat_sees_the_windows_of_its_block(window: int) -> None:
    block, x = experts_encoder(sized(window), Fusion(kind="hcat", width=8)).blocks[0], tokens()
    base, streams = plain_block(block, None)(x), {name: plain_block(block, name)(x) for name in EXPERTS}
    expected, side = torch.full_like(base, float("nan")), block.window_size or GRID
    for b, top, left in itertools.product(range(len(x)), range(0, GRID, side), range(0, GRID, side)):
        cut = (slice(b, b + 1), slice(top, top + side), slice(left, left + side))
        shown = {name: (stream - base)[cut].flatten(1, 2) for name, stream in streams.items()}
        expected[cut] = base[cut] + block.fusion(shown).reshape(base[cut].shape)
    assert_close(block(x), expected)


def test_the_blocks_parameters_keep_their_names() -> None:
    torch.manual_seed(0)
    encoder = SamImageEncoder(SIZE, 32)
    add_lora_to_encoder(encoder, EXPERTS, rank=2)
    before = dict(encoder.named_parameters())
    add_fusion(encoder, FUSION)
    after = dict(encoder.named_parameters())
    assert all(after[name] is parameter for name, parameter in before.items())
    assert all(".hl_attn." in name for name in set(after) - set(before))


@torch.no_grad()
def test_windows_of_a_grid_that_is_no_square_are_fused_each_by_itself() -> None:
    """Two tokens by two of a grid of four by six: any window is what the block gives for it alone."""
    block = experts_encoder(sized(2)).blocks[0]
    x = torch.randn(2, 4, 6, SIZE.embed_dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    whole = block(x)
    for top, left in itertools.product(range(0, 4, 2), range(0, 6, 2)):
        cut = (slice(None), slice(top, top + 2), slice(left, left + 2))
        assert_close(whole[cut], block(x[cut]))


@pytest.mark.parametrize(("kind", "width"), [("hl_attn", 4), ("hcat", 8)])
def test_hl_attn_is_narrower_inside_where_the_block_widens(kind: str, width: int) -> None:
    """As where a stage of Hiera begins: from 16 to 32 channels."""
    block = SamImageEncoder(sized(0), 8 * GRID).blocks[0]
    block.attn.qkv = nn.Linear(16, 3 * 32)
    fused = ExpertsBlock(block, Fusion(kind=kind, width=8)).fusion
    assert fused.low.q.out_features == width and fused.high.q.out_features == width
