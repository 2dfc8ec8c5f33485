"""Attention that a prior weights, and the order in which tokens look."""

from __future__ import annotations

import math

import torch
from segment_anything.modeling.transformer import Attention

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
