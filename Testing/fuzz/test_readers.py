"""What must not be accepted is seen: a check that says nothing of it would let all through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.card import read_card
from SAMoraLib.volume import Volume
from SAMoraSlicer.models import Model
from Testing.fuzz import readers, seeds
from Testing.fuzz.mutate import Mutant, write_files

FILES = seeds.nrrd()[0]
UNIT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
GOOD = Volume(seeds.HU, seeds.SPACING, (0.0, 0.0, 0.0), UNIT)
NAN = float("nan")


@pytest.mark.parametrize(("volume", "said"), [
    (replace(GOOD, spacing=(1.0, NAN, 1.0)), "voxels of"), (replace(GOOD, spacing=(1.0, 0.0, 1.0)), "voxels of"),
    (replace(GOOD, origin=(0.0, float("inf"), 0.0)), "voxels of"),
    (replace(GOOD, direction=(0.5, *UNIT[1:])), "axes"), (replace(GOOD, direction=(NAN, *UNIT[1:])), "axes"),
    (replace(GOOD, array=seeds.HU.astype(complex)), "an array"), (replace(GOOD, array=seeds.HU[:0]), "an array"),
    (replace(GOOD, array=np.full(seeds.HU.shape, NAN)), "voxels that are NaN"),
    (replace(GOOD, array=seeds.HU[1:]), "voxels (3, 5, 6) of a header that says (4, 5, 6)"),
    (replace(GOOD, array=seeds.HU + 1), "other voxels after cut_short"), (GOOD, ""),
])
def test_wrong_volumes(volume: Volume, said: str, tmp_path: Path) -> None:
    wrong = readers.wrong_volume(Mutant(FILES, FILES, ("cut_short",)), tmp_path, volume)
    assert wrong.startswith(said) and bool(wrong) == bool(said)


def test_voxels_may_differ_where_they_were_changed(tmp_path: Path) -> None:
    other = replace(GOOD, array=seeds.HU + 1)
    for how in (("flip_bits",), ("cut_short", "extend")):
        assert not readers.wrong_volume(Mutant(FILES, FILES, how), tmp_path, other)


@pytest.mark.parametrize("files", [seeds.nifti()[0], seeds.nrrd()[0], seeds.mha()[0], seeds.mhd()[0]])
def test_the_shape_that_headers_state(files: dict[str, bytes]) -> None:
    assert readers._stated_shape(files) == seeds.HU.shape


def test_wrong_cards_and_requests(tmp_path: Path) -> None:
    write_files(seeds.card()[0], tmp_path)
    card = read_card(tmp_path / "model.safetensors")
    mutant = Mutant({}, {}, ())
    assert readers.wrong_card(mutant, tmp_path, card) == ""
    assert "another" in readers.wrong_card(mutant, tmp_path, replace(card, metrics={"classes": (1, 2)}))
    with pytest.raises(ValueError):
        readers.wrong_card(mutant, tmp_path, replace(card, metrics={"dice": NAN}))


@pytest.mark.parametrize("fields", [{"title": 3}, {"organs": (1,)}, {"cpu_seconds": NAN}, {"problem": "a\nb"}])
def test_wrong_entries_of_a_catalogue(fields: dict, tmp_path: Path) -> None:
    good = Model("a", "A")
    assert not readers.wrong_catalogue(Mutant({}, {}, ()), tmp_path, [good])
    assert readers.wrong_catalogue(Mutant({}, {}, ()), tmp_path, [replace(good, **fields)])
