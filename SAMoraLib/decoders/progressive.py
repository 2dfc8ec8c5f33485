"""MA-SAM's mask decoder: SAM's, enlarged step by step until a mask has the slice's own pixels (MA-SAM, section 3.4)."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from SAMoraLib.decoders.decoder import Decoder
from SAMoraLib.decoders.mask import build_sam_decoder
from SAMoraLib.packages.segment_anything import MLP, LayerNorm2d
from SAMoraLib.variants import EncoderSize, Variant


def build_progressive_decoder(variant: Variant, num_classes: int, image_size: int) -> Decoder:
    """SAM's decoder with as many doublings as the patches have: x 16 for Meta's sizes, where SAM's own has x 4."""
    size, decoder = variant.size, build_sam_decoder(variant, num_classes, image_size)
    widths = upscaling_widths(size)
    mask_decoder = decoder.parts["mask_decoder"]
    mask_decoder.output_upscaling = _upscaling(widths)
    mask_decoder.output_hypernetworks_mlps = nn.ModuleList(
        MLP(size.out_chans, size.out_chans, widths[-1], 3) for _ in range(num_classes + 1))
    return decoder


def upscaling_widths(size: EncoderSize) -> list[int]:
    """Channels before the first doubling and after each: 256, 64, 32, 16, 8.

    Raises:
        ValueError: the patch size is no power of two, or the embedding is too narrow.
    """
    doublings = size.patch_size.bit_length() - 1
    if size.patch_size != 2**doublings or size.out_chans < 2 ** (doublings + 1):
        raise ValueError(f"Patches of {size.patch_size} pixels and {size.out_chans} channels cannot be enlarged step "
                         "by step to the slice; choose a power of two, and at least twice as many channels.")
    return [size.out_chans, *(size.out_chans >> step for step in range(2, doublings + 2))]


def _upscaling(widths: list[int]) -> nn.Sequential:
    """ConvT, LayerNorm, GELU for every doubling; the last has no LayerNorm."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, kernel_size=2, stride=2), LayerNorm2d(after), nn.GELU()]
    del layers[-2]
    return nn.Sequential(*layers)
