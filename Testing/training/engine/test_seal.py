"""Checksums of whole archives."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import pytest
import torch

from SAMoraLib.weights.tensors import read_plain
from Training.engine.seal import COMMENT_BYTES, MARK, is_unchanged, seal


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    path = tmp_path / ".samora_0123456789abcdef.tmp"  # torch writes the name into the archive
    torch.save({"a": torch.full((50,), 3.0)}, path)
    assert is_unchanged(path), "from before there were seals"
    seal(path)
    return path


def test_a_sealed_archive_is_read_as_before(sealed: Path) -> None:
    assert is_unchanged(sealed) and MARK in sealed.read_bytes()
    for read in (read_plain, torch.load):
        assert torch.equal(read(sealed)["a"], torch.full((50,), 3.0))
    before = sealed.read_bytes()
    seal(sealed)
    assert sealed.read_bytes() == before, "once is enough"


def test_a_seal_is_the_archives_comment(tmp_path: Path) -> None:
    """Whoever reads archives finds it as one, and everything else as it was."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one", "some text")
    before = path.read_bytes()
    seal(path)
    whole = before[:-2] + bytes([COMMENT_BYTES, 0])
    assert path.read_bytes() == whole + MARK + f"{zlib.crc32(whole):08x}".encode()
    with zipfile.ZipFile(path) as archive:
        assert archive.comment.startswith(MARK) and archive.read("one") == b"some text"


def test_every_byte_counts(sealed: Path) -> None:
    content = sealed.read_bytes()
    for place in range(len(content) - COMMENT_BYTES):
        sealed.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1:])
        assert not is_unchanged(sealed), place
    for end in (content[:-1] + b"x", content[:-1], content + b"0"):
        sealed.write_bytes(end)
        assert not is_unchanged(sealed)


@pytest.mark.parametrize("content", [b"", b"a", b"PK\x05\x06" + bytes(30), bytes(100)])
def test_what_is_no_archive_stays_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    seal(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == content and is_unchanged(tmp_path / "a")
