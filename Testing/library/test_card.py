"""Cards: what a checkpoint says of itself, and what is said of a file that says nothing."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.card import FORMAT_VERSION, MAX_HEADER_BYTES, Card, cards_in, is_plain_name, read_card, read_header
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


WRONG = [None, True, 0, -1, 2.5, 10**6, 10**18, 1e300, "", "x" * 99_999, "a\x1b[2Jb", "\u202eb", "a\x00b", [], {}, [[]],
         [None], [10**9] * 9, ["x"] * 99_999, {"x": "y"}, {"name": "../../x", "sha256": "0" * 64}, {"x" * 9999: 1}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a card, tables and lists included; of a list the first entry."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def changed(card: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of a card with another value in one place."""
    copy = json.loads(json.dumps(card))
    *way, last = path
    table = copy
    for key in way:
        table = table[key]
    table[last] = value
    return copy


@pytest.mark.parametrize("row", ["samora", "ma_sam", "samora_2"])
def test_no_value_in_any_place_of_a_card_is_more_than_one_sentence(row: str) -> None:
    card = json.loads(json.dumps(full_card(row).to_json()))
    wrong = 0
    for path in filter(None, places(card)):
        for value in WRONG:
            try:
                found = Card.from_json(changed(card, path, value))
            except ValueError as error:
                assert str(error).isprintable() and str(error).endswith(".") and len(str(error)) < 400, path
                wrong += 1
            else:
                assert Card.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert wrong > 400


@pytest.mark.parametrize(("path", "value"), [
    (("variant", "rank"), 10**6), (("variant", "depth"), 10**6), (("image_size",), 40_000),
    (("variant", "input_scale"), 10**4), (("variant", "encoder_size", "depth"), 10**6),
    (("variant", "encoder_size", "embed_dim"), 10**6), (("variant", "encoder_size", "out_chans"), 10**6),
    (("variant", "encoder_size", "num_heads"), 10**9), (("variant", "encoder_size", "window_size"), 10**6),
    (("variant", "encoder_size", "decoder_mlp_dim"), 10**9), (("variant", "encoder_size", "patch_size"), 0),
    (("variant", "fusion", "width"), 10**6), (("variant", "adapters"), ["image"] * 10**4),
    (("variant", "adapters"), "image"), (("variant", "adapters"), ["patch", "image", "pixel"]),
    (("variant", "encoder_size", "global_attn_indexes"), list(range(10**4))), (("variant", "planes"), ["hw"] * 10**4),
    (("variant", "low_rank_scale"), 1e300), (("labels", "organs", 0, "rgb"), [256, 0, 0]),
    (("labels", "organs", 0, "rgb"), [1, 2]), (("labels", "organs", 0, "rgb"), "red"),
    (("labels", "organs", 1, "name"), "liver"), (("labels", "organs", 0, "name"), "a\nb"),
    (("preprocessing", "high"), 10**400), (("preprocessing", "spacing"), 1e-9), (("preprocessing", "low"), "0"),
    (("preprocessing", "image_size"), 10**6), (("preprocessing", "neighbours"), True),
    (("base", "name"), ".."), (("base", "name"), "a/b"), (("base", "name"), "..\\b"), (("base", "name"), "C:b"),
    (("base", "name"), "/b"), (("base", "name"), ""), (("base", "sha256"), ""), (("base", "sha256"), "A" * 64),
    (("parents", 0, "name"), "a\x1bb"), (("parents", 0), "x"), (("base", "more"), "x"),
    (("parents",), [{"name": "x", "sha256": "0" * 64}] * 99),
    (("kind",), "else"), (("kind",), "teacher"), (("variant",), None), (("name",), "a" * 999), (("licence",), 3),
    (("description",), "\x9b2J"), (("training",), {"a": "\x1b]0;title\x07"}), (("metrics",), [1])])
def test_what_no_checkpoint_has_is_refused_before_anything_is_made_of_it(path: tuple[Any, ...], value: Any) -> None:
    card = json.loads(json.dumps(full_card("samora").to_json()))
    message = refusal(lambda: Card.from_json(changed(card, path, value)))
    assert "card is damaged" in message and message.isprintable() and len(message) < 400


def test_a_model_has_as_many_organs_as_a_label_volume_has_numbers() -> None:
    card = json.loads(json.dumps(full_card("samed").to_json()))
    organs = [card["labels"]["organs"][0] | {"name": f"organ_{number}"} for number in range(256)]
    assert len(Card.from_json(changed(card, ("labels", "organs"), organs[:255])).labels or ()) == 255
    assert "255" in refusal(lambda: Card.from_json(changed(card, ("labels", "organs"), organs)))


def test_weights_from_the_web_are_a_parent_without_a_sha256_and_no_base() -> None:
    card, reference = json.loads(json.dumps(full_card("samed").to_json())), {"name": "timm:vit.mae", "sha256": ""}
    assert Card.from_json(changed(card, ("parents",), [reference])).parents == (reference,)
    assert "card's base is" in refusal(lambda: Card.from_json(changed(card, ("base",), reference)))


def test_percentiles_are_percentiles() -> None:
    card = json.loads(json.dumps(full_card("samed").to_json()))
    how = card["preprocessing"] | {"intensity": "percentile"}
    Card.from_json(changed(card, ("preprocessing",), how | {"low": 0, "high": 100}))
    for low, high in ((-1, 50), (0, 101)):
        changes = how | {"low": low, "high": high}
        damaged = changed(card, ("preprocessing",), changes)
        assert "percentiles" in refusal(lambda damaged=damaged: Card.from_json(damaged))


@pytest.mark.parametrize(("name", "plain"), [
    ("a", True), ("a b.safetensors", True), ("...", True), ("a" * 255, True), ("a" * 256, False), ("", False),
    (".", False), ("..", False), ("a/b", False), ("a\\b", False), ("C:a", False), ("a/", False), ("a\n", False),
    (3, False)])
def test_a_plain_name_is_one_on_every_system(name: Any, plain: bool) -> None:
    assert is_plain_name(name) == plain


def test_slices_may_make_256_tokens_a_side() -> None:
    """Of patches of eight pixels, up to the largest slices."""
    card = json.loads(json.dumps(full_card("samed").to_json()))
    assert Card.from_json(changed(card, ("image_size",), 2048)).image_size == 2048
    assert "make 257 x 257 tokens" in refusal(lambda: Card.from_json(
        changed(card, ("image_size",), 257) | {"variant": card["variant"] | {"input_scale": 8}}))


def test_few_tokens_of_large_slices_are_no_way_round_their_bound() -> None:
    card = json.loads(json.dumps(full_card("samed").to_json()))
    assert "make 512 x 512 tokens" in refusal(lambda: Card.from_json(changed(card, ("image_size",), 512)
        | {"variant": card["variant"] | {"input_scale": 8}}))


@pytest.mark.parametrize("text", ['{"format_version": 1, "format_version": 1}', '{"format_version": NaN}',
                                  '{"format_version": 1e999}', '{"format_version": "\\ud800"}', " " * (1 << 20) + "{}"])
def test_json_that_says_two_things_or_nothing_is_refused(text: str, tmp_path: Path) -> None:
    assert "card is damaged" in refusal_of(write_bare(tmp_path / "m.safetensors", text))


def test_a_header_is_far_shorter_than_the_format_allows(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER_BYTES + 1) + b"{}")
        file.truncate(MAX_HEADER_BYTES + 100)
    assert MAX_HEADER_BYTES < 10**8 / 4 and "is not a safetensors file" in refusal_of(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_nobody_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.safetensors")
    for path in (tmp_path / "m.safetensors", Path("/dev/zero")):
        with pytest.raises(FileNotFoundError):
            read_card(path)
    assert cards_in(tmp_path) == {}


def test_one_damaged_file_hides_no_other(tmp_path: Path) -> None:
    card = full_card("samed")
    write_bare(tmp_path / "good.safetensors", json.dumps(card.to_json()))
    write_bare(tmp_path / "deep.safetensors", "[" * 99_999)
    write_bare(tmp_path / "types.safetensors", json.dumps(card.to_json() | {"name": 3, "variant": [3]}))
    assert cards_in(tmp_path) == {tmp_path / "good.safetensors": card}
