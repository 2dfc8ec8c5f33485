"""Text headers change, and the voxels behind them stay."""

from __future__ import annotations

from random import Random

import pytest

from Testing.fuzz import seeds, text_headers
from Testing.fuzz.mutate import Change

HEADERS = {"nrrd": (text_headers.change_nrrd, seeds.nrrd()[0]["volume.nrrd"]),
           "mha": (text_headers.change_meta, seeds.mha()[0]["volume.mha"])}


@pytest.mark.parametrize("name", HEADERS)
def test_the_header_changes_and_the_voxels_stay(name: str) -> None:
    change, data = HEADERS[name]
    random = Random(0)
    made = [change(random, data) for _ in range(200)]
    assert len(set(made)) > 180
    assert all(one.endswith(seeds.HU.tobytes()) for one in made)


@pytest.mark.parametrize("name", HEADERS)
def test_values_are_odd_and_fields_twice_or_gone(name: str) -> None:
    change, data = HEADERS[name]
    random = Random(1)
    made = [change(random, data).removesuffix(seeds.HU.tobytes()) for _ in range(400)]
    sizes = b"sizes:" if name == "nrrd" else b"DimSize"
    assert {one.count(sizes) for one in made} >= {0, 1, 2}
    for words in (b"/dev/zero", b"%n", b"nan", b"9223372036854775807", b"../", b"x%05d.raw", b"\r\n"):
        assert any(words in one for one in made), words


@pytest.mark.parametrize("change", [change for change, _ in HEADERS.values()])
def test_what_is_no_header_is_taken(change: Change) -> None:
    assert isinstance(change(Random(0), bytes(100)), bytes)
