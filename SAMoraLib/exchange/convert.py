"""Published files -> our checkpoints, and back: ``samora import`` and ``samora export``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from SAMoraLib.card import Card, read_card, reference_to
from SAMoraLib.checkpoint import (
    base_state,
    find_base,
    promised_model,
    refuse_replacing_parts,
    require_checkpoint_name,
    save_tensors,
)
from SAMoraLib.exchange.recognise import Source, recognise, with_fact_scale
from SAMoraLib.exchange.samora import lacks_scales, scaled_expert
from SAMoraLib.exchange.systems import META_FILES, SYSTEMS, System
from SAMoraLib.fields import MAX_NAME, spelt_out
from SAMoraLib.labels import LabelSet
from SAMoraLib.model import SegmentationModel
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.system.files import atomic_write
from SAMoraLib.system.overwriting import refuse_overwriting
from SAMoraLib.variants import EncoderSize, Variant
from SAMoraLib.weights.sam import base_tensors
from SAMoraLib.weights.tensors import read_safetensors, read_tensors

# SAM's random Fourier features: nothing trains them, and every pretraining has its own.
FOURIER = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


@dataclass(frozen=True)
class Published:
    """A published file that was recognised.

    Attributes:
        tensors: under the names of its own code.
        labels, preprocessing: None of a file without a decoder.
        scales: where the scales of an expert of SAMora's released code come from; empty for other files.
    """

    path: Path
    source: Source
    tensors: Mapping[str, Tensor]
    labels: LabelSet | None
    preprocessing: Preprocessing | None
    scales: str = ""

    def report(self) -> dict[str, Any]:
        """What it was recognised as, for people and for JSON."""
        how = self.preprocessing
        return {
            "file": str(self.path),
            "system": self.source.system.title,
            "variant": self.source.variant.name,
            "encoder": self.source.variant.encoder,
            "rank": self.source.variant.rank,
            "classes": self.source.classes,
            "image_size": self.source.image_size,
            "image_size_from": self.source.size_from,
            "labels": list(self.labels.names) if self.labels else None,
            "preprocessing": f"{how.modality}, {how.intensity} {how.low:g}..{how.high:g}" if how else None,
            "orientation": how.orientation if how else None,
            "tensors": len(self.tensors),
            "stored_as": stored_types(self.tensors),
        } | self._scaling()

    def _scaling(self) -> dict[str, Any]:
        """What the adapters are multiplied by, of systems that do so."""
        variant = self.source.variant
        if variant.low_rank == "fact":
            return {"fact_scale": variant.low_rank_scale}
        return {"expert": variant.adapters[0], "scales": self.scales} if self.scales else {}


def stored_types(tensors: Mapping[str, Tensor]) -> list[str]:
    """float32, float16, ...: every type among the tensors."""
    return sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})


def read_published(path: str | Path, labels: str | None = None, image_size: int | None = None,
                   encoder_size: EncoderSize | None = None, expert: str | None = None,
                   fact_scale: float | None = None) -> Published:
    """Recognise a published file.

    Args:
        labels: name of the label set, in place of the one of the system's protocol.
        image_size: pixels, where the file does not say and the system's own is not meant.
        encoder_size: of an encoder that has no name, in parity tests.
        expert: "image", "patch" or "pixel", the one to take from a file of SAMora's released code.
        fact_scale: s of an MA-SAM that was trained with another one than 1, which its file does not say.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it cannot be read, or is no file of a known system, or it differs from them; the sentence says in
            what.
    """
    path, content = Path(path), read_tensors(path)
    try:
        tensors = scaled_expert(content, expert)
        source = with_fact_scale(recognise(tensors, image_size, encoder_size), fact_scale)
        if source.classes is None and labels:
            raise ValueError(f"The file has no decoder, so it knows no organs that '{labels}' could name; leave "
                             "--labels out.")
        organs = source.system.labels(source.classes, labels) if source.classes is not None else None
    except ValueError as error:
        raise ValueError(f"'{path}' is not imported: {error}") from error
    how = source.system.preprocessing(organs, source.image_size) if organs else None
    scales = "1, which the file does not say" if lacks_scales(content, source.variant.adapters[0]) else "in the file"
    return Published(path, source, tensors, organs, how, scales if source.key == "samora" else "")


def import_published(published: Published, base: str | Path | None, output: str | Path) -> Card:
    """Write a published file's tensors, as they are stored, as our checkpoint that names its base.

    Args:
        base: SAM's own weights, which such files leave out.

    Returns:
        The checkpoint's card.

    Raises:
        FileNotFoundError: no such base file.
        ValueError: no base, another one than the file was made from, or an output that would replace what is read.
    """
    path, encoder = published.path, published.source.variant.encoder
    if base is None:
        raise ValueError(f"'{path}' holds only what {published.source.system.title} trains; give the {encoder} weights "
                         f"that it was made from with --base {META_FILES.get(encoder, 'FILE')}.")
    check_import(output, path, base)
    tensors = published.source.system.to_ours(dict(published.tensors))
    _check_way_back(published, tensors)
    _check_base(published, tensors, base)
    card = _card(published, base)
    save_tensors(output, {key: value.clone() for key, value in tensors.items()}, card)  # not what they are views of
    return card


def check_import(output: str | Path, path: str | Path, base: str | Path | None) -> None:
    """Refuse an output that cannot be, before anything is read.

    Raises:
        ValueError: no name of a checkpoint, a folder, or the published file or its base.
    """
    require_checkpoint_name(output)
    refuse_overwriting(output, filter(None, (path, base)))


def _check_way_back(published: Published, tensors: dict[str, Tensor]) -> None:
    """H-SAM saves its prompt encoder under two names; we keep one, so they must be one."""
    for key, value in published.source.system.to_theirs(tensors).items():
        if not same_bytes(value, published.tensors[key]):
            raise ValueError(f"'{published.path}' holds two versions of one tensor, one of them '{key}', which "
                             f"{published.source.system.title} saves as copies; get the file again from its source.")


def same_bytes(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same type, shape and bytes, not-a-numbers included."""
    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(
        one.contiguous().flatten().view(torch.uint8), other.contiguous().flatten().view(torch.uint8))


def _check_base(published: Published, tensors: Mapping[str, Tensor], base: str | Path) -> None:
    stored = read_tensors(base)
    try:
        base_tensors(published.source.empty_model(), stored)
    except ValueError as error:
        raise ValueError(f"'{base}' is not the base of '{published.path}': {error}") from error
    if FOURIER in tensors and not is_rounded_alike(stored[FOURIER], tensors[FOURIER]):
        name = META_FILES.get(published.source.variant.encoder, "its own base")
        raise ValueError(f"'{base}' is not the base of '{published.path}': their '{FOURIER}' differs, which no "
                         f"training changes; give the file that it was made from, {name}.")


def is_rounded_alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same numbers, each rounded to the precision that it is stored in."""
    if one.shape != other.shape:
        return False
    relative = sum(torch.finfo(value.dtype).eps for value in (one, other) if value.dtype.itemsize < 4)
    absolute = max(torch.finfo(value.dtype).smallest_normal for value in (one, other)) if relative else 0.0
    return torch.allclose(one.float(), other.float(), rtol=relative, atol=absolute)


def _card(published: Published, base: str | Path) -> Card:
    source, title = published.source, published.source.system.title
    whole = source.system.is_whole
    file = spelt_out(published.path.name)
    kind, name = "model", f"{source.key}-{Path(file).stem}"[:MAX_NAME]
    if not whole:
        kind, name = "expert", source.variant.adapters[0]
    return Card(kind, name, source.variant, source.image_size, published.labels, published.preprocessing,
                base=reference_to(base), parents=(reference_to(published.path),),
                training={"imported_from": title, "file": file},
                licence="that of the imported file",
                description=f"Imported from '{file}', recognised as {title}.")


def export_checkpoint(path: str | Path, system: str, output: str | Path, base: str | Path | None = None
                      ) -> dict[str, Tensor]:
    """Write a checkpoint's tensors as a file that a published code base reads.

    Args:
        system: a key of ``SYSTEMS``.
        output: ``.pth`` (a flat table, as the published code saves it) or ``.safetensors``.
        base: the base file, needed where training left a tensor as the base has it and the checkpoint leaves it out;
            looked for beside the checkpoint by default.

    Returns:
        What was written: the tensors under the code base's names, of the types that the checkpoint stores.

    Raises:
        FileNotFoundError: the checkpoint or its base file is not there.
        ValueError: a checkpoint that this code base cannot run, another base, or another kind of output.
    """
    card, target = read_card(path), SYSTEMS[system]
    if Path(output).suffix not in (".pth", ".safetensors"):
        raise ValueError(f"'{Path(output).name}' is neither a .pth nor a .safetensors file; name the output so.")
    refuse_replacing_parts(output, path, card, base)
    variant = _fitting(path, card, target)
    model = promised_model(path, card, variant)
    tensors = target.to_theirs(_stored(path, card, target.own_keys(model), model, base))
    _write(output, tensors)
    return tensors


def told_on_export(path: str | Path, system: str) -> list[str]:
    """What whoever runs the code base on an exported checkpoint has to know, a sentence each; mostly nothing."""
    card, target = read_card(path), SYSTEMS[system]
    told = []
    if card.variant is not None and card.variant.low_rank_scale != 1:
        told.append(f"'{Path(path).name}' was trained with FacT's scale {card.variant.low_rank_scale:g}, which no "
                    f"exported file holds; run {target.title} with s={card.variant.low_rank_scale:g}.")
    if target.is_whole and (differing := _prepared_otherwise(card, target)):
        told.append(f"'{Path(path).name}' was trained on slices that {target.title}'s own preparation does not make: "
                    f"{differing}; prepare the published code's slices likewise.")
    return told


def _prepared_otherwise(card: Card, target: System) -> str:
    if card.preprocessing is None or card.labels is None:
        return ""
    ours, theirs = asdict(card.preprocessing), asdict(target.preprocessing(card.labels, card.image_size))
    return "; ".join(f"{name} {value}, not {theirs[name]}" for name, value in ours.items() if value != theirs[name])


def _fitting(path: str | Path, card: Card, target: System) -> Variant:
    """The card's row, if the code base can run it."""
    if card.variant is None or (target.is_whole and card.labels is None):
        raise ValueError(f"'{path}' is a checkpoint of kind '{card.kind}', {target.title} files are models; choose a "
                         "checkpoint that segments.")
    fixed = ["adapters", "low_rank"]
    if target.is_whole:
        fixed += ["depth_adapter", "fusion", "decoder", "decoder_lora", "cm_attention", "prompt", "backbone"]
    for name in fixed:
        ours, theirs = getattr(card.variant, name), getattr(target.variant, name)
        if ours != theirs:
            raise ValueError(f"'{path}' cannot be written as {target.title} does: its {name.replace('_', ' ')} is "
                             f"{ours!r}, {target.title}'s is {theirs!r}; choose the format of its own row, "
                             f"'{card.variant.name}'.")
    return card.variant


def _stored(path: str | Path, card: Card, keys: list[str], model: SegmentationModel, base: str | Path | None
            ) -> dict[str, Tensor]:
    state = read_safetensors(path)
    if card.base is not None and not set(keys) <= set(state):
        state = base_state(model, find_base(path, card, base)) | state
    if missing := sorted(set(keys) - set(state)):
        raise ValueError(f"'{path}' lacks {len(missing)} tensors of its own variant, first '{missing[0]}'; export the "
                         "checkpoint again.")
    return {key: state[key] for key in keys}


def _write(output: str | Path, tensors: dict[str, Tensor]) -> None:
    with atomic_write(output) as unfinished:
        if Path(output).suffix == ".safetensors":
            unfinished.write_bytes(save(tensors))
        else:  # opened here, or the archive would bear the unfinished file's name
            with unfinished.open("wb") as file:
                torch.save({key: value.clone() for key, value in tensors.items()}, file)
