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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFO in folders")
def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.dcm")
    assert not looks_like_dicom(tmp_path / "a.dcm")
