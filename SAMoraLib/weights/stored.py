"""What a ``.safetensors`` file holds, from its header alone: names, types and shapes, before memory is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from SAMoraLib.card import read_header
from SAMoraLib.fields import line, shown

# The bits of a number of every type that the format knows.
BITS = {"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
        "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64,
        "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
MAX_DIMENSIONS = 8
TENSOR_NAME = line(500, 1)


@dataclass(frozen=True)
class Stored:
    """A tensor in a file.

    Attributes:
        kind: a key of ``BITS``.
        place: its first byte, and the one behind its last.
    """

    kind: str
    shape: tuple[int, ...]
    place: tuple[int, int]

    @property
    def is_real(self) -> bool:
        """Whether it holds numbers with fractions, of any precision."""
        return "F" in self.kind or self.kind == "C64"

    def is_like(self, place: Tensor) -> bool:
        """Whether it fits a model's place: the same shape, and real numbers of any precision where those belong."""
        return self.shape == place.shape and self.is_real == place.is_floating_point()


def stored_tensors(path: str | Path, header: Mapping[str, Any] | None = None) -> dict[str, Stored]:
    """The tensors of a file by name; one behind the other they fill it.

    Args:
        header: the file's, where it was read before.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no safetensors file, or its header does not fit it.
    """
    header = read_header(path) if header is None else header
    try:
        tensors = {name: _stored(name, entry) for name, entry in header.items() if name != "__metadata__"}
        _require_filled(tensors, Path(path))
    except ValueError as error:
        raise ValueError(f"The tensors of '{path}' cannot be read ({error}); download or export it again.") from error
    return tensors


def _stored(name: str, entry: Any) -> Stored:
    if not TENSOR_NAME.holds(name):
        raise ValueError(f"{shown(name)} is no name of a tensor")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{shown(name)} has no type, shape and place")
    kind, shape, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in BITS:
        raise ValueError(f"{shown(name)} is of the type {shown(kind)}")
    if not _are_sizes(shape) or not _are_sizes(place) or len(place) != 2:
        raise ValueError(f"{shown(name)} has the shape {shown(shape)} and the place {shown(place)}")
    if math.prod(shape) * BITS[kind] != 8 * (place[1] - place[0]):
        raise ValueError(f"{shown(name)} of the shape {shown(shape)} does not fit its place {shown(place)}")
    return Stored(kind, tuple(shape), (place[0], place[1]))


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MAX_DIMENSIONS and all(type(n) is int and n >= 0 for n in value)


def _require_filled(tensors: Mapping[str, Stored], path: Path) -> None:
    with path.open("rb") as file:
        size = path.stat().st_size - 8 - int.from_bytes(file.read(8), "little")
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].place):
        if tensor.place[0] != end:
            raise ValueError(f"{shown(name)} does not begin where the tensor before it ends")
        end = tensor.place[1]
    if end != size:
        raise ValueError(f"they have {end} bytes, and the file holds {size}")
