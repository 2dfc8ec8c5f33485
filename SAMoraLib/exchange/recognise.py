"""Whose file it is, and what model it is of: told from its tensors' names and shapes alone."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from SAMoraLib.exchange.samora import expert_of
from SAMoraLib.exchange.systems import SYSTEMS, System
from SAMoraLib.labels import MAX_LABELS
from SAMoraLib.model import SegmentationModel, empty_model
from SAMoraLib.preprocessing.settings import MAX_IMAGE_SIZE
from SAMoraLib.variants import ENCODER_SIZES, EncoderSize, Variant
from SAMoraLib.weights.finite import is_like

# The first of these names that a file has tells the system. SAMed's own name everything that follows SAMed, too.
_SIGNS = (("q_FacTs_000", "ma_sam"), ("mask_decoder2.mask_tokens.weight", "h_sam"), ("sa_a_000", "samed_s"),
          ("fati_qa", "samed_s"))
_PAIR = re.compile(r"w_[ab]_(\d{3})$")
_TOKENS = "mask_decoder.mask_tokens.weight"


@dataclass(frozen=True)
class Adapters:
    """Where a system's names tell its encoder.

    Attributes:
        numbers: of its adapters, in group 1.
        down: the name of the first one's matrix (rank, width).
        named: that name, for people.
        per_block: how many numbers a block has.
    """

    numbers: re.Pattern[str]
    down: re.Pattern[str]
    named: str
    per_block: int


_SAMEDS = Adapters(_PAIR, re.compile("w_a_000"), "w_a_000", 2)
_ADAPTERS = {
    "ma_sam": Adapters(re.compile(r"[qv]_FacTs_(\d{3})$"), re.compile(r"image_encoder\.FacTu\.weight"),
                       "image_encoder.FacTu.weight", 1),
    "samora": Adapters(re.compile(r"image_encoder\.blocks\.(\d+)\."),
                       re.compile(r"image_encoder\.blocks\.0\.samora_adapter\.experts\.\w+\.linear_a_q\.weight"),
                       "image_encoder.blocks.0.samora_adapter.experts.*.linear_a_q.weight", 1),
}


@dataclass(frozen=True)
class Source:
    """What a published file is.

    Attributes:
        key: of the system in ``SYSTEMS``.
        variant: our row at the file's encoder and rank.
        classes: foreground classes; None of a file without a decoder.
        image_size: side of the slices, pixels.
        size_from: "file" where its tensors tell the size, "option" where the caller does, or "default".
    """

    key: str
    variant: Variant
    classes: int | None
    image_size: int
    size_from: str

    @property
    def system(self) -> System:
        return SYSTEMS[self.key]

    def empty_model(self) -> SegmentationModel:
        """The model without memory for its weights, for names and shapes."""
        return empty_model(self.variant, self.classes or 1, self.image_size)


def recognise(tensors: Mapping[str, Tensor], image_size: int | None = None, encoder_size: EncoderSize | None = None
              ) -> Source:
    """What these tensors are, and that none is missing, unknown or of another shape.

    Args:
        image_size: pixels, where the file does not say.
        encoder_size: of an encoder that has no name, in parity tests.

    Raises:
        ValueError: it is none of the known systems' files, or it differs from them; one sentence says in what.
    """
    key = _system(tensors)
    variant = _variant(key, tensors, encoder_size)
    classes = None
    if SYSTEMS[key].is_whole:
        classes = _of_two(tensors, _TOKENS)[0] - 1
    source = Source(key, variant, classes, *_image_size(key, variant, tensors, image_size))
    _check_counts(source)
    _check(source, tensors)
    return source


def _check_counts(source: Source) -> None:
    """The model that is compared with the file grows with its classes, however little the file holds of each."""
    if source.classes is not None and not 1 <= source.classes <= MAX_LABELS:
        raise ValueError(f"The file has mask tokens of {source.classes} classes, and a label volume holds 1 to "
                         f"{MAX_LABELS}; it is not as published, get it again from its source.")
    if not 1 <= source.image_size <= MAX_IMAGE_SIZE:
        raise ValueError(f"Slices of {source.image_size} x {source.image_size} pixels are beyond any model's; give an "
                         f"image size of at most {MAX_IMAGE_SIZE}.")


def with_fact_scale(source: Source, scale: float | None) -> Source:
    """The same with FacT's scale, where the caller says it; its code's own is 1.

    Raises:
        ValueError: a system without FacT, or no scale.
    """
    if scale is None:
        return source
    if source.variant.low_rank != "fact":
        raise ValueError(f"{source.system.title} has no FacT that a scale could multiply; leave --fact-scale out.")
    return replace(source, variant=replace(source.variant, low_rank_scale=scale))


def _system(tensors: Mapping[str, Tensor]) -> str:
    for name, key in _SIGNS:
        if name in tensors:
            return key
    if tensors and all(map(expert_of, tensors)):
        return "samora"
    if any(map(_PAIR.fullmatch, tensors)):
        return "sam_lora" if all(map(_PAIR.fullmatch, tensors)) else "samed"
    if any("image_encoder." in name and ".qkv.qkv." in name for name in tensors):
        raise ValueError("The file holds a whole model of SAMed's, H-SAM's or MA-SAM's code, its encoder included, and "
                         "not the file that this code saves of it; save it there with the code's own function "
                         "(save_lora_parameters, save_parameters) and give that file.")
    if any(name.startswith("image_encoder.blocks.") for name in tensors):
        raise ValueError("The file holds a whole image encoder, as SAM's own weights do, and no adapters; give it as "
                         "--base of a file that has them.")
    if any(name.startswith("sam.blocks.") for name in tensors):
        raise ValueError("The file is named as TP-Mamba's models are, of which none was published and none is "
                         "imported; train the row 'tp_mamba' (docs/variants/tp_mamba.md).")
    first = f", first '{next(iter(tensors))}'" if tensors else ""
    raise ValueError(f"The file holds {len(tensors)} tensors{first}, and none is named as an adapter of "
                     f"{', '.join(system.title for system in SYSTEMS.values())}; give a file of one of these.")


def _variant(key: str, tensors: Mapping[str, Tensor], encoder_size: EncoderSize | None) -> Variant:
    adapters = _ADAPTERS.get(key, _SAMEDS)
    count = 1 + max(int(match[1][:9]) for match in map(adapters.numbers.match, tensors) if match)
    first = next((name for name in sorted(tensors) if adapters.down.fullmatch(name)), adapters.named)
    rank, width = _of_two(tensors, first)
    blocks = -(-count // adapters.per_block)
    variant = replace(SYSTEMS[key].variant, rank=rank)
    if key == "samora":
        expert = expert_of(first)
        variant = replace(variant, name=f"expert_{expert}", adapters=(expert,))
    if encoder_size is not None and (blocks, width) == (encoder_size.depth, encoder_size.embed_dim):
        variant = replace(variant, encoder_size=encoder_size)
    else:
        variant = replace(variant, encoder=_encoder(blocks, width))
    return replace(variant, cm_widths=_class_attention(variant, tensors)) if key == "h_sam" else variant


def _class_attention(variant: Variant, tensors: Mapping[str, Tensor]) -> tuple[int, int]:
    """The widths of H-SAM's class attention; 0 where they are those of the released code."""
    inner, positions = _of_two(tensors, "mask_decoder2.self_attn.q_proj.weight")
    hidden, _ = _of_two(tensors, "mask_decoder2.mlp.lin1.weight")
    return inner if inner != positions else 0, hidden if hidden != variant.size.decoder_mlp_dim else 0


def _encoder(blocks: int, width: int) -> str:
    for name, size in ENCODER_SIZES.items():
        if (size.depth, size.embed_dim) == (blocks, width):
            return name
    known = ", ".join(f"{name} ({size.depth} of {size.embed_dim})" for name, size in ENCODER_SIZES.items())
    raise ValueError(f"The file's adapters are of a ViT of {blocks} blocks of width {width}, which is none of {known}; "
                     "it is cut short, or of another encoder.")


def _of_two(tensors: Mapping[str, Tensor], key: str) -> tuple[int, int]:
    if key not in tensors:
        raise ValueError(f"The file lacks '{key}'; it is cut short or not as published, get it again from its source.")
    if tensors[key].ndim != 2 or 0 in tensors[key].shape:
        raise ValueError(f"The file's '{key}' is {tuple(tensors[key].shape)}, where a table of two sides belongs; it "
                         "is not as published, get it again from its source.")
    rows, columns = tensors[key].shape
    return rows, columns


def _image_size(key: str, variant: Variant, tensors: Mapping[str, Tensor], wanted: int | None) -> tuple[int, str]:
    """H-SAM's class attention is as wide as the grid has positions; the other files fit any size."""
    positions = tensors.get("mask_decoder2.norm1.weight")
    if positions is None or key != "h_sam":
        return (wanted, "option") if wanted else (SYSTEMS[key].image_size, "default")
    size = math.isqrt(positions.numel()) * variant.size.patch_size
    if wanted and wanted != size:
        raise ValueError(f"The file's class attention spans {positions.numel()} positions, those of {size} x {size} "
                         f"pixels, not of {wanted} x {wanted}; leave --image-size out.")
    return size, "file"


def _check(source: Source, tensors: Mapping[str, Tensor]) -> None:
    """Every tensor has a place of its shape, and no place is left."""
    model, title = source.empty_model(), source.system.title
    target, theirs = model.state_dict(), source.system.to_theirs
    wanted = theirs({key: target[key] for key in source.system.own_keys(model)})
    missing, unknown = sorted(set(wanted) - set(tensors)), sorted(set(tensors) - set(wanted))
    for problem, keys in (("lacks", missing), ("has", unknown)):
        if keys:
            raise ValueError(f"The file {problem} {len(keys)} tensors that {title} files "
                             f"{'have' if keys is missing else 'do not have'}, first '{keys[0]}'; it is cut short or "
                             "not as published, get it again from its source.")
    for key, place in wanted.items():
        if place.shape != tensors[key].shape:
            raise ValueError(f"The file's '{key}' is {tuple(tensors[key].shape)}, {title} on "
                             f"{source.variant.encoder} at rank {source.variant.rank} with {source.classes or 'no'} "
                             f"classes has {tuple(place.shape)}; it is not as published, get it again from its source.")
        if not is_like(tensors[key], place):
            raise ValueError(f"The file's '{key}' holds integers, where {title} has real numbers; it is not as "
                             "published, get it again from its source.")
