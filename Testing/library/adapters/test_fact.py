"""FacT: factors that all blocks share."""

from __future__ import annotations

import copy

import torch
from safetensors.torch import save
from torch import nn

from SAMoraLib.adapters.fact import FacTLinear, SharedFactors, add_fact_to_encoder
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from Testing.closeness import assert_close
from Testing.small import SIZE, randomise, small_model

X = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0))


def layer() -> FacTLinear:
    torch.manual_seed(0)
    return FacTLinear(nn.Linear(6, 18), SharedFactors(6, 2))


def test_new_factors_change_nothing() -> None:
    linear = nn.Linear(6, 18)
    assert torch.equal(FacTLinear(linear, SharedFactors(6, 2))(X), linear(X))


def test_the_change_is_multiplied_by_the_scale() -> None:
    linear, shared = nn.Linear(6, 18), SharedFactors(6, 2)
    once, thrice = FacTLinear(linear, shared).eval(), FacTLinear(linear, shared, 3.0).eval()
    thrice.fact = once.fact
    randomise(shared)
    assert_close(thrice(X) - linear(X), 3 * (once(X) - linear(X)))
    assert not torch.equal(thrice(X), once(X))


def test_q_and_v_get_equation_2_and_k_nothing() -> None:
    fact = layer().eval()
    (shared,) = fact._shared
    randomise(fact)
    randomise(shared)
    change = fact(X) - nn.functional.linear(X, fact.weight, fact.bias)
    for part, columns in (("q", slice(0, 6)), ("v", slice(12, 18))):
        delta = shared.v.weight @ fact.fact[part].weight @ shared.u.weight  # eq. 1: V Sigma U, as a matrix d x d
        assert_close(change[..., columns], X @ delta.T)
    assert change[..., 6:12].abs().max() == 0


def test_dropout_acts_in_training_alone() -> None:
    fact = layer()
    randomise(fact._shared[0])
    assert not torch.equal(fact.train()(X), fact(X))
    assert torch.equal(fact.eval()(X), fact(X))


def test_all_blocks_share_one_pair_that_is_saved_once() -> None:
    encoder = SamImageEncoder(SIZE, 32)
    add_fact_to_encoder(encoder, 3)
    shared = [key for key in encoder.state_dict() if key.endswith((".u.weight", ".v.weight")) and ".blocks" not in key]
    assert [key for key in shared if key.startswith("fact.")] == ["fact.u.weight", "fact.v.weight"]
    save(encoder.state_dict())  # refuses tensors that share memory
    encoder.fact.v.weight.data.fill_(1)
    for block in encoder.blocks:
        assert block.attn.qkv._shared[0].v.weight.min() == 1


def test_a_copy_shares_its_own() -> None:
    model = small_model("ma_sam")
    copied = copy.deepcopy(model)
    for block in copied.image_encoder.blocks:
        assert block.attn.qkv._shared[0] is copied.image_encoder.fact
    assert copied.image_encoder.fact is not model.image_encoder.fact


def test_every_block_reaches_the_shared_factors() -> None:
    model = small_model("ma_sam")
    for block in model.image_encoder.blocks:
        model.zero_grad()
        block.attn.qkv(torch.randn(1, 2, 2, 32)).sum().backward()
        assert model.image_encoder.fact.u.weight.grad.abs().max() > 0
