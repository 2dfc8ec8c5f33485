"""Our checkpoints: one ``.safetensors`` file with a card in its header and the tensors that differ from the base."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from SAMoraLib.card import METADATA_KEY, Card, card_of, is_plain_name, read_card, read_header, reference_to
from SAMoraLib.fields import shown
from SAMoraLib.model import SegmentationModel, empty_model, load_tensors
from SAMoraLib.parts import expert_keys
from SAMoraLib.system.files import atomic_write, file_sha256
from SAMoraLib.system.overwriting import refuse_overwriting
from SAMoraLib.variants import Variant
from SAMoraLib.weights.finite import not_finite
from SAMoraLib.weights.sam import base_tensors, starts_random
from SAMoraLib.weights.stored import Stored, stored_tensors
from SAMoraLib.weights.tensors import read_safetensors, read_tensors


def save_tensors(path: str | Path, tensors: Mapping[str, Tensor], card: Card) -> None:
    """Write tensors and card as one file, beside and renamed: an interrupted run leaves no half file.

    Raises:
        ValueError: the card has an impossible value, with which no reader would take the file.
    """
    card.check()
    metadata = {METADATA_KEY: json.dumps(card.to_json(), sort_keys=True)}
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(save(plain, metadata))


def save_model(path: str | Path, model: SegmentationModel, card: Card, base: str | Path | None = None) -> None:
    """Save a whole model.

    Args:
        base: the file whose tensors are left out where they are unchanged; None writes a self-contained file.
    """
    state = model.state_dict()
    if base is not None:
        state = _differing(state, base_state(model, base))
        card = replace(card, base=reference_to(base))
    save_tensors(path, state, card)


def save_expert(path: str | Path, model: SegmentationModel, expert: str, card: Card) -> None:
    """Save the low-rank pairs of one expert."""
    state = model.state_dict()
    save_tensors(path, {key: state[key] for key in expert_keys(model, expert)}, card)


def base_state(model: SegmentationModel, base: str | Path) -> dict[str, Tensor]:
    """What the base file gives a model of this size: resized tables, class-dependent tensors left out."""
    return base_tensors(model, read_tensors(base))


def _differing(state: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items()
            if key not in base or not torch.equal(value.cpu(), base[key])}


def load_model(path: str | Path, device: str | torch.device = "cpu",
               base: str | Path | None = None) -> tuple[SegmentationModel, Card]:
    """Load a model for inference.

    Args:
        path: a checkpoint of kind "model" or "base".
        base: the base file, where the checkpoint leaves tensors out; looked for beside the checkpoint by default.

    Returns:
        The model in evaluation mode on ``device``, float32, and the card.

    Raises:
        FileNotFoundError: the checkpoint or its base file is not there.
        ValueError: not a model, the base is another file than the one trained on, or a tensor is missing.
    """
    header = read_header(path)
    card, stored = card_of(header, path), stored_tensors(path, header)
    if card.labels is None or card.variant is None or card.kind == "expert":
        raise ValueError(f"'{path}' is a checkpoint of kind '{card.kind}', which cannot segment by itself; "
                         "fine-tune it first (Training.stage2_finetune).")
    model = promised_model(path, card, card.variant)
    _require_whole(model, stored, card.base is not None, path)
    state: dict[str, Tensor] = {}
    if card.base is not None:
        state.update(base_state(model, find_base(path, card, base)))
    state.update(read_safetensors(path, stored))
    load_tensors(model, state)
    return model.to(device).eval(), card


def promised_model(path: str | Path, card: Card, variant: Variant) -> SegmentationModel:
    """The model that the card of a file speaks of, without memory for its weights.

    Raises:
        ValueError: the variant's fields, each possible by itself, do not fit each other.
    """
    try:
        return empty_model(variant, len(card.labels or (1,)), card.image_size)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"The model that the card of '{path}' speaks of cannot be made, as its variant's fields do "
                         "not fit each other; get the checkpoint again from its source.") from error


def find_base(path: str | Path, card: Card, base: str | Path | None = None) -> Path:
    """The base file that ``card`` names, checked by its sha256.

    Raises:
        FileNotFoundError: it is neither given nor beside the checkpoint.
        ValueError: it is another file.
    """
    if card.base is None:
        raise ValueError(f"'{path}' is self-contained and has no base file; leave the base out.")
    if not is_plain_name(card.base["name"]):
        raise ValueError(f"The card of '{path}' names the base {shown(card.base['name'])}, which is no plain file "
                         "name; get the checkpoint again from its source.")
    found = Path(base) if base is not None else Path(path).parent / card.base["name"]
    if not found.is_file():
        raise FileNotFoundError(f"'{Path(path).name}' needs its base weights '{card.base['name']}', which are not at "
                                f"'{found}'; put them there or name them with --base.")
    if file_sha256(found) != card.base["sha256"]:
        raise ValueError(f"'{found}' is not the base that '{Path(path).name}' was trained on (its sha256 differs); "
                         f"get the file whose sha256 starts with {card.base['sha256'][:12]}.")
    return found


def _require_whole(model: SegmentationModel, stored: Mapping[str, Stored], has_base: bool, path: str | Path) -> None:
    """Refuse a file that does not hold what its card promises, from its header: before memory is taken for it."""
    target = model.state_dict()
    given = {key for key in target if has_base and not starts_random(key)}
    missing, unknown = sorted(set(target) - set(stored) - given), sorted(set(stored) - set(target))
    shapes = [key for key in target if key in stored and target[key].shape != stored[key].shape]
    types = [key for key in target if key in stored and target[key].is_floating_point() != stored[key].is_real]
    for problem, keys in (("lacks", missing), ("has unknown", unknown), ("has another shape for", shapes),
                          ("has integers for", types)):
        if keys:
            raise ValueError(f"'{path}' {problem} {len(keys)} tensors of its own variant, first {shown(keys[0])}; "
                             "export the checkpoint again.")


def load_experts(model: SegmentationModel, paths: Iterable[str | Path], base: str | Path | None = None) -> list[Card]:
    """Put expert files into a model that has adapters of their names.

    Args:
        base: the file that gave the model its base weights; experts of another base are refused.

    Returns:
        Their cards.

    Raises:
        ValueError: not an expert, damaged, or of another encoder, rank, image size or base than the others or the
            model.
    """
    cards = [_load_expert(model, path) for path in paths]
    bases = {card.base["sha256"] for card in cards if card.base}
    if len(bases) > 1:
        raise ValueError("The experts were trained on different base weights; train all three on the same base.")
    if base is not None and bases and bases != {file_sha256(base)}:
        raise ValueError(f"The experts were trained on another base than '{base}' (its sha256 differs); "
                         "give the base that they were trained on.")
    return cards


def _load_expert(model: SegmentationModel, path: str | Path) -> Card:
    card = read_card(path)
    if card.kind != "expert":
        raise ValueError(f"'{path}' is a checkpoint of kind '{card.kind}', not an expert; "
                         "train one with Training.stage1_expert.")
    stored, target, expected = stored_tensors(path), model.state_dict(), expert_keys(model, card.name)
    bad = [*sorted(set(stored) ^ set(expected)),
           *(key for key in expected if key in stored and not stored[key].is_like(target[key]))]
    if bad:
        raise ValueError(f"The expert '{path}' does not fit {model.variant.name} on {model.variant.encoder} at "
                         f"rank {model.variant.rank} (first {shown(bad[0])}); train it with the same encoder and rank.")
    if card.image_size != model.image_size:
        is_ours = "imported_from" not in card.training
        way = "train it at the same size" if is_ours else f"import it with --image-size {model.image_size}"
        raise ValueError(f"The expert '{path}' was trained on slices of {card.image_size} x {card.image_size} pixels, "
                         f"this model takes {model.image_size} x {model.image_size}; {way}.")
    model.load_state_dict(read_safetensors(path), strict=False)
    return card


def require_checkpoint_name(output: str | Path) -> None:
    """Refuse an output that is not named as checkpoints are.

    Raises:
        ValueError: another ending.
    """
    if Path(output).suffix != ".safetensors":
        raise ValueError(f"Checkpoints are .safetensors files, not '{Path(output).name}'; name the output so.")


def refuse_replacing_parts(output: str | Path, path: str | Path, card: Card, base: str | Path | None = None) -> None:
    """Refuse to write a checkpoint's copy over the checkpoint or over what it was made from.

    Args:
        path: the checkpoint, whose ``card`` names its base and the files that training started from.
        base: the base file, where it does not lie beside the checkpoint.

    Raises:
        ValueError: the output is the checkpoint, its base, or one of these files, wherever they lie; or a folder.
    """
    beside = [Path(path).parent / card.base["name"]] if card.base is not None else []
    refuse_overwriting(output, [path, *beside, *([base] if base is not None else [])])
    parents = [*card.parents, *([card.base] if card.base else [])]
    if parents and Path(output).is_file() and file_sha256(output) in [parent.get("sha256") for parent in parents]:
        raise ValueError(f"'{output}' is a file that '{Path(path).name}' was made from and would be replaced; name "
                         "another output.")


def merge(path: str | Path, output: str | Path, base: str | Path | None = None, half: bool = False) -> Card:
    """Write a self-contained copy of a checkpoint that leaves out its base's tensors.

    Args:
        half: store float16, half the size; loading still gives float32.

    Returns:
        The new file's card.

    Raises:
        FileNotFoundError: the checkpoint or its base file is not there.
        ValueError: an output that is no checkpoint's name or is read here, or as ``load_model``.
    """
    require_checkpoint_name(output)
    refuse_replacing_parts(output, path, read_card(path), base)
    model, card = load_model(path, base=base)
    parents = (*card.parents, *([card.base] if card.base else []))
    card = replace(card, base=None, parents=parents)
    state = model.state_dict()
    if half:
        state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
        if key := next((key for key, value in state.items() if not_finite(value)), ""):
            raise ValueError(f"'{path}' holds values in '{key}' that float16 cannot hold; leave out --half.")
    save_tensors(output, state, card)
    return card
