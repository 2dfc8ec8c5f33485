"""Checksums beside a cache's files."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import pytest

from Testing.slicer.full_disk import full_disk
from Training.data.checksums import NAME, are_unchanged, write_checksums

NAMES = ("a.npy", "b.npy")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.npy").write_bytes(bytes(range(256)) * 5000)  # more than a block
    (tmp_path / "b.npy").write_bytes(b"b")
    write_checksums(tmp_path, NAMES)
    return tmp_path


def test_unchanged_files_are_unchanged(folder: Path) -> None:
    assert are_unchanged(folder, NAMES)


@pytest.mark.parametrize("place", [0, 128, 1 << 20, -1])
def test_one_bit_is_seen_anywhere(folder: Path, place: int) -> None:
    content = bytearray((folder / "a.npy").read_bytes())
    content[place] ^= 1
    (folder / "a.npy").write_bytes(content)
    assert not are_unchanged(folder, NAMES)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"{}", b'{"a.npy": "x", "b.npy": null}', b"\xff"])
def test_so_are_missing_files_and_damaged_checksums(folder: Path, content: bytes) -> None:
    assert not are_unchanged(folder, ("a.npy",)) and not are_unchanged(folder, (*NAMES, "c.npy"))
    (folder / NAME).write_bytes(content)
    assert not are_unchanged(folder, NAMES)


def test_a_folder_from_before_gets_its_checksums(folder: Path) -> None:
    (folder / NAME).unlink()
    with full_disk(0):
        assert are_unchanged(folder, NAMES) and not (folder / NAME).exists()
    assert are_unchanged(folder, NAMES) and (folder / NAME).exists()
    (folder / "b.npy").write_bytes(b"c")
    assert not are_unchanged(folder, NAMES)


def test_checksums_are_those_that_everybody_computes(folder: Path) -> None:
    """So that an entry stays whole when the program is updated."""
    expected = {name: zlib.crc32((folder / name).read_bytes()) for name in NAMES}
    assert json.loads((folder / NAME).read_text(encoding="utf-8")) == expected
