"""Attention that a prior weights, and the order in which tokens look."""

from __future__ import annotations

import math

import pytest
import torch
from segment_anything.modeling.transformer import Attention, TwoWayTransformer
from torch import Tensor

from SAMoraLib.decoders.mask import build_mask_decoder
from SAMoraLib.decoders.masked_transformer import MaskedAttention, build_masked_transformer, cross_first
from Testing.closeness import assert_close
from Testing.small import SIZE, randomise

GENERATOR = torch.Generator().manual_seed(0)
TOKENS, IMAGE = torch.randn(2, 3, 32, generator=GENERATOR), torch.randn(2, 16, 32, generator=GENERATOR)
PRIOR = torch.rand(2, 3, 16, generator=GENERATOR)


def masked() -> MaskedAttention:
    attention = MaskedAttention(32, 4)
    randomise(attention)
    return attention.eval()


@torch.no_grad()
def test_a_prior_of_one_is_the_packages_attention() -> None:
    attention, plain = masked(), Attention(32, 4)
    plain.load_state_dict({key: value for key, value in attention.state_dict().items() if "norm" not in key})
    expected = plain(TOKENS, IMAGE, IMAGE)
    assert_close(attention(TOKENS, IMAGE, IMAGE, torch.ones_like(PRIOR)), expected)


@torch.no_grad()
def test_the_prior_multiplies_after_the_softmax_and_nothing_is_normalised_again() -> None:
    """Eq. 3, head by head."""
    attention = masked()
    q, k, v = attention.q_proj(TOKENS), attention.k_proj(IMAGE), attention.v_proj(IMAGE)
    heads = []
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        saliency = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(8), dim=-1)
        heads.append((PRIOR * saliency) @ v[..., part])
    expected = attention.out_proj(torch.cat(heads, dim=-1))
    assert_close(attention(TOKENS, IMAGE, IMAGE, PRIOR), expected)


def test_the_prior_has_a_gradient() -> None:
    prior = PRIOR.clone().requires_grad_()
    masked()(TOKENS, IMAGE, IMAGE, prior).square().sum().backward()
    assert prior.grad is not None and (prior.grad != 0).all()


def test_dropout_is_a_matter_of_training() -> None:
    transformer = build_masked_transformer(SIZE)
    randomise(transformer)
    image = IMAGE.transpose(1, 2).unflatten(2, (4, 4))
    arguments = transformer, image, torch.zeros(1, 32, 4, 4), TOKENS, PRIOR
    transformer.eval()
    assert torch.equal(cross_first(*arguments)[0], cross_first(*arguments)[0])
    transformer.train()
    assert not torch.equal(cross_first(*arguments)[0], cross_first(*arguments)[0])


def literal(transformer: TwoWayTransformer, image: Tensor, places: Tensor, tokens: Tensor, prior: Tensor | None
            ) -> tuple[Tensor, Tensor]:
    """Figure 2 of H-SAM, on sequences: tokens look at the image, at each other, pass the network, and are looked at."""
    asked = tokens
    forth, back = ((prior,), (prior.mT,)) if prior is not None else ((), ())
    for number, layer in enumerate(transformer.layers):
        tokens = layer.norm2(tokens + layer.cross_attn_token_to_image(tokens + asked, image + places, image, *forth))
        if number == 0:  # as in SAM, whose first layer replaces the tokens
            tokens = layer.norm1(layer.self_attn(tokens, tokens, tokens))
        else:
            tokens = layer.norm1(tokens + layer.self_attn(tokens + asked, tokens + asked, tokens))
        tokens = layer.norm3(tokens + layer.mlp(tokens))
        image = layer.norm4(image + layer.cross_attn_image_to_token(image + places, tokens + asked, tokens, *back))
    tokens = tokens + transformer.final_attn_token_to_image(tokens + asked, image + places, image)
    return transformer.norm_final_attn(tokens), image


@pytest.mark.parametrize("masked", [True, False])
@torch.no_grad()
def test_tokens_look_at_the_image_before_they_look_at_each_other(masked: bool) -> None:
    torch.manual_seed(0)
    transformer = build_masked_transformer(SIZE) if masked else build_mask_decoder(SIZE, 2).transformer
    randomise(transformer)
    transformer.eval()
    places = torch.randn(1, 16, 32)
    expected = literal(transformer, IMAGE, places, TOKENS, PRIOR if masked else None)
    found = cross_first(transformer, *(x.mT.unflatten(2, (4, 4)) for x in (IMAGE, places)), TOKENS,
                        PRIOR if masked else None)
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs)


def test_there_are_two_layers_and_the_way_to_the_image_drops_in_training() -> None:
    transformer = build_masked_transformer(SIZE)
    assert len(transformer.layers) == 2
    for layer in transformer.layers:
        assert layer.cross_attn_token_to_image.dropout.p == 0.2
        assert layer.cross_attn_image_to_token.dropout.p == 0
    assert MaskedAttention(32, 4).dropout.p == 0
