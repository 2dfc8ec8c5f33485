"""Files of named tensors: read as data alone, whoever wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from SAMoraLib.system.streams import one_line
from SAMoraLib.system.text_path import text_path
from SAMoraLib.weights.archive import require_whole_archive
from SAMoraLib.weights.finite import require_finite
from SAMoraLib.weights.pickled import Refused, require_plain
from SAMoraLib.weights.sam2 import from_sam2
from SAMoraLib.weights.stored import Stored, stored_tensors
from SAMoraLib.weights.wrapping import UnclearContent, bare_names, unwrapped


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors``, ``.pth`` or ``.pt`` file, SAM 2's under our names; nothing in it is executed.

    What a training program wraps them in is taken off, see ``SAMoraLib.weights.wrapping``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or holds something else than named tensors of finite numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no weights file '{path}'; give the path of a .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            return from_sam2(bare_names(read_safetensors(path)))
        tensors = unwrapped(read_plain(path))
    except RecursionError as error:
        raise ValueError(f"'{path}' nests its tables too deeply; export its state dict first.") from error
    except UnclearContent as error:
        raise ValueError(f"'{path}' {error}.") from error
    require_finite(path, tensors)
    return from_sam2(tensors)


def read_plain(path: str | Path) -> Any:
    """What a ``.pth`` file holds: tensors, numbers and text in tables and lists; nothing in the file is executed.

    Raises:
        ValueError: the file holds something else, is damaged, or has no checksums by which that would be seen.
    """
    require_whole_archive(path)
    try:
        with text_path(Path(path)) as name:
            # By torch's own reader: no other may find another table in the archive.
            require_plain(torch._C.PyTorchFileReader(str(name)).get_record("data.pkl"), Path(path).stat().st_size)
            return torch.load(name, map_location="cpu", weights_only=True)
    except Refused as error:
        raise ValueError(f"'{path}' cannot be read as plain tensors, {error}, which is never loaded; where you trust "
                         "its source, save its state dict alone.") from error
    # A damaged archive raises almost anything. torch's own message recommends to load it unsafely: it is not repeated.
    except Exception as error:
        raise ValueError(f"'{path}' cannot be read as plain tensors; it is cut short, damaged or carries code: get it "
                         "again from its source.") from error


def read_safetensors(path: str | Path, stored: Mapping[str, Stored] | None = None) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file.

    Args:
        stored: what its header says, where that was looked at before.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is cut short or damaged, or some values are not finite.
    """
    if stored is None:
        stored_tensors(path)
    try:
        with text_path(Path(path)) as name:
            tensors = load_file(name)
    except OSError:
        raise
    except Exception as error:  # of impossible headers the package raises more than its own error
        cause = one_line(str(error))[:200]
        raise ValueError(f"The tensors of '{path}' cannot be read ({cause}); download or export it again.") from error
    require_finite(path, tensors)
    return tensors
