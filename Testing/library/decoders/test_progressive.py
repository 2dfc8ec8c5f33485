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
