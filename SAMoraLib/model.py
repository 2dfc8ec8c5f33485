"""The model of every variant: slabs (B, C, D, H, W) to logits (B, K, D, H, W)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.adapters.depth_adapter import add_depth_adapters
from SAMoraLib.adapters.depth_convolution import add_adapters_after_blocks
from SAMoraLib.adapters.fact import add_fact_to_encoder
from SAMoraLib.adapters.fusion import add_fusion
from SAMoraLib.adapters.lora import add_lora_to_decoder, add_lora_to_encoder
from SAMoraLib.decoders.conv3d import LEVELS, build_conv3d_decoder
from SAMoraLib.decoders.decoder import Decoder
from SAMoraLib.decoders.hierarchical import build_hierarchical_decoder
from SAMoraLib.decoders.mask import build_sam_decoder
from SAMoraLib.decoders.progressive import build_progressive_decoder
from SAMoraLib.encoders.sam_vit import SamImageEncoder, set_block_eps
from SAMoraLib.features import Features
from SAMoraLib.variants import HieraSize, Variant

if TYPE_CHECKING:
    from SAMoraLib.encoders.sam2_hiera import Sam2ImageEncoder

# SAM 2's modules are imported where a row asks for them: its package is optional.
ImageEncoder: TypeAlias = "SamImageEncoder | Sam2ImageEncoder"


@dataclass(frozen=True)
class Prediction:
    """What a model says of a batch of slabs.

    Attributes:
        low_res_logits: (B, K, D, h, w) at the decoder's own resolution.
        iou_predictions: (B, K, D), the decoder's estimate of its masks' quality; None if it makes none.
        image_size: (H, W) of the input slab.
        auxiliary: further logits (B, K, D, h', w') for deep supervision; inference does not need them.
    """

    low_res_logits: Tensor
    iou_predictions: Tensor | None
    image_size: tuple[int, int]
    auxiliary: tuple[Tensor, ...] = ()

    @property
    def logits(self) -> Tensor:
        """(B, K, D, H, W) at the input's resolution."""
        return self.resized(self.image_size)

    def resized(self, size: tuple[int, int]) -> Tensor:
        """Logits (B, K, D, *size), bilinear with ``align_corners=False`` in the slice plane."""
        low = self.low_res_logits
        slices = F.interpolate(low.transpose(1, 2).flatten(0, 1), size, mode="bilinear", align_corners=False)
        return slices.unflatten(0, (low.shape[0], low.shape[2])).transpose(1, 2)


class SegmentationModel(nn.Module):
    """Image encoder and decoder under the names of the published files.

    Args:
        num_classes: foreground classes; the logits have one channel more, background first.
    """

    def __init__(self, image_encoder: ImageEncoder, decoder: Decoder, variant: Variant, num_classes: int) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        for name, part in decoder.parts.items():
            self.add_module(name, part)
        self._decode = decoder.run
        self.variant = variant
        self.num_classes = num_classes

    @property
    def image_size(self) -> int:
        return self.image_encoder.img_size // self.variant.input_scale

    def forward(self, image: Tensor, boxes: Tensor | None = None) -> Prediction:
        """Segment slabs.

        Args:
            image: (B, C, D, S, S) in [0, 1]; C is 3, or 1 and then repeated.
            boxes: (B, 4), where in each slab the target is: x0, y0, x1, y1 in pixels; for models with that prompt.

        Raises:
            ValueError: the slices do not have the model's size, or it is not prompted with boxes.
        """
        return self.decode(replace(self.encode(image), boxes=boxes))

    def encode(self, image: Tensor) -> Features:
        """What the decoder works from, for slabs (B, C, D, S, S).

        Raises:
            ValueError: the slices do not have the model's size.
        """
        if tuple(image.shape[-2:]) != (self.image_size, self.image_size):
            raise ValueError(f"The slices are {image.shape[-1]} x {image.shape[-2]} pixels, this model takes "
                             f"{self.image_size} x {self.image_size}; resample them first.")
        return self.image_encoder.features(enlarged(as_rgb_slices(image), self.variant.input_scale), image.shape[2])

    def decode(self, features: Features) -> Prediction:
        """Segment encoded slabs.

        Raises:
            ValueError: the model is not prompted with boxes.
        """
        if features.boxes is not None and self.variant.prompt != "box":
            raise ValueError(f"'{self.variant.name}' finds its organs by itself and takes no boxes; leave them out.")
        masks = self._decode(self, features)

        def slabs(slices: Tensor) -> Tensor:
            return slices.unflatten(0, (-1, features.depth)).transpose(1, 2)

        return Prediction(slabs(masks.logits), slabs(masks.iou) if masks.iou is not None else None,
                          (self.image_size, self.image_size),
                          tuple(slabs(logits) for logits in masks.auxiliary))


def as_rgb_slices(image: Tensor) -> Tensor:
    """(B, C, D, H, W) -> (B * D, 3, H, W): every slice an image, a grey one repeated to SAM's three channels."""
    slices = image.transpose(1, 2).flatten(0, 1)
    return slices.expand(-1, 3, -1, -1)


def enlarged(slices: Tensor, scale: int) -> Tensor:
    """(N, C, H, W) -> (N, C, scale * H, scale * W), bilinear (TP-Mamba's released SAM_Mamba)."""
    return slices if scale == 1 else F.interpolate(slices, scale_factor=scale, mode="bilinear", align_corners=False)


def build_model(variant: Variant, num_classes: int, image_size: int) -> SegmentationModel:
    """A model of ``variant`` with new weights.

    Args:
        num_classes: foreground classes.
        image_size: side of the square slices, pixels.

    Raises:
        ValueError: no class, or a size that the patch size does not divide.
    """
    if num_classes < 1:
        raise ValueError(f"A model needs at least one class, got {num_classes}.")
    return SegmentationModel(build_encoder(variant, image_size), build_decoder(variant, num_classes, image_size),
                             variant, num_classes)


def build_encoder(variant: Variant, image_size: int) -> ImageEncoder:
    """The image encoder with the variant's adapters.

    Raises:
        ValueError: a size that the patches or windows do not divide, or SAM 2's package is not installed.
    """
    encoder = _new_encoder(variant.size, image_size * variant.input_scale)
    if variant.backbone == "timm":
        set_block_eps(encoder, 1e-5)
    if variant.low_rank == "fact":
        add_fact_to_encoder(encoder, variant.rank)
    elif variant.adapters:
        add_lora_to_encoder(encoder, variant.adapters, variant.rank, variant.low_rank == "lora_gelu")
    if variant.fusion is not None:
        add_fusion(encoder, variant.fusion)
    if variant.depth_adapter == "convolution":
        add_depth_adapters(encoder, variant.size.depth_width)
    elif variant.depth_adapter != "none":
        add_adapters_after_blocks(encoder, variant)
    if variant.decoder == "conv3d":
        encoder.kept_blocks, encoder.neck = LEVELS, nn.Identity()
    return encoder


def _new_encoder(size: Any, image_size: int) -> Any:
    if isinstance(size, HieraSize):
        from SAMoraLib.encoders.sam2_hiera import Sam2ImageEncoder

        return Sam2ImageEncoder(size, image_size)
    return SamImageEncoder(size, image_size)


def build_decoder(variant: Variant, num_classes: int, image_size: int) -> Decoder:
    """The variant's decoder with K = num_classes + 1 outputs."""
    if variant.decoder == "conv3d":
        return build_conv3d_decoder(variant.size, num_classes, variant.input_scale)
    if variant.decoder == "progressive":
        return build_progressive_decoder(variant.size, num_classes, image_size)
    if variant.decoder == "hierarchical":
        return build_hierarchical_decoder(variant.size, num_classes, image_size, variant.cm_attention)
    if variant.decoder == "high_res":
        from SAMoraLib.decoders.high_res import build_high_res_decoder

        return build_high_res_decoder(variant.size, num_classes, image_size)
    decoder = build_sam_decoder(variant.size, num_classes, image_size)
    if variant.decoder_lora:
        add_lora_to_decoder(decoder.parts["mask_decoder"].transformer, variant.rank)
    return decoder
