"""TP-Mamba's decoder: sizes for every patch and encoder length, MONAI's blocks as oracle."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from SAMoraLib.decoders.conv3d import Conv3dDecoder, Doubling, ResidualMix, build_conv3d_decoder
from SAMoraLib.features import Features
from Testing.closeness import assert_close
from Testing.small import SIZE, small_model, small_variant

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


@torch.no_grad()
def test_each_slab_is_a_volume_of_its_own() -> None:
    """Two slabs of three slices, all in a row, as the encoder hands them over."""
    model = small_model("tp_mamba", num_classes=6)
    decoder = build_conv3d_decoder(model.variant, 6, 32)
    tokens = tuple(torch.randn(6, 4, 4, 32) for _ in range(2))
    together = decoder.run(model, Features(torch.empty(0), 3, blocks=tokens)).logits
    assert together.shape == (6, 7, 32, 32)
    for slab in (slice(0, 3), slice(3, 6)):
        volumes = [block[slab].permute(3, 0, 1, 2)[None] for block in tokens]
        assert_close(together[slab], model.volume_decoder(volumes)[0].transpose(0, 1))


@pytest.mark.parametrize("classes", [1, 4])
def test_the_background_is_one_more_channel(classes: int) -> None:
    decoder = build_conv3d_decoder(small_variant("tp_mamba"), classes, 32)
    assert decoder.kept_blocks == 4
    assert decoder.parts["volume_decoder"].final.out_channels == classes + 1


@torch.no_grad()
def test_levels_are_mixed_and_doubled_until_they_are_pixels() -> None:
    torch.manual_seed(0)
    decoder = Conv3dDecoder(replace(SIZE, depth=3, volume_width=4), 5, 1)
    blocks = [torch.randn(1, 32, 2, 3, 3) for _ in range(3)]
    x = decoder.mix(torch.cat([level(block) for level, block in zip(decoder.levels, blocks, strict=True)], dim=1))
    assert len(decoder.doublings) == 2 and x.shape == (1, 4, 2, 6, 6)
    for doubling in decoder.doublings:
        x = doubling(x)
    assert_close(decoder(blocks), decoder.final(x))


def test_slices_that_were_enlarged_are_doubled_once_less_from_a_wider_mix() -> None:
    """The released SAM_Mamba."""
    decoder = Conv3dDecoder(replace(SIZE, patch_size=16, volume_width=4), 5, 2)
    assert decoder.mix.first.weight.shape[:2] == (8, 8)  # two levels of four channels in, twice four out
    assert [doubling.enlarge.weight.shape[:2] for doubling in decoder.doublings] == [(8, 4), (4, 4)]
    assert decoder.final.in_channels == 4


def test_the_last_four_blocks_are_decoded_or_all_of_a_shorter_encoder() -> None:
    for depth, levels in ((2, 2), (4, 4), (12, 4)):
        assert len(Conv3dDecoder(replace(SIZE, depth=depth), 5, 1).levels) == levels
