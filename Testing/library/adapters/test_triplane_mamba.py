"""Mamba along planes: which tokens see which, and what a new adapter changes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.adapters.depth_convolution import DepthConvolution
from SAMoraLib.adapters.mamba import Mamba
from SAMoraLib.adapters.triplane_mamba import ORDERS, PlaneMamba, Planes, along
from SAMoraLib.variants import PLANES
from Testing.closeness import assert_close
from Testing.small import randomise

SHAPE = (2, 3, 4, 5)  # B, D, h, w
# The axes of (D, h, w) in the order in which a plane is gone through, outer first.
SEQUENCE = {"volume": "dhw", "hw": "hw", "dw": "dw", "dh": "dh"}


def seen_by(plane: str, at: tuple[int, int, int, int]) -> Tensor:
    """(B, D, h, w): the tokens on which the output at ``at`` depends."""
    torch.manual_seed(0)
    x = torch.randn(*SHAPE, 16, requires_grad=True)
    along(x, plane, Mamba(16))[at].sum().backward()
    assert x.grad is not None
    return x.grad.abs().sum(-1) > 0


@pytest.mark.parametrize("plane", PLANES)
def test_a_token_sees_those_before_it_in_its_plane(plane: str) -> None:
    at = (1, 1, 2, 3)
    position = dict(zip("dhw", at[1:], strict=True))
    expected = torch.zeros(SHAPE, dtype=torch.bool)
    for token in torch.cartesian_prod(*(torch.arange(size) for size in SHAPE[1:])).tolist():
        there = dict(zip("dhw", token, strict=True))
        same = all(there[axis] == position[axis] for axis in "dhw" if axis not in SEQUENCE[plane])
        before = [there[axis] for axis in SEQUENCE[plane]] <= [position[axis] for axis in SEQUENCE[plane]]
        expected[(at[0], *token)] = same and before
    assert torch.equal(seen_by(plane, at), expected)
    assert set(ORDERS) == set(PLANES)


@pytest.mark.parametrize("adapter", [PlaneMamba(16, 4, ("hw",)), DepthConvolution(16, 4),
                                     DepthConvolution(16, 4, Planes(4, ("hw", "dw", "dh")))])
def test_a_new_adapter_changes_nothing_and_a_trained_one_looks_across(adapter: torch.nn.Module) -> None:
    x = torch.randn(6, 4, 5, 16)
    assert torch.equal(adapter(x, 3), x)
    randomise(adapter)
    changed = adapter(x, 3)
    assert changed.shape == x.shape and not torch.allclose(changed, x)
    assert_close(adapter(x[3:], 3), changed[3:])  # slabs do not see each other
    other = x.clone()
    other[0] += 1
    moved = (adapter(other, 3) - changed).abs().amax(dim=(1, 2, 3)) > 1e-4
    across = not isinstance(adapter, PlaneMamba)  # along hw alone no slice sees another
    assert moved.tolist() == [True, across, across, False, False, False]


@pytest.mark.parametrize("depth", [2, 3])
@torch.no_grad()
def test_a_plane_mamba_adds_what_its_planes_give_to_the_reduced_tokens(depth: int) -> None:
    torch.manual_seed(0)
    adapter = PlaneMamba(16, 4, ("dw", "hw"))
    randomise(adapter)
    x = torch.randn(6, 4, 5, 16)
    reduced = (x @ adapter.down.weight.T).unflatten(0, (-1, depth))
    planes = sum(along(reduced, plane, adapter.planes.mamba[plane]) for plane in ("dw", "hw"))
    bent = F.gelu(F.layer_norm(planes, (4,), adapter.planes.norm.weight, adapter.planes.norm.bias))
    assert_close(adapter(x, depth), x + bent.flatten(0, 1) @ adapter.up.weight.T)
