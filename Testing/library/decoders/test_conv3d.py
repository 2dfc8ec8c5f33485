"""TP-Mamba's decoder: sizes for every patch and encoder length, MONAI's blocks as oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from SAMoraLib.decoders.conv3d import Conv3dDecoder, Doubling, ResidualMix
from Testing.closeness import assert_close
from Testing.small import SIZE

BLOCKS = pytest.importorskip("monai.networks.blocks")


@pytest.mark.parametrize(("patch", "scale", "depth"), [(16, 1, 12), (8, 1, 2), (4, 2, 5), (2, 1, 3)])
def test_every_pixel_gets_its_logits(patch: int, scale: int, depth: int) -> None:
    size = replace(SIZE, patch_size=patch, depth=depth, volume_width=4)
    blocks = [torch.randn(2, 32, 3, 2, 4) for _ in range(min(4, depth))]
    side = patch // scale
    assert Conv3dDecoder(size, 5, scale)(blocks).shape == (2, 5, 3, 2 * side, 4 * side)


@pytest.mark.parametrize(("patch", "scale"), [(12, 1), (16, 3), (2, 2), (1, 1)])
def test_patches_that_cannot_be_doubled(patch: int, scale: int) -> None:
    with pytest.raises(ValueError, match=f"Patches of {patch} pixels"):
        Conv3dDecoder(replace(SIZE, patch_size=patch), 5, scale)


def test_monais_blocks_give_the_same() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 8, 3, 4, 5)
    doubling, mix = Doubling(8, 4), ResidualMix(8, 4)
    gelu, plain = ("gelu", {}), ("instance", {"affine": False})
    up = torch.nn.Sequential(
        BLOCKS.Convolution(3, 8, 4, strides=(1, 2, 2), kernel_size=3, adn_ordering="NDA", act=gelu, is_transposed=True),
        BLOCKS.ResidualUnit(3, 4, 4, strides=1, kernel_size=3, subunits=1, adn_ordering="NDA", act=gelu))
    up[0].conv.load_state_dict(doubling.enlarge.state_dict())
    up[1].conv.unit0.conv.load_state_dict(doubling.refine.state_dict())
    assert_close(doubling(x), up(x))
    block = BLOCKS.UnetResBlock(3, 8, 4, kernel_size=3, stride=1, norm_name=plain, act_name=gelu)
    for ours, theirs in ((mix.first, block.conv1), (mix.second, block.conv2), (mix.beside, block.conv3)):
        theirs.conv.load_state_dict(ours.state_dict())
    assert_close(mix(x), block(x))
