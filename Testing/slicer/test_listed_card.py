"""Cards for a list: the same as a reader of whole headers finds, from little of each file."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.card import METADATA_KEY, read_card
from SAMoraSlicer import listed_card as module
from SAMoraSlicer.listed_card import LISTED_BYTES, listed_card
from SAMoraSlicer.models import PACKAGED
from Testing.refusals import refusal
from Testing.slicer.bare_checkpoint import write_checkpoint

LARGE = {f"blocks.{number}.attn.qkv.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
         for number in range(4000)}


def write_header(path: Path, header: bytes, tensors: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + tensors)
    return path


def header_of(path: Path, **changes: Any) -> dict[str, Any]:
    """Of a checkpoint with a thousand tensors."""
    written = json.loads(write_checkpoint(path).read_bytes()[8:])
    return written | changes | LARGE


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "large.safetensors"
    return write_header(path, json.dumps(header_of(path)).encode())


def test_small_and_large_files_have_the_cards_that_they_have(tmp_path: Path, large: Path) -> None:
    assert large.stat().st_size > 2 * LISTED_BYTES
    small = write_checkpoint(tmp_path / "small.safetensors")
    for path in (large, small, PACKAGED / "checkpoints/ct_abdomen.safetensors"):
        assert listed_card(path) == read_card(path)


def test_of_a_large_header_its_beginning_alone_is_read(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = read_card(large)
    spoilt = bytearray(large.read_bytes())
    spoilt[LISTED_BYTES + 8:] = b"[" * (len(spoilt) - LISTED_BYTES - 8)
    large.write_bytes(spoilt)
    monkeypatch.setattr(module, "read_card", lambda path: pytest.fail("the whole header was read"))
    assert listed_card(large) == card


@pytest.mark.parametrize(("metadata", "reason"), [
    (None, "carries no SAMora card in the first"), ({}, "carries no SAMora card in the first"),
    ({METADATA_KEY: "["}, "cannot be read"), ({METADATA_KEY: "[]"}, "is no table"),
    ({METADATA_KEY: "[" * 20_000}, "nested"), ({METADATA_KEY: '{"a": 1, "a": 2}'}, "twice"),
    ({METADATA_KEY: " " * LISTED_BYTES}, "carries no SAMora card in the first"),
    ({METADATA_KEY: 1}, "carries no SAMora card in the first"), ([], "carries no SAMora card in the first"),
    ({"other": '"\\\\"', METADATA_KEY: '{"format_version": 99}'}, "format version 99")])
def test_a_card_that_is_none_is_a_sentence(tmp_path: Path, metadata: Any, reason: str) -> None:
    path = tmp_path / "a.safetensors"
    header = {"__metadata__": metadata} if metadata is not None else {}
    write_header(path, json.dumps(header | LARGE).encode())
    assert reason in refusal(lambda: listed_card(path))


@pytest.mark.parametrize("header", [b'{"__metadata__":{' + b" " * 200_000, b'{"__metadata__":{"' + b"\\" * 200_001,
                                    b'{"__metadata__":{' + b'"":"",' * 40_000,
                                    b'{"__metadata__":{"a":"' + b"\\u" * 199_999])
def test_a_header_that_never_ends_is_given_up_at_once(tmp_path: Path, header: bytes) -> None:
    path = write_header(tmp_path / "a.safetensors", header)
    assert "carries no SAMora card in the first" in refusal(lambda: listed_card(path))


@pytest.mark.parametrize("content", [b"", b"\x01", b"\xff" * 100, struct.pack("<Q", 10) + b"{}"])
def test_what_is_no_safetensors_file_is_told_as_ever(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert refusal(lambda: listed_card(path)) == refusal(lambda: read_card(path))


def test_a_header_that_no_reader_takes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 1 << 30) + b'{"__metadata__":{}}')
    os.truncate(path, (1 << 30) + 8)  # of which the disk holds nothing
    assert refusal(lambda: listed_card(path)) == refusal(lambda: read_card(path))


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_nothing_but_files_is_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.safetensors"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    assert refusal(lambda: listed_card(path)) == f"'{path}' is no file; delete it."
