"""MAE: its size, timm's encoder behind it, and tokens that stay in their places."""

from __future__ import annotations

import math

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional

from Testing.closeness import assert_close
from Testing.refusals import refusal
from Training.teachers.mae import VIT_LARGE, Mae, MaeSize, fitted, from_published, rgb_patches, sincos_positions

SIZE = MaeSize(8, 32, 2, 4, 16, 1, 2)


def small(image_size: int = 32) -> Mae:
    torch.manual_seed(0)
    return Mae(SIZE, image_size).eval()


def timm_vit(image_size: int = 32) -> VisionTransformer:
    torch.manual_seed(1)
    return VisionTransformer(image_size, 8, embed_dim=32, depth=2, num_heads=4, num_classes=0).eval()


def test_the_full_network_has_the_published_size() -> None:
    with torch.device("meta"):
        model = Mae(VIT_LARGE, 224)
    assert sum(parameter.numel() for parameter in model.encoder.parameters()) == 303_301_632
    assert sum(parameter.numel() for parameter in model.parameters()) == 329_541_888


@pytest.mark.parametrize("prefix", ["", "model."])
def test_a_published_encoder_gives_timms_tokens(prefix: str) -> None:
    vit, model = timm_vit(), small()
    state = from_published({prefix + key: value for key, value in vit.state_dict().items()})
    model.load_state_dict(fitted(state, model))
    images = torch.rand(2, 3, 32, 32)
    expected = vit.forward_features((images - model.mean) / model.std)[:, 1:]
    assert_close(model.features(images).flatten(1, 2), expected)


def test_without_a_published_decoder_ours_stays_and_with_one_it_is_taken() -> None:
    model, other = small(), small()
    nn.init.normal_(other.decoder_pred.weight)
    inner = {key.removeprefix("encoder."): value for key, value in other.state_dict().items()}
    alone = {key: value for key, value in inner.items() if not key.startswith(("decoder_", "mask_token"))}
    assert torch.equal(fitted(from_published(alone), model)["decoder_pred.weight"], model.decoder_pred.weight)
    assert torch.equal(fitted(from_published(inner), model)["decoder_pred.weight"], other.decoder_pred.weight)


def test_position_tables_follow_the_image_size() -> None:
    state = fitted(from_published(timm_vit(32).state_dict()), small(48))
    assert state["encoder.pos_embed"].shape == (1, 37, 32)


def test_positions_are_maes() -> None:
    table = sincos_positions(3, 8)[0]
    assert table.shape == (10, 8) and not table[0].any()
    row, column = 2, 1
    expected = [f(place * omega) for place in (column, row) for f in (math.sin, math.cos) for omega in (1.0, 0.01)]
    assert_close(table[1 + 3 * row + column], torch.tensor(expected))


def test_features_lie_where_the_image_does() -> None:
    model = small()
    model.encoder.blocks = nn.Sequential()  # nothing mixes the tokens
    plain, bright = torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)
    bright[..., 8:16, 24:32] = 1  # row 1, column 3
    changed = (model.features(bright) - model.features(plain)).abs().amax(-1)[0] > 1e-4
    assert changed.nonzero().tolist() == [[1, 3]]


def test_patches_run_row_by_row_with_channels_last() -> None:
    image = torch.arange(3 * 16.0).reshape(1, 3, 4, 4)
    patches = rgb_patches(image, 2)
    assert patches.shape == (1, 4, 12)
    assert patches[0, 1].tolist() == [2, 18, 34, 3, 19, 35, 6, 22, 38, 7, 23, 39]


def test_the_decoder_gets_every_visible_token_back_in_its_place() -> None:
    model = small()
    model.encoder.blocks, model.decoder_blocks = nn.Sequential(), nn.ModuleList()
    mask = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(3)).argsort(dim=-1) < 3
    images = torch.rand(2, 3, 32, 32)
    whole = model(images, torch.zeros_like(mask))
    rebuilt, hidden = model(images, mask), mask.flatten(1)
    assert_close(rebuilt[~hidden], whole[~hidden])
    assert not torch.isclose(rebuilt[hidden], whole[hidden]).all(dim=-1).any()


def test_the_decoder_by_hand() -> None:
    """Without blocks each patch is its token, or the mask's, at its place, normalised and mapped to pixels."""
    model = small()
    model.encoder.blocks, model.decoder_blocks = nn.Sequential(), nn.ModuleList()
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1, 2] = True
    images = torch.rand(1, 3, 32, 32)
    embedded = functional.linear(model.encode(images), model.decoder_embed.weight, model.decoder_embed.bias)[0, 1:]
    tokens = torch.where(mask.view(16, 1), model.mask_token[0], embedded) + sincos_positions(4, 16)[0, 1:]
    norm = functional.layer_norm(tokens, (16,), model.decoder_norm.weight, model.decoder_norm.bias, eps=1e-6)
    assert_close(model(images, mask)[0], norm @ model.decoder_pred.weight.T + model.decoder_pred.bias)


def test_what_is_published_of_the_networks_parts() -> None:
    model = small()
    assert model.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert model.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    norms = [module for module in (*model.decoder_blocks.modules(), model.decoder_norm, *model.encoder.modules())
             if isinstance(module, nn.LayerNorm)]
    assert len(norms) == 2 + 1 + 2 * 2 + 1 and {norm.eps for norm in norms} == {1e-6}
    assert [block.attn.num_heads for block in (*model.decoder_blocks, *model.encoder.blocks)] == [2, 4, 4]
    assert all(block.attn.qkv.bias is not None for block in model.decoder_blocks)
    assert [name for name, parameter in model.named_parameters() if not parameter.requires_grad] == [
        "decoder_pos_embed", "encoder.pos_embed"]
    assert not {"mean", "std"} & set(model.state_dict())
    wide = Mae(MaeSize(8, 32, 1, 4, 1024, 1, 2), 8)
    assert wide.mask_token.shape == (1, 1, 1024) and 0.018 < wide.mask_token.std() < 0.022


def test_the_encoder_does_not_see_masked_patches() -> None:
    model = small()
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[:, 1, 3] = True
    first, second = torch.rand(1, 3, 32, 32).repeat(2, 1, 1, 1).split(1)
    second = second.clone()
    second[..., 8:16, 24:32] += 1
    assert_close(model(first, mask), model(second, mask))


def test_a_size_that_patches_do_not_divide_is_refused() -> None:
    assert "30 is not a multiple of the teacher's patch size 8" in refusal(lambda: Mae(SIZE, 30))
