"""Meta's files and our own base files, as the start of any variant at any image size."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from SAMoraLib.encoders.sam_vit import resize_position_tables
from SAMoraLib.model import SegmentationModel
from SAMoraLib.variants import FUSIONS
from SAMoraLib.weights.sam2 import check_hiera

# Their size depends on the number of classes, so SAM's own are dropped (SAMed, H-SAM and MA-SAM: load_from).
CLASS_DEPENDENT = ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")
# What SAM does not have: adapters, H-SAM's second decoder and its seven further kinds of points, and the doublings that
# MA-SAM's decoder adds to SAM's two.
_KINDS_OF_POINTS = tuple(f"point_embeddings.{index}." for index in range(4, 11))
_DOUBLINGS = tuple(f"mask_decoder.output_upscaling.{index}." for index in (4, 6, 7, 9))
_FUSIONS = tuple(f".{kind}." for kind in FUSIONS)
_BLOCK = re.compile(r"image_encoder\.blocks\.(\d+)\.")
ADDED = ("mask_decoder2.", "volume_decoder.", ".lora.", ".fact.", ".depth_adapters.", *_FUSIONS, *_KINDS_OF_POINTS,
         *_DOUBLINGS)


def load_base(model: SegmentationModel, state: dict[str, Tensor]) -> list[str]:
    """Start ``model`` from a whole SAM or SAM 2: what ``base_tensors`` gives it.

    Returns:
        The keys that were loaded.

    Raises:
        ValueError: as ``base_tensors``.
    """
    tensors = base_tensors(model, state)
    model.load_state_dict(tensors, strict=False)
    return list(tensors)


def base_tensors(model: SegmentationModel, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a whole SAM or SAM 2 gives a model, which may be empty.

    Position tables are resized to the model's image size, tensors whose size depends on the class count are left out,
    and so are adapters, which a base does not have. Further tensors are ignored: old files carry pixel_mean and
    pixel_std, but slices come in [0, 1] here. SAM 2 stretches its position table when it runs, and its files have
    nothing to ignore.

    Args:
        state: Meta's keys ``image_encoder.*``, ``prompt_encoder.*``, ``mask_decoder.*``, in any precision.

    Returns:
        float32.

    Raises:
        ValueError: a tensor of the encoder, prompt encoder or decoder is missing or has another shape.
    """
    target, family = model.state_dict(), FAMILIES[model.variant.size.family]
    family.check(model, state)
    wanted = [key for key in target if not starts_random(key)]
    if missing := [key for key in wanted if key not in state]:
        raise ValueError(f"The base file lacks '{missing[0]}', so it is not a whole SAM {model.variant.encoder}; "
                         "choose the encoder that the file was made for.")
    for key in wanted:
        if state[key].ndim != target[key].ndim or not state[key].is_floating_point():
            raise ValueError(_differs(key, state[key], target[key], model))
    given = {key: state[key].to(target[key].dtype) for key in wanted}  # also what is stored in half precision
    fitted = family.fit(model, given)
    for key in wanted:
        if fitted[key].shape != target[key].shape:
            raise ValueError(_differs(key, fitted[key], target[key], model))
    return {key: fitted[key] for key in wanted}


def _differs(key: str, value: Tensor, place: Tensor, model: SegmentationModel) -> str:
    kind = "" if value.is_floating_point() else f" of {str(value.dtype).removeprefix('torch.')}"
    return (f"'{key}' is {tuple(value.shape)}{kind} in the base file and {tuple(place.shape)} in "
            f"{model.variant.encoder}; choose the encoder that the file was made for.")


def start_classes(model: SegmentationModel, state: Mapping[str, Tensor], pairs: Mapping[int, int]) -> None:
    """Start the mask tokens of some classes, and their hypernetworks, from those of other classes of the base.

    A decoder that goes on enlarging (MA-SAM) ends in fewer channels than SAM's: what no longer fits, the last layer of
    its hypernetworks, keeps its random start.

    Args:
        state: a base whose decoder knows classes of its own.
        pairs: channel of the model's logits -> channel of the base's.

    Raises:
        ValueError: a decoder without mask tokens.
    """
    own = model.state_dict()
    if "mask_decoder.mask_tokens.weight" not in own:
        raise ValueError(f"The decoder of '{model.variant.name}' has no mask tokens that classes could start from; "
                         "leave the classes out.")
    tokens = own["mask_decoder.mask_tokens.weight"]
    for channel, source in pairs.items():
        tokens[channel] = state["mask_decoder.mask_tokens.weight"][source]
        to, of = (f"mask_decoder.output_hypernetworks_mlps.{number}." for number in (channel, source))
        for key in (key for key in own if key.startswith(to)):
            start = state[key.replace(to, of)]
            own[key] = start if start.shape == own[key].shape else own[key]
    model.load_state_dict(own)


def starts_random(key: str) -> bool:
    """Whether no base has this tensor of a model, or only one of another size."""
    return any(part in key for part in (*CLASS_DEPENDENT, *ADDED))


@dataclass(frozen=True)
class Family:
    """What the bases of one kind of encoder need.

    Attributes:
        check: refuse a base of another encoder.
        fit: position tables for the model's image size.
    """

    check: Callable[[SegmentationModel, dict[str, Tensor]], None]
    fit: Callable[[SegmentationModel, dict[str, Tensor]], dict[str, Tensor]]


def _check_vit(model: SegmentationModel, state: dict[str, Tensor]) -> None:
    depth = 1 + max((int(match[1]) for match in map(_BLOCK.match, state) if match), default=-1)
    width = next(iter(state["image_encoder.pos_embed"].shape[::-1]), 0) if "image_encoder.pos_embed" in state else 0
    size = model.variant.size
    if (depth, width) != (size.depth, size.embed_dim):
        raise ValueError(f"The base file holds a ViT of {depth} blocks of width {width}, {model.variant.encoder} has "
                         f"{size.depth} of width {size.embed_dim}; choose the encoder that the file was made for.")


def _fit_vit(model: SegmentationModel, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return resize_position_tables(state, model.variant.size, model.image_encoder.img_size,
                                  RESIZING[model.variant.backbone])


def _check_hiera(model: SegmentationModel, state: dict[str, Tensor]) -> None:
    known = {*model.state_dict(), *filter(starts_random, state)}
    check_hiera(model.variant.encoder, model.variant.size, state, known)


RESIZING = {"segment_anything": "bilinear", "timm": "bicubic"}  # of the absolute table, by the row's backbone
FAMILIES = {"sam_vit": Family(_check_vit, _fit_vit), "sam2_hiera": Family(_check_hiera, lambda model, state: state)}
