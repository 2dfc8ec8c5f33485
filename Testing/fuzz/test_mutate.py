"""Inputs are the same for the same seed, and others for another; every change changes."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random

import pytest

from Testing.fuzz import mutate
from Testing.fuzz.formats import FORMATS

GOOD = {"a.bin": bytes(range(256)) * 4, "b.bin": b"other" * 100}


@pytest.mark.parametrize("name", ["nifti_gz", "dicom_frames", "pth", "run_configuration"])
def test_the_same_seed_gives_the_same_inputs(name: str) -> None:
    kind = FORMATS[name]
    mutants = [kind.mutant(1, number) for number in range(20)]
    assert mutants == [kind.mutant(1, number) for number in range(20)]
    assert len({str(mutant.files) for mutant in mutants}) > 15
    assert mutants != [kind.mutant(2, number) for number in range(20)]


@pytest.mark.parametrize("change", [*mutate.BYTES, mutate.append_bomb], ids=lambda change: change.__name__)
def test_a_change_changes_and_takes_what_is_empty(change: mutate.Change) -> None:
    random = Random(0)
    changed = [change(random, GOOD["a.bin"]) for _ in range(20)]
    assert sum(data != GOOD["a.bin"] for data in changed) > 15
    assert isinstance(change(random, b""), bytes)


def test_a_file_goes_or_has_anothers_content() -> None:
    random = Random(0)
    made = [mutate.exchange_files(random, GOOD) for _ in range(20)]
    assert {len(files) for files in made} == {1, 2}
    assert all(len(set(files.values())) == 1 for files in made)


def test_what_is_packed_is_changed_within() -> None:
    change = mutate.unpacked(mutate.cut_short)
    data = change(Random(1), gzip.compress(GOOD["a.bin"]))
    assert GOOD["a.bin"].startswith(gzip.decompress(data)) and change.__name__ == "cut_short_unpacked"


def test_a_change_that_fits_no_more_becomes_one_of_bits() -> None:
    data, how = mutate.changed(Random(0), mutate.unpacked(mutate.extend), b"no gzip")
    assert data != b"no gzip" and len(data) == 7 and how == "flip_bits"


def test_a_bomb_is_small_and_becomes_large() -> None:
    packed = mutate.packed_zeros()
    assert len(packed) < mutate.ZEROS // 500 and len(gzip.decompress(packed)) == mutate.ZEROS


def test_an_input_is_written_with_its_folders(tmp_path: Path) -> None:
    files = {"run/test/a": b"1", "b": b"2"}
    mutate.Mutant(files, files, ()).write(tmp_path)
    assert (tmp_path / "run/test/a").read_bytes() == b"1" and (tmp_path / "b").read_bytes() == b"2"
