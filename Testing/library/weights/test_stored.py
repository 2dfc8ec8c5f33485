"""What a header says of its file's tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from SAMoraLib.weights.stored import BITS, Stored, stored_tensors
from Testing.refusals import refusal

KINDS = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.uint8, torch.bool,
         torch.complex64, torch.float8_e4m3fn]


def write(path: Path, header: Any, length: int = 8) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(length))
    return path


def entry(kind: Any = "F32", shape: Any = (2,), place: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": kind, "shape": shape, "data_offsets": place}


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_says_what_the_file_holds(kind: torch.dtype, tmp_path: Path) -> None:
    tensors = {name: torch.zeros(shape, dtype=kind) for name, shape in (("a", (2, 3)), ("empty", (0, 4)), ("b", ()))}
    save_file(tensors, tmp_path / "w.safetensors")
    found = stored_tensors(tmp_path / "w.safetensors")
    assert {name: tensor.shape for name, tensor in found.items()} == {n: tuple(t.shape) for n, t in tensors.items()}
    assert all(tensor.is_real == (kind.is_floating_point or kind.is_complex) for tensor in found.values())
    assert all(found[name].is_like(tensor) for name, tensor in tensors.items() if not kind.is_complex)


def test_a_tensor_fits_by_shape_and_fractions() -> None:
    half = Stored("F16", (2,), (0, 4))
    assert half.is_like(torch.zeros(2)) and not half.is_like(torch.zeros(3)) and not half.is_like(torch.zeros(2).int())
    assert all(bits % 2 == 0 for bits in BITS.values())


@pytest.mark.parametrize("shape", [[2], [1] * 7 + [2], [2, 1, 1]])
def test_a_tensor_has_up_to_eight_sides(shape: list[int], tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", {"a": entry(shape=shape)})
    assert stored_tensors(path) == {"a": Stored("F32", tuple(shape), (0, 8))}


@pytest.mark.parametrize("header", [
    {"a": entry(shape=[1] * 8 + [2])}, {"a": entry(place=[0, 8, 8])},
    {"a": 1}, {"a": None}, {"a": {}}, {"a": entry() | {"more": 1}}, {"a": entry("F33")}, {"a": entry(["F32"])},
    {"a": entry(shape=2)}, {"a": entry(shape=[-2])}, {"a": entry(shape=[2.0])}, {"a": entry(shape=[True, 2])},
    {"a": entry(shape=[10**18])}, {"a": entry(shape=[2**31, 2**31, 4])}, {"a": entry(shape=[1] * 9 + [2])},
    {"a": entry(place=[8, 0])}, {"a": entry(place=[0])}, {"a": entry(place=[-8, 0])}, {"a": entry(place=[0, 10**18])},
    {"a": entry(place=[8, 16])}, {"a": entry(), "b": entry()}, {"a": entry(), "b": entry("F32", [1], [4, 8])},
    {"a": entry("F32", [1], [0, 4])}, {"a": entry("F32", [1], [4, 8])}, {},
    {"\x1b[2J" + "a" * 999: entry("F33")}], ids=str)
def test_what_does_not_fill_the_file_once_is_refused(header: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "w.safetensors", header)
    message = refusal(lambda: stored_tensors(path))
    assert message.startswith(f"The tensors of '{path}' cannot be read")
    assert message.isprintable() and len(message) < 500
    assert list(stored_tensors(write(path, {"a": entry()}))) == ["a"]
