"""Cards: what a checkpoint says of itself, and what is said of a file that says nothing."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.card import FORMAT_VERSION, Card, read_card, read_header
from SAMoraLib.variants import VARIANTS
from Testing.refusals import refusal
from Testing.small import small_card, small_variant, write_bare

REFERENCE = {"name": "base.safetensors", "sha256": "0" * 64}


def full_card(variant: str) -> Card:
    return replace(small_card(small_variant(variant)), base=REFERENCE, parents=(REFERENCE, REFERENCE),
                   training={"steps": 10, "organs": ["liver"]}, metrics={"dice": {"liver": 0.91}},
                   licence="Apache-2.0", description="Größe, 日本語")


def refusal_of(path: Path) -> str:
    return refusal(lambda: read_card(path))


@pytest.mark.parametrize("variant", VARIANTS)
def test_json_round_trip(variant: str, tmp_path: Path) -> None:
    for card in (full_card(variant), small_card(VARIANTS[variant]),
                 Card("expert", "image", VARIANTS[variant], 224)):
        assert read_card(write_bare(tmp_path / "m.safetensors", json.dumps(card.to_json()))) == card


def test_the_header_of_a_file_is_read_without_its_tensors(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)  # the tensor itself is not there
    assert read_header(path)["a"]["shape"] == [2]


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00." * 50, b"not a checkpoint at all " * 20,
                                     struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 2) + b"[]",
                                     struct.pack("<Q", 4) + b"\xff\xfe{}", struct.pack("<Q", 40) + b"{}"],
                         ids=["empty", "zip", "pickle", "text", "huge", "list", "not-utf8", "cut"])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(content)
    assert "export it again" in refusal_of(path)


@pytest.mark.parametrize("lost", [0, 1, 8, 9])
def test_a_header_is_whole_to_its_last_byte(lost: int, tmp_path: Path) -> None:
    """Filled up with spaces, as the format allows: without the last of them it could still be parsed."""
    path, text = tmp_path / "m.safetensors", b'{"a": 1}' + 12 * b" "
    content = struct.pack("<Q", len(text)) + text
    path.write_bytes(content[:len(content) - lost])
    if lost:
        assert "is not a safetensors file, or it is cut short" in refusal_of(path)
    else:
        assert read_header(path) == {"a": 1}


def test_the_smallest_header_is_an_empty_table(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    assert read_header(path) == {}
    path.write_bytes(struct.pack("<Q", 1) + b"3")
    assert "is not a safetensors file" in refusal_of(path)


@pytest.mark.parametrize("header", [{}, {"__metadata__": {}}, {"__metadata__": {"format": "pt"}},
                                    {"__metadata__": 3}, {"__metadata__": {"samora_card": None}}])
def test_a_file_without_card_is_to_be_imported(header: dict[str, Any], tmp_path: Path) -> None:
    path, text = tmp_path / "m.safetensors", json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    assert "carries no SAMora card" in refusal_of(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint '.*gone\.safetensors'"):
        read_card(tmp_path / "gone.safetensors")
    with pytest.raises(FileNotFoundError):
        read_card(tmp_path)


def test_a_newer_format_asks_for_an_update(tmp_path: Path) -> None:
    data = full_card("samed").to_json() | {"format_version": FORMAT_VERSION + 1, "variant": {"unheard": "of"}}
    message = refusal_of(write_bare(tmp_path / "m.safetensors", json.dumps(data)))
    assert f"format version {FORMAT_VERSION + 1}" in message and "update SAMora" in message


@pytest.mark.parametrize("change", [{"variant": None}, {"variant": {"name": "x"}}, {"labels": {"name": "x"}},
                                    {"labels": {"name": "x", "organs": [3]}}, {"preprocessing": {"low": 1}},
                                    {"preprocessing": 7}, {"parents": 5}, {"unheard": "of"},
                                    {"base": "sam.pth"}, {"base": {"sha256": "0"}},
                                    {"base": {"name": 3, "sha256": "0"}}])
def test_a_damaged_card_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    data = full_card("samora").to_json() | change
    assert "card is damaged" in refusal_of(write_bare(tmp_path / "m.safetensors", json.dumps(data)))


@pytest.mark.parametrize("text", ["{", "", "[]", "3", "null"])
def test_a_card_that_is_no_table_is_refused(text: str, tmp_path: Path) -> None:
    refusal_of(write_bare(tmp_path / "m.safetensors", text))


@pytest.mark.parametrize("text", ["[" * 99_999, '{"a":' * 99_999])
def test_what_is_nested_too_deeply_is_refused(text: str, tmp_path: Path) -> None:
    assert "card is damaged" in refusal_of(write_bare(tmp_path / "m.safetensors", text))
    path = tmp_path / "h.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode())
    assert "The header of" in refusal_of(path)
