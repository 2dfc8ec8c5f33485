"""Which parameter belongs to which part."""

from __future__ import annotations

import pytest

from SAMoraLib.parts import PARTS, count_parameters, expert_keys, own_keys, part_of, train_only
from SAMoraLib.variants import VARIANTS
from Testing.small import small_model

EVERY_VARIANT = pytest.mark.parametrize("name", VARIANTS)


@pytest.mark.parametrize(("key", "part"), [
    ("image_encoder.pos_embed", "base"),
    ("image_encoder.blocks.0.attn.qkv.weight", "base"),
    ("image_encoder.blocks.0.attn.qkv.lora.image.q.a", "lora"),
    ("image_encoder.blocks.0.hl_attn.low.q.weight", "fusion"),
    ("image_encoder.fact.u.weight", "lora"),
    ("image_encoder.blocks.0.attn.qkv.fact.q.weight", "lora"),
    ("image_encoder.blocks.0.depth_adapters.1.conv.bias", "depth"),
    ("mask_decoder.transformer.final_attn_token_to_image.q_proj.lora.default.q.b", "lora"),
    ("mask_decoder.transformer.final_attn_token_to_image.q_proj.weight", "transformer"),
    ("mask_decoder.mask_tokens.weight", "decoder"),
    ("mask_decoder2.transformer2.layers.0.self_attn.q_proj.weight", "decoder"),
    ("prompt_encoder.no_mask_embed.weight", "prompt"),
])
def test_parts(key: str, part: str) -> None:
    assert part_of(key) == part


@EVERY_VARIANT
def test_every_key_is_in_one_part(name: str) -> None:
    model = small_model(name)
    parts = [set(own_keys(model, [part])) for part in PARTS]
    assert set.union(*parts) == set(model.state_dict())
    assert sum(map(len, parts)) == len(model.state_dict())
    assert sum(count_parameters(model, [part]) for part in PARTS) == sum(p.numel() for p in model.parameters())


@EVERY_VARIANT
def test_a_row_trains_its_parts_alone(name: str) -> None:
    model = small_model(name)
    train_only(model, own_keys(model, model.variant.trained))
    for key, parameter in model.named_parameters():
        assert parameter.requires_grad == (part_of(key) in model.variant.trained), key
    assert count_parameters(model, trainable=True) == count_parameters(model, model.variant.trained)


def test_freezing_forgets_what_was_trained_before() -> None:
    model = small_model("samed")
    train_only(model, own_keys(model, ["prompt"]))
    train_only(model, own_keys(model, ["lora"]))
    assert count_parameters(model, ["prompt"], trainable=True) == 0
    # Two blocks, q and v, A and B of rank 4 and width 32.
    assert count_parameters(model, trainable=True) == 2 * 2 * 2 * 4 * 32


def test_buffers_belong_to_a_part_and_are_not_counted() -> None:
    model = small_model("sam")
    assert "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix" in own_keys(model, ["prompt"])
    assert count_parameters(model, ["prompt"]) == sum(p.numel() for p in model.prompt_encoder.parameters())


def test_an_experts_keys() -> None:
    keys = expert_keys(small_model("samora"), "patch")
    assert len(keys) == 2 * 2 * 2 and all(".attn.qkv.lora.patch." in key for key in keys)
    assert expert_keys(small_model("samed"), "patch") == []


def test_an_unknown_part_is_answered_with_the_choices() -> None:
    with pytest.raises(ValueError, match=f"Unknown part 'neck'; choose from {', '.join(PARTS)}"):
        own_keys(small_model("sam"), ["neck", "lora"])
