"""Files of named tensors: the same numbers come back, nothing is executed, and damage is told in a sentence."""

from __future__ import annotations

import argparse
import inspect
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from SAMoraLib.weights.tensors import read_plain, read_safetensors, read_tensors
from Testing.refusals import refusal

TENSORS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor([1, 2], dtype=torch.int64),
           "c": torch.ones(2, dtype=torch.float16)}


def assert_same(found: dict[str, Tensor]) -> None:
    assert set(found) == set(TENSORS)
    assert all(found[key].dtype == value.dtype and torch.equal(found[key], value) for key, value in TENSORS.items())


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".pt"])
def test_tensors_come_back_as_they_were_written(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"weights{ending}"
    if ending == ".safetensors":
        save_file(TENSORS, path)
        assert_same(read_safetensors(path))
    else:
        torch.save(TENSORS, path)
        assert_same(read_plain(path))
    assert_same(read_tensors(path))
    assert_same(read_tensors(str(path)))


def test_trained_parameters_come_without_their_gradients(tmp_path: Path) -> None:
    torch.save({"w": torch.nn.Parameter(torch.ones(2))}, tmp_path / "w.pth")
    found = read_tensors(tmp_path / "w.pth")["w"]
    assert not found.requires_grad and torch.equal(found, torch.ones(2))


@pytest.mark.parametrize("content", [[torch.ones(2)], {"model": {"w": torch.ones(2)}, "v": torch.ones(2)}, {"n": 3},
                                     torch.ones(2)])
def test_what_is_no_flat_table_of_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert "w.pth' does not hold a flat table of named tensors" in refusal(lambda: read_tensors(tmp_path / "w.pth"))


def test_what_a_training_program_wraps_weights_in_is_taken_off(tmp_path: Path) -> None:
    wrapped = {f"module.{name}": value for name, value in TENSORS.items()}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "w.pth")
    assert_same(read_tensors(tmp_path / "w.pth"))
    save_file(wrapped, tmp_path / "w.safetensors")
    assert_same(read_tensors(tmp_path / "w.safetensors"))
    assert set(read_safetensors(tmp_path / "w.safetensors")) == set(wrapped)


def test_objects_of_other_programs_are_named(tmp_path: Path) -> None:
    torch.save({"model": TENSORS, "args": argparse.Namespace(lr=0.1)}, tmp_path / "w.pth")
    message = refusal(lambda: read_tensors(tmp_path / "w.pth"))
    assert "carries code or objects of Python's beside its tensors, first 'argparse.Namespace'" in message


def test_a_sam_2s_table_is_taken_out_and_renamed(tmp_path: Path) -> None:
    table = {"image_encoder.trunk.pos_embed": torch.ones(1), "sam_mask_decoder.w": torch.zeros(1),
             "memory_encoder.w": torch.ones(3)}
    torch.save({"model": table}, tmp_path / "sam2.pt")
    assert set(read_tensors(tmp_path / "sam2.pt")) == {"image_encoder.trunk.pos_embed", "mask_decoder.w"}


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_a_file_that_is_not_there_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=f"There is no weights file '.*{name}'; give the path"):
        read_tensors(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_tensors(tmp_path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    torch.save(TENSORS, tmp_path / "w.pth")
    for name, sentence in (("w.safetensors", "The tensors of '{}' cannot be read"),
                           ("w.pth", "'{}' cannot be read as plain tensors; it is cut short, damaged or carries code")):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-7])
        assert refusal(lambda path=path: read_tensors(path)).startswith(sentence.format(path))


class Planted:
    """Writes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"w": Planted(tmp_path / "planted")}, tmp_path / "w.pth")
    assert "carries code" in refusal(lambda: read_tensors(tmp_path / "w.pth"))
    assert not (tmp_path / "planted").exists()


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_refused(ending: str, value: float, tmp_path: Path) -> None:
    path, tensors = tmp_path / f"w{ending}", TENSORS | {"bad": torch.tensor([1, value, value])}
    save_file(tensors, path) if ending == ".safetensors" else torch.save(tensors, path)
    sentence = f"'{path}' holds 2 values that are NaN or infinite as float32, in 1 of its tensors, first 'bad'"
    assert refusal(lambda: read_tensors(path)).startswith(sentence)
    if ending == ".safetensors":
        assert refusal(lambda: read_safetensors(path)).startswith(sentence)


def test_damage_that_torch_does_not_see_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save(TENSORS, path)
    content, numbers = path.read_bytes(), TENSORS["a.weight"].numpy().tobytes()
    path.write_bytes(content.replace(numbers, numbers[::-1]))
    assert torch.load(path, weights_only=True)["a.weight"].shape == (2, 3)
    assert "the checksum of its record" in refusal(lambda: read_tensors(path))


def with_header(header: bytes, data: bytes = bytes(8), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


ONE = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'


@pytest.mark.parametrize("content", [
    b"", b"1234567", with_header(b"", length=0), with_header(ONE, length=2**63), with_header(ONE, length=10**8),
    with_header(ONE[:-1]), with_header(b"[]"), with_header(b"[" * 99_999), with_header(b"\xff" * 9),
    with_header(ONE, bytes(7)), with_header(ONE, bytes(9)), with_header(ONE.replace(b"[2]", b"[3]")),
    with_header(ONE.replace(b"[2]", b"[-2]")), with_header(ONE.replace(b"[2]", b"[4611686018427387904,4]")),
    with_header(ONE.replace(b"[0,8]", b"[8,0]")), with_header(ONE.replace(b"[0,8]", b"[4,12]")),
    with_header(ONE.replace(b"F32", b"F33")), with_header(ONE.replace(b"F32", b"C64").replace(b"[2]", b"[1]")),
    with_header(ONE.replace(b"F32", b"F8_E8M0").replace(b"[2]", b"[8]")),
    with_header(ONE.replace(b"F32", b"F4").replace(b"[2]", b"[16]")),
    with_header(b'{"__metadata__":{"a":1}}', b""), with_header(b'{"a":1}', b"")])
def test_impossible_headers_are_refused_in_a_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    for read in (read_safetensors, read_tensors):
        assert str(path) in refusal(lambda read=read: read(path))
    path.write_bytes(with_header(ONE))
    assert read_safetensors(path)["a"].tolist() == [0, 0]


def test_tables_that_are_nested_too_deeply_are_refused(tmp_path: Path) -> None:
    content: Any = {"w": torch.ones(1)}
    for _ in range(400):
        content = {"m": content}
    torch.save(content, tmp_path / "w.pth")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 300)
    try:
        assert "nests its tables too deeply" in refusal(lambda: read_tensors(tmp_path / "w.pth"))
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
@pytest.mark.parametrize("name", ["m.safetensors", "m.pth", os.fsdecode(b"\xff.safetensors"),
                                  os.fsdecode(b"\xff.pth")])
def test_a_file_whose_path_is_no_text_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / os.fsdecode(b"M\xfcller") / name
    path.parent.mkdir()
    plain = tmp_path / f"plain{path.suffix}"
    torch.save(TENSORS, plain) if path.suffix == ".pth" else save_file(TENSORS, plain)
    assert_same(read_tensors(plain.rename(path)))


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "a" * 9999, "", "\u202ea"])
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_tensors_name_neither_steers_a_terminal_nor_fills_it(name: str, ending: str, tmp_path: Path) -> None:
    path, tensors = tmp_path / f"w{ending}", {name: torch.ones(1)}
    save_file(tensors, path) if ending == ".safetensors" else torch.save(tensors, path)
    message = refusal(lambda: read_tensors(path))
    assert "is no name" in message and message.isprintable() and len(message) < 400
    if ending == ".pth":
        torch.save({name: {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, path)
        assert refusal(lambda: read_tensors(path)).isprintable()


def test_tensors_that_share_their_place_are_refused(tmp_path: Path) -> None:
    two = ONE[:-1] + b',"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    (tmp_path / "w.safetensors").write_bytes(with_header(two))
    assert "does not begin where the tensor before it ends" in refusal(
        lambda: read_tensors(tmp_path / "w.safetensors"))
