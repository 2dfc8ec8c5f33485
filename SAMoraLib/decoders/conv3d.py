"""TP-Mamba's 3D decoder: the last blocks' tokens, enlarged in the slice plane by convolutions (section 2.2).

The structure, and MONAI's blocks that it is made of, are the released code's; the paper names only the kinds of layers.
Legend: B slabs of D slices, N = B * D; h x w token grid; d channels of the encoder, c of the decoder; K classes and
background.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.decoders.decoder import Decoder, Masks
from SAMoraLib.features import Features
from SAMoraLib.variants import EncoderSize, Variant

LEVELS = 4  # the last blocks whose tokens are decoded; fewer where the encoder is shorter


def build_conv3d_decoder(variant: Variant, num_classes: int, image_size: int) -> Decoder:
    """The decoder with K = num_classes + 1 outputs, for slices of any size.

    Raises:
        ValueError: patches that doubling does not enlarge to the slice.
    """
    decoder = Conv3dDecoder(variant.size, num_classes + 1, variant.input_scale)
    return Decoder({"volume_decoder": decoder}, _run, kept_blocks=LEVELS)


def _run(model: Any, features: Features) -> Masks:
    blocks = [tokens.unflatten(0, (-1, features.depth)).movedim(-1, 1) for tokens in features.blocks]
    logits: Tensor = model.volume_decoder(blocks)
    return Masks(logits.transpose(1, 2).flatten(0, 1))


class Conv3dDecoder(nn.Module):
    """Each block doubled, all mixed, and doubled until every pixel has its logits.

    Args:
        channels: K.
        input_scale: how much the slices were enlarged before the encoder.
    """

    def __init__(self, size: EncoderSize, channels: int, input_scale: int) -> None:
        super().__init__()
        width, doublings = size.volume_width, (size.patch_size // input_scale).bit_length() - 1
        if size.patch_size != input_scale * 2**doublings or doublings < 1:
            raise ValueError(f"Patches of {size.patch_size} pixels of slices enlarged {input_scale} times cannot be "
                             "doubled back to the slice; choose powers of two.")
        levels = min(LEVELS, size.depth)
        self.levels = nn.ModuleList(Doubling(size.embed_dim, width) for _ in range(levels))
        # The released SAM_Mamba, which doubles once less, is wider here.
        widths = [width * input_scale, *[width] * (doublings - 1)]
        self.mix = ResidualMix(levels * width, widths[0])
        self.doublings = nn.ModuleList(Doubling(before, width) for before in widths[:-1])
        self.final = nn.Conv3d(widths[-1], channels, 1)

    def forward(self, blocks: list[Tensor]) -> Tensor:
        """Tokens (B, d, D, h, w) of the blocks, the last one last -> logits (B, K, D, H, W)."""
        doubled = [level(tokens) for level, tokens in zip(self.levels, blocks, strict=True)]
        x = self.mix(torch.cat(doubled, dim=1))
        for doubling in self.doublings:
            x = doubling(x)
        return self.final(x)


class Doubling(nn.Module):
    """(B, d, D, h, w) -> (B, c, D, 2h, 2w): a transposed convolution and one with a residual."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose3d(before, after, 3, stride=(1, 2, 2), padding=1, output_padding=(0, 1, 1))
        self.refine = nn.Conv3d(after, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(F.instance_norm(self.enlarge(x)))
        return x + F.gelu(F.instance_norm(self.refine(x)))


class ResidualMix(nn.Module):
    """MONAI's UnetResBlock without biases: two convolutions beside one of size 1, each normalised."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(before, after, 3, padding=1, bias=False)
        self.second = nn.Conv3d(after, after, 3, padding=1, bias=False)
        self.beside = nn.Conv3d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.instance_norm(self.second(F.gelu(F.instance_norm(self.first(x)))))
        return F.gelu(inner + F.instance_norm(self.beside(x)))
