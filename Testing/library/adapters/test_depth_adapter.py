"""3D adapters: what a slice sees of its slab."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.adapters.depth_adapter import DepthAdapter
from Testing.closeness import assert_close
from Testing.small import randomise, small_model


def adapter() -> DepthAdapter:
    torch.manual_seed(0)
    made = DepthAdapter(6, 4)
    randomise(made)
    return made


def tokens(slices: int) -> Tensor:
    return torch.randn(slices, 2, 3, 6, generator=torch.Generator().manual_seed(1))


def test_a_new_adapter_changes_nothing() -> None:
    assert torch.equal(DepthAdapter(6, 4)(tokens(5), 5), tokens(5))


@torch.no_grad()
def test_equation_3_token_by_token() -> None:
    made, x = adapter(), tokens(5)
    found = made(x, 5)
    for number in range(5):
        total = made.conv.bias.clone().expand(2, 3, 4)
        for tap in range(3):
            if 0 <= number + tap - 1 < 5:
                reduced = F.layer_norm(x[number + tap - 1], (6,), made.norm.weight, made.norm.bias, 1e-6)
                total = total + reduced @ made.down.weight.T @ made.conv.weight[:, :, tap, 0, 0].T
        assert_close(found[number], x[number] + F.gelu(total) @ made.up.weight.T)


@torch.no_grad()
def test_slabs_of_a_batch_do_not_see_each_other() -> None:
    made, x = adapter(), tokens(6)
    assert_close(made(x, 3), torch.cat([made(x[:3], 3), made(x[3:], 3)]))
    assert not torch.allclose(made(x, 3), made(x, 6))


@pytest.mark.parametrize("depth", [3, 5])
@torch.no_grad()
def test_the_average_over_the_places_in_a_slab(depth: int) -> None:
    """A bias so large that GELU is the identity: then the adapter's mean over the places is exact."""
    made, x = adapter(), tokens(1 + 2 * depth)
    made.conv.bias += 100
    middle = depth
    places = [made(x[middle - place:middle - place + depth], depth)[place] for place in range(depth)]
    reduced = made.reduce(x)[middle - 1:middle + 2]
    found = made.averaged(x[middle:middle + 1], reduced, depth)[0]
    assert_close(found, torch.stack(places).mean(0))


@torch.no_grad()
def test_a_slice_sees_its_slab_and_no_other() -> None:
    model = small_model("ma_sam")
    image = torch.rand(2, 1, 5, 32, 32, generator=torch.Generator().manual_seed(0))
    changed = image.clone()
    changed[0, :, 4] = 1 - changed[0, :, 4]
    first, second = (model(slabs).low_res_logits for slabs in (image, changed))
    assert (first[0, :, 1] - second[0, :, 1]).abs().max() > 0  # two blocks of two adapters reach four slices
    assert torch.equal(first[1], second[1])


@torch.no_grad()
def test_without_a_depth_every_slice_is_a_slab_of_its_own() -> None:
    block = small_model("ma_sam").image_encoder.blocks[0]
    x = torch.randn(3, 4, 4, 32, generator=torch.Generator().manual_seed(0))
    assert_close(block(x), torch.cat([block(x[number:number + 1], depth=1) for number in range(3)]))


@torch.no_grad()
def test_one_adapter_stands_before_the_attention_and_one_behind_it() -> None:
    """Figure 1 of MA-SAM, with residuals around attention and MLP."""
    block = small_model("ma_sam").image_encoder.blocks[1]  # global
    x = torch.randn(4, 4, 4, 32, generator=torch.Generator().manual_seed(0))
    before, after = block.depth_adapters
    entered = before(x, 2)
    attended = after(entered + block.attn(block.norm1(entered)), 2)
    assert_close(block(x, depth=2), attended + block.mlp(block.norm2(attended)))
