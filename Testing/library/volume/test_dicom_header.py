"""DICOM files are known by their first bytes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from SAMoraLib.volume.dicom_header import looks_like_dicom
from Testing.library.volume import dicom_files as files


@pytest.mark.parametrize("first", [0, 132])
def test_a_slice_is_known_with_its_preamble_or_without(tmp_path: Path, first: int) -> None:
    path = files.save(files.slice_file(0), tmp_path / "slice")
    path.write_bytes(path.read_bytes()[first:])
    assert looks_like_dicom(path)


@pytest.mark.parametrize("content", [b"", b"DICM", bytes(200), b"\x08\x00\x05\x00CS", b"text " * 40])
def test_nothing_else_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.dcm").write_bytes(content)
    assert not looks_like_dicom(tmp_path / "a.dcm")
    assert not looks_like_dicom(tmp_path) and not looks_like_dicom(tmp_path / "none.dcm")


@pytest.mark.parametrize(("start", "length", "known"), [
    (b"\x08\0\x05\0CS\x0a\0", 132, True), (b"\x08\0\x05\0CS\x0a\0", 131, False),
    (b"\x08\0\x05\0\x0a\0\0\0", 132, True), (b"\0\x08\0\x05\x01\x01\0\0", 200, True),
    (b"\x08\0\x05\0\x0a\0\x01\0", 200, False), (b"\x08\0\x05\0\x0a\0\0\x01", 200, False),
    (b"\x08\0\x05\0\x01S\x01\x01", 200, False), (b"\x08\0\x05\0C\x01\x01\x01", 200, False),
    (b"\x09\0\x05\0CS\x0a\0", 200, False), (bytes(128) + b"DICM", 132, True), (bytes(128) + b"DICN", 132, False),
    (bytes(127) + b"DICM", 132, False)])
def test_without_a_preamble_the_first_element_tells(tmp_path: Path, start: bytes, length: int, known: bool) -> None:
    (tmp_path / "a").write_bytes(start.ljust(length, b"x"))
    assert looks_like_dicom(tmp_path / "a") is known


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFO in folders")
def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    assert not looks_like_dicom(tmp_path / "a.dcm")
