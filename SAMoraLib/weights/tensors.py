"""Files of named tensors: read as data alone, whoever wrote them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from SAMoraLib.weights.sam2 import from_sam2, unwrapped


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors``, ``.pth`` or ``.pt`` file, SAM 2's under our names; nothing in it is executed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something else than named tensors, or cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file '{path}'; give the path of a .safetensors or .pth file.")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    content = unwrapped(read_plain(path))
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(f"'{path}' does not hold a flat table of named tensors; export its state dict first.")
    return from_sam2({name: value.detach() for name, value in content.items()})


def read_plain(path: str | Path) -> Any:
    """What a ``.pth`` file holds: tensors, numbers and text in tables and lists; nothing in the file is executed.

    Raises:
        ValueError: the file holds something else, or cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle raises almost anything. torch's own message recommends to load it unsafely: it is not repeated.
    except Exception as error:
        raise ValueError(f"'{path}' cannot be read as plain tensors; it is cut short, damaged or carries code: get it "
                         "again from its source.") from error


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file.

    Raises:
        ValueError: the file is cut short or damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"The tensors of '{path}' cannot be read ({error}); download or export it again.") from error
