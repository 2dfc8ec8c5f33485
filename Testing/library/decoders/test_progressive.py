"""MA-SAM's decoder: masks with the slice's own pixels."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from SAMoraLib.decoders.progressive import build_progressive_decoder, upscaling_widths
from SAMoraLib.model import build_model
from SAMoraLib.variants import ENCODER_SIZES, get_variant
from Testing.small import SIZE


@pytest.mark.parametrize(("size", "widths"), [("vit_b", [256, 64, 32, 16, 8]), ("tiny", [128, 32, 16, 8])])
def test_as_many_doublings_as_the_patches_have(size: str, widths: list[int]) -> None:
    assert upscaling_widths(ENCODER_SIZES[size]) == widths
    assert ENCODER_SIZES[size].patch_size == 2 ** (len(widths) - 1)


def test_every_doubling_but_the_last_is_normalised() -> None:
    decoder = build_progressive_decoder(get_variant("ma_sam", "vit_b"), 2, 64).parts["mask_decoder"]
    names = [type(layer).__name__ for layer in decoder.output_upscaling]
    assert names == ["ConvTranspose2d", "LayerNorm2d", "GELU"] * 3 + ["ConvTranspose2d", "GELU"]
    assert all(mlp.layers[-1].out_features == 8 for mlp in decoder.output_hypernetworks_mlps)
    assert [len(mlp.layers) for mlp in decoder.output_hypernetworks_mlps] == [3, 3, 3], "as SAM's, for three tokens"
    assert isinstance(decoder.output_upscaling[9], nn.ConvTranspose2d)


@pytest.mark.parametrize("num_classes", [1, 13])
@torch.no_grad()
def test_masks_have_the_slices_pixels(num_classes: int) -> None:
    prediction = build_model(get_variant("ma_sam", encoder_size=SIZE), num_classes, 48)(torch.rand(1, 1, 2, 48, 48))
    assert prediction.low_res_logits.shape == (1, num_classes + 1, 2, 48, 48)
    assert torch.equal(prediction.logits, prediction.low_res_logits)


def test_sizes_that_cannot_be_enlarged_step_by_step_are_refused() -> None:
    for size in (replace(SIZE, patch_size=6), replace(SIZE, out_chans=8, decoder_heads=1)):
        with pytest.raises(ValueError, match="cannot be enlarged step by step"):
            upscaling_widths(size)


@pytest.mark.parametrize(("patch", "channels", "passes"), [(8, 16, True), (8, 12, False), (16, 32, True),
                                                           (16, 28, False), (12, 64, False), (2, 4, True)])
def test_an_embedding_is_at_least_twice_as_wide_as_its_patches(patch: int, channels: int, passes: bool) -> None:
    size = replace(SIZE, patch_size=patch, out_chans=channels)
    if passes:
        widths = upscaling_widths(size)
        assert widths[0] == channels and widths[-1] == channels // (2 * patch)
        assert len(widths) == patch.bit_length()
    else:
        with pytest.raises(ValueError, match=f"Patches of {patch} pixels and {channels} channels cannot be enlarged"):
            upscaling_widths(size)
