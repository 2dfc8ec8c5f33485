"""Meta's ``sam_vit_{b,l,h}`` files and our own base files, as the start of any SAM variant at any image size."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from SAMoraLib.encoders.sam_vit import resize_position_tables
from SAMoraLib.model import SegmentationModel

# Their size depends on the number of classes, so SAM's own are dropped (SAMed, H-SAM and MA-SAM: load_from).
CLASS_DEPENDENT = ("mask_tokens", "output_hypernetworks_mlps", "iou_prediction_head")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or ``.pth`` file; nothing in the file is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something else than named tensors, or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file '{path}'; give the path of a .safetensors or .pth file.")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle raises almost anything. torch's own message recommends to load it unsafely: it is not repeated.
    except Exception as error:
        raise ValueError(f"'{path}' cannot be read as plain tensors; it is cut short, damaged or carries code: get it "
                         "again from its source.") from error
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"'{path}' does not hold a flat table of named tensors; export its state dict first.")
    return {name: value.detach() for name, value in content.items()}


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file.

    Raises:
        ValueError: the file is cut short or damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"The tensors of '{path}' cannot be read ({error}); download or export it again.") from error


def load_base(model: SegmentationModel, state: dict[str, Tensor]) -> list[str]:
    """Start ``model`` from a whole SAM.

    Position tables are resized to the model's image size, tensors whose size depends on the class count are left at
    the model's random start, and so are adapters, which a base does not have. Further tensors are ignored: old files
    carry pixel_mean and pixel_std, but slices come in [0, 1] here.

    Args:
        state: Meta's keys ``image_encoder.*``, ``prompt_encoder.*``, ``mask_decoder.*``.

    Returns:
        The keys that were loaded.

    Raises:
        ValueError: a tensor of the encoder, prompt encoder or decoder is missing or has another shape.
    """
    _check_encoder(model, state)
    target = model.state_dict()
    wanted = [key for key in target if not _starts_random(key)]
    if missing := [key for key in wanted if key not in state]:
        raise ValueError(f"The base file lacks '{missing[0]}', so it is not a whole SAM {model.variant.encoder}; "
                         "choose the encoder that the file was made for.")
    state = resize_position_tables(state, model.variant.size, model.image_size)
    for key in wanted:
        if state[key].shape != target[key].shape:
            raise ValueError(f"'{key}' is {tuple(state[key].shape)} in the base file and {tuple(target[key].shape)} "
                             f"in {model.variant.encoder}; choose the encoder that the file was made for.")
    model.load_state_dict({key: state[key] for key in wanted}, strict=False)
    return wanted


def _starts_random(key: str) -> bool:
    return any(part in key for part in (*CLASS_DEPENDENT, ".lora.", ".hl_attn."))


def _check_encoder(model: SegmentationModel, state: dict[str, Tensor]) -> None:
    depth = 1 + max((int(key.split(".")[2]) for key in state if key.startswith("image_encoder.blocks.")), default=-1)
    width = state["image_encoder.pos_embed"].shape[-1] if "image_encoder.pos_embed" in state else 0
    size = model.variant.size
    if (depth, width) != (size.depth, size.embed_dim):
        raise ValueError(f"The base file holds a ViT of {depth} blocks of width {width}, {model.variant.encoder} has "
                         f"{size.depth} of width {size.embed_dim}; choose the encoder that the file was made for.")
