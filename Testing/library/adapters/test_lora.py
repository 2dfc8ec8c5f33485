"""Low-rank pairs: a Linear that owns them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from SAMoraLib.adapters.lora import LoRALinear, LowRankPair, add_lora_to_decoder, add_lora_to_encoder
from SAMoraLib.decoders.mask import build_mask_decoder
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.variants import EXPERTS
from Testing.closeness import assert_close
from Testing.small import SIZE, randomise

PARTS = {"q": (0, 6), "v": (12, 18)}
X = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))


def qkv(names: tuple[str, ...], seed: int = 0) -> LoRALinear:
    """A fused qkv of width 6 with trained pairs."""
    torch.manual_seed(seed)
    layer = LoRALinear(nn.Linear(6, 18), names, PARTS, rank=2)
    randomise(layer)
    return layer


def merged(layer: LoRALinear, name: str) -> nn.Linear:
    """A plain Linear with W + B A."""
    linear = nn.Linear(layer.in_features, layer.out_features)
    linear.weight.data, linear.bias.data = layer.weight.data.clone(), layer.bias.data.clone()
    for part, (start, stop) in layer.parts.items():
        pair = layer.lora[name][part]
        linear.weight.data[start:stop] += pair.b.data @ pair.a.data
    return linear


def test_a_new_pair_changes_nothing() -> None:
    linear = nn.Linear(6, 18)
    expected = linear(X)
    assert torch.equal(LoRALinear(linear, ("default",), PARTS, rank=2)(X), expected)


def test_a_starts_as_in_the_paper_and_b_at_zero() -> None:
    pair = LowRankPair(400, 10, 4)
    assert pair.a.shape == (4, 400) and pair.b.shape == (10, 4)
    bound = 1 / 400**0.5  # kaiming_uniform with a = sqrt(5)
    assert 0.95 * bound < pair.a.abs().max() <= bound
    assert not pair.b.any()


def test_it_takes_the_linear_over_under_its_own_names() -> None:
    linear = nn.Linear(6, 18)
    layer = LoRALinear(linear, ("default",), PARTS, rank=2)
    assert layer.weight is linear.weight and layer.bias is linear.bias
    assert set(layer.state_dict()) == {"weight", "bias", "lora.default.q.a", "lora.default.q.b", "lora.default.v.a",
                                       "lora.default.v.b"}


def test_a_pair_that_is_alone_works_whatever_its_name() -> None:
    """An expert alone (table 5) is no base stream; of three pairs, none is added unasked."""
    layer = qkv(("pixel",))
    assert_close(layer(X), merged(layer, "pixel")(X))
    three = qkv(EXPERTS)
    assert torch.equal(three(X), nn.functional.linear(X, three.weight, three.bias))


def test_streams_are_the_outputs_without_and_with_each_pair() -> None:
    layer, x = qkv(EXPERTS), torch.randn(2, 40, 6, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([layer(x), *(layer(x, name) for name in EXPERTS)])
    assert_close(layer.streams(x, EXPERTS), expected)
    with torch.no_grad():
        assert_close(layer.streams(x, EXPERTS), expected)
        with torch.autocast("cpu", torch.bfloat16):
            half = layer.streams(x, EXPERTS)
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), expected, tolerance=0.1)


@pytest.mark.parametrize("asked", [True, False])
def test_a_named_pair_runs_in_half_precision(asked: bool) -> None:
    layer = qkv(EXPERTS)
    expected = layer(X, "patch")
    with torch.set_grad_enabled(asked), torch.autocast("cpu", torch.bfloat16):
        half = layer(X, "patch")
    assert half.dtype == torch.bfloat16
    assert_close(half.float(), expected, tolerance=0.1)


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_of_streams_are_those_of_each_pair_by_itself(frozen: bool) -> None:
    """Stage 2 asks for the input's alone; ``trained: [lora, ...]`` for the pairs', too."""
    layer = qkv(EXPERTS).requires_grad_(not frozen)
    x = torch.randn(2, 40, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    weights = torch.randn(4, 2, 40, 18, generator=torch.Generator().manual_seed(1))
    asked = [x, *(parameter for parameter in layer.parameters() if parameter.requires_grad)]
    singly = torch.stack([layer(x), *(layer(x, name) for name in EXPERTS)])
    for together, one in zip(torch.autograd.grad((layer.streams(x, EXPERTS) * weights).sum(), asked),
                             torch.autograd.grad((singly * weights).sum(), asked), strict=True):
        assert_close(together, one)


def test_what_nobody_trains_is_not_recorded() -> None:
    layer, x = qkv(EXPERTS).requires_grad_(False), torch.randn(2, 40, 6)
    streams, one = layer.streams(x, EXPERTS), layer(x, "patch")
    assert not streams.requires_grad and not one.requires_grad
    with torch.no_grad():
        assert torch.equal(streams, layer.streams(x, EXPERTS)) and torch.equal(one, layer(x, "patch"))


@pytest.mark.parametrize("name", EXPERTS)
def test_a_named_pair_is_a_merged_weight(name: str) -> None:
    layer = qkv(EXPERTS)
    assert_close(layer(X, name), merged(layer, name)(X))


def test_keys_are_left_alone() -> None:
    layer = qkv(("default",))
    change = layer(X, "default") - nn.functional.linear(X, layer.weight, layer.bias)
    assert not change[..., 6:12].any()
    assert change[..., :6].any() and change[..., 12:].any()


def test_without_a_name_samed_uses_its_pair_and_experts_none() -> None:
    samed, experts = qkv(("default",)), qkv(EXPERTS)
    assert torch.equal(samed(X), samed(X, "default"))
    assert torch.equal(experts(X), nn.functional.linear(X, experts.weight, experts.bias))


def test_an_unknown_adapter_is_answered_with_the_choices() -> None:
    with pytest.raises(ValueError, match="There is no adapter 'voxel'; this model has image, patch, pixel"):
        qkv(EXPERTS)(X, "voxel")


def test_only_the_pair_in_use_has_a_gradient() -> None:
    layer = qkv(EXPERTS)
    layer(X, "patch").sum().backward()
    reached = {name for name, parameter in layer.named_parameters() if parameter.grad is not None}
    assert reached == {"weight", "bias"} | {f"lora.patch.{part}.{ab}" for part in "qv" for ab in "ab"}


@torch.no_grad()
def test_every_block_of_the_encoder_is_adapted() -> None:
    encoder = SamImageEncoder(SIZE, 32).eval()
    add_lora_to_encoder(encoder, ("image", "pixel"), rank=3)
    randomise(encoder)
    image = torch.rand(1, 3, 32, 32)
    with_pair = encoder(image, "pixel")
    for block in encoder.blocks:
        assert block.attn.qkv.parts == {"q": (0, 32), "v": (64, 96)}
        assert block.attn.qkv.lora["pixel"]["v"].a.shape == (3, 32)
        block.attn.qkv = merged(block.attn.qkv, "pixel")
    assert_close(encoder(image), with_pair)


def test_samed_s_adapts_every_attention_of_the_decoder() -> None:
    decoder = build_mask_decoder(SIZE, 2)
    add_lora_to_decoder(decoder.transformer, rank=2)
    adapted = {name for name, module in decoder.transformer.named_modules() if isinstance(module, LoRALinear)}
    attentions = [f"layers.{i}.{name}" for i in range(2)
                  for name in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token")]
    assert adapted == {f"{name}.{part}_proj" for name in (*attentions, "final_attn_token_to_image") for part in "qv"}
    # Cross-attention has half the width.
    assert decoder.transformer.layers[0].cross_attn_image_to_token.v_proj.lora["default"]["v"].b.shape == (16, 2)
