"""TP-Mamba's adapter number by number, and which of its kinds stands behind every block."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.adapters.depth_convolution import DepthConvolution, add_adapters_after_blocks
from SAMoraLib.adapters.triplane_mamba import PlaneMamba, Planes
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.variants import EncoderSize, Variant, get_variant
from Testing.closeness import assert_close
from Testing.small import SIZE, randomise


def convolved(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Slices (D, h, w, c) with a kernel (out, c, 3) across them; beyond the slab all is zero."""
    out = torch.zeros(*x.shape[:3], len(weight), dtype=x.dtype)
    for number in range(len(x)):
        for tap, offset in enumerate((-dilation, 0, dilation)):
            if 0 <= number + offset < len(x):
                out[number] += x[number + offset] @ weight[:, :, tap].T
    return out


def normalised(x: Tensor) -> Tensor:
    """Each channel of a slab to mean 0 and variance 1, then GELU."""
    mean, variance = x.mean(dim=(0, 1, 2)), x.var(dim=(0, 1, 2), unbiased=False)
    return F.gelu((x - mean) / (variance + 1e-5).sqrt())


def literal(adapter: DepthConvolution, slab: Tensor) -> Tensor:
    """Section 2.2 of the paper, slice by slice: the four dilations are 1, 2, 4 and 8."""
    weights = [layer.weight[..., 0, 0] for layer in (adapter.down, *adapter.scales, adapter.up)]
    entered = normalised(convolved(slab, weights[0], 1))
    scales = [normalised(convolved(entered, weight, dilation))
              for weight, dilation in zip(weights[1:5], (1, 2, 4, 8), strict=True)]
    return slab + convolved(adapter.between(torch.cat(scales, dim=-1)[None])[0], weights[5], 1)


@pytest.mark.parametrize("between", [None, nn.Linear(8, 8)])
@torch.no_grad()
def test_section_2_2_slice_by_slice(between: nn.Module | None) -> None:
    torch.manual_seed(0)
    adapter = DepthConvolution(16, 8, between).double()
    randomise(adapter)
    slabs = torch.randn(20, 2, 3, 16, dtype=torch.float64)
    expected = torch.cat([literal(adapter, slabs[:10]), literal(adapter, slabs[10:])])
    assert_close(adapter(slabs, 10), expected)


def test_dilations_reach_as_far_as_the_paper_says() -> None:
    torch.manual_seed(0)
    adapter = DepthConvolution(16, 4)
    for scale, dilation in zip(adapter.scales, (1, 2, 4, 8), strict=True):
        assert scale.kernel_size == (3, 1, 1) and scale.dilation == (dilation, 1, 1)
        assert scale(torch.zeros(1, 4, 20, 2, 2)).shape == (1, 1, 20, 2, 2)


def row(depth_adapter: str, size: EncoderSize = SIZE) -> Variant:
    return get_variant("tp_mamba", encoder_size=size, depth_adapter=depth_adapter, planes=("hw", "dh"))


def adapters_of(variant: Variant) -> list[nn.Module]:
    encoder = SamImageEncoder(variant.size, 32)
    add_adapters_after_blocks(encoder, variant)
    return list(encoder.depth_adapters)


def test_behind_every_block_stands_an_adapter_of_a_quarter_of_the_width() -> None:
    adapters = adapters_of(row("multi_scale"))
    assert len(adapters) == SIZE.depth
    for adapter in adapters:
        assert isinstance(adapter, DepthConvolution) and isinstance(adapter.between, nn.Identity)
        assert adapter.down.weight.shape[:2] == (8, 32) and adapter.up.weight.shape[:2] == (32, 8)


def test_the_triplane_adapter_has_a_mamba_for_each_plane_between_its_convolutions() -> None:
    for adapter in adapters_of(row("triplane_mamba")):
        assert isinstance(adapter, DepthConvolution) and isinstance(adapter.between, Planes)
        assert list(adapter.between.mamba) == ["hw", "dh"]
        assert adapter.between.norm.normalized_shape == (8,)


def test_sam_mambas_adapter_has_no_convolutions() -> None:
    for adapter in adapters_of(row("plane_mamba")):
        assert isinstance(adapter, PlaneMamba)
        assert list(adapter.planes.mamba) == ["hw", "dh"]
        assert adapter.down.weight.shape == (8, 32)


@pytest.mark.parametrize(("width", "heads"), [(24, 4), (8, 4), (40, 4)])
def test_a_width_whose_quarter_four_convolutions_cannot_share_is_refused(width: int, heads: int) -> None:
    size = replace(SIZE, embed_dim=width, num_heads=heads)
    with pytest.raises(ValueError, match=f"a quarter of the encoder's width, {width // 4}, .* a multiple of 16"):
        adapters_of(row("multi_scale", size))


def test_sixteen_channels_are_the_least() -> None:
    adapter = adapters_of(row("multi_scale", replace(SIZE, embed_dim=16)))[0]
    assert isinstance(adapter, DepthConvolution)
    assert [scale.out_channels for scale in adapter.scales] == [1, 1, 1, 1]
