"""The model of every variant: slabs (B, C, D, H, W) to logits (B, K, D, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from SAMoraLib.adapters.depth_adapter import add_depth_adapters
from SAMoraLib.adapters.depth_convolution import add_adapters_after_blocks
from SAMoraLib.adapters.fact import add_fact_to_encoder
from SAMoraLib.adapters.fusion import add_fusion
from SAMoraLib.adapters.lora import add_lora_to_decoder, add_lora_to_encoder
from SAMoraLib.decoders.conv3d import build_conv3d_decoder
from SAMoraLib.decoders.decoder import Decoder
from SAMoraLib.decoders.hierarchical import build_hierarchical_decoder
from SAMoraLib.decoders.mask import build_sam_decoder
from SAMoraLib.decoders.progressive import build_progressive_decoder
from SAMoraLib.encoders.block import Encoder
from SAMoraLib.encoders.sam_vit import SamImageEncoder, set_block_eps
from SAMoraLib.features import Features
from SAMoraLib.kernels.linear import replace_linears
from SAMoraLib.variants import HieraSize, Variant


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

    def __init__(self, image_encoder: Encoder, decoder: Decoder, variant: Variant, num_classes: int) -> None:
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
        if features.boxes is not None and not self.variant.takes_boxes:
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
    encoder, decoder = build_encoder(variant, image_size), build_decoder(variant, num_classes, image_size)
    if decoder.kept_blocks:
        cast("SamImageEncoder", encoder).keep_blocks(decoder.kept_blocks)
    return SegmentationModel(encoder, decoder, variant, num_classes)


def empty_model(variant: Variant, num_classes: int, image_size: int) -> SegmentationModel:
    """``build_model`` without memory for its weights: for names and shapes, or to be filled by ``load_tensors``.

    Raises:
        ValueError: as ``build_model``.
    """
    with without_memory():
        return build_model(variant, num_classes, image_size)


@contextmanager
def without_memory() -> Iterator[None]:
    """Inside, modules are built on the meta device: nothing is drawn and no memory is taken.

    Drawing the 90 M numbers of ViT-B and copying a file's over them takes as long as reading the file.
    """
    with torch.device("meta"), _NumbersOnCpu():
        yield


class _NumbersOnCpu(TorchFunctionMode):
    """Hiera's constructor asks a tensor for its numbers, which the meta device does not have; where there are none,
    none are drawn either, which takes a good part of the time.
    """

    def __torch_function__(self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        named = dict(kwargs or {})
        if getattr(func, "__module__", "") == "torch.nn.init":
            return named["tensor"] if "tensor" in named else args[0]
        if func is torch.linspace:
            named.setdefault("device", "cpu")
        return func(*args, **named)


def load_tensors(model: SegmentationModel, tensors: Mapping[str, Tensor]) -> None:
    """Fill an empty model with copies of all of its tensors, as float32 where they are real numbers.

    The tensors of a ``.safetensors`` file are views of the file, at odd addresses: a model that kept them would change
    with the file, hinder its replacement on Windows, and round otherwise than the same numbers in memory of torch's.
    """
    model.load_state_dict({key: value.to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
                           for key, value in tensors.items()}, assign=True)


def build_encoder(variant: Variant, image_size: int) -> Encoder:
    """The image encoder with the variant's adapters.

    Raises:
        ValueError: a size that the patches or windows do not divide, or SAM 2's package is not installed.
    """
    encoder = ENCODERS[variant.size.family](variant.size, image_size * variant.input_scale)
    set_block_eps(encoder, BLOCK_EPS[variant.backbone])
    if variant.adapters:
        LOW_RANK[variant.low_rank](encoder, variant)
    if variant.fusion is not None:
        add_fusion(encoder, variant.fusion)
    DEPTH_ADAPTERS[variant.depth_adapter](encoder, variant)
    replace_linears(cast("nn.Module", encoder))
    return encoder


def build_decoder(variant: Variant, num_classes: int, image_size: int) -> Decoder:
    """The variant's decoder with K = num_classes + 1 outputs."""
    decoder = DECODERS[variant.decoder](variant, num_classes, image_size)
    if variant.decoder_lora:
        add_lora_to_decoder(decoder.parts["mask_decoder"].transformer, variant.rank)
    return decoder


def _sam2_hiera(size: HieraSize, image_size: int) -> Encoder:
    from SAMoraLib.encoders.sam2_hiera import Sam2ImageEncoder  # its package is optional

    return Sam2ImageEncoder(size, image_size)


def _high_res(variant: Variant, num_classes: int, image_size: int) -> Decoder:
    from SAMoraLib.decoders.high_res import build_high_res_decoder  # its package is optional

    return build_high_res_decoder(variant, num_classes, image_size)


def _lora(encoder: Encoder, variant: Variant) -> None:
    add_lora_to_encoder(encoder, variant.adapters, variant.rank, gelu=variant.low_rank == "lora_gelu")


def _fact(encoder: Encoder, variant: Variant) -> None:
    add_fact_to_encoder(cast("SamImageEncoder", encoder), variant.rank, variant.low_rank_scale)


def _in_blocks(encoder: Encoder, variant: Variant) -> None:
    add_depth_adapters(cast("SamImageEncoder", encoder), variant.size.depth_width)


def _after_blocks(encoder: Encoder, variant: Variant) -> None:
    add_adapters_after_blocks(cast("SamImageEncoder", encoder), variant)


def _nothing(encoder: Encoder, variant: Variant) -> None:
    """Slices do not see each other."""


# What a row's words stand for: `SAMoraLib.variants` lists the words.
ENCODERS: Mapping[str, Callable[[Any, int], Encoder]] = {"sam_vit": SamImageEncoder, "sam2_hiera": _sam2_hiera}
BLOCK_EPS = {"segment_anything": 1e-6, "timm": 1e-5}
LOW_RANK: Mapping[str, Callable[[Encoder, Variant], None]] = {"lora": _lora, "lora_gelu": _lora, "fact": _fact}
DEPTH_ADAPTERS: Mapping[str, Callable[[Encoder, Variant], None]] = {
    "none": _nothing, "convolution": _in_blocks, "multi_scale": _after_blocks, "plane_mamba": _after_blocks,
    "triplane_mamba": _after_blocks}
DECODERS: Mapping[str, Callable[[Variant, int, int], Decoder]] = {
    "mask": build_sam_decoder, "hierarchical": build_hierarchical_decoder, "progressive": build_progressive_decoder,
    "conv3d": build_conv3d_decoder, "high_res": _high_res}
