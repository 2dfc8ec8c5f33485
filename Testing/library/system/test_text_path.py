"""Names that are bytes and no text: a path by which a library of UTF-8 alone finds the same file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.system.text_path import is_text, text_path
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume, stored_bytes, write_volume

ODD = os.fsdecode(b"M\xfcller")  # Latin-1
IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
VOLUME = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), IDENTITY)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")


def test_what_is_text() -> None:
    assert is_text("ct.nii.gz") and is_text("Müller") and is_text(Path("/患者/ct"))
    assert not is_text(ODD) and not is_text(Path("/a", ODD, "ct.nrrd"))


def test_what_a_file_system_of_other_letters_writes_otherwise_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsencode", lambda path: str(path).encode("latin-1"))
    assert is_text("Muller") and not is_text("Müller")


def test_a_path_that_is_text_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ct.nrrd").write_bytes(b"x")
    for path in (tmp_path / "ct.nrrd", tmp_path, tmp_path / "none.nrrd"):
        with text_path(path) as found:
            assert found is path


@pytest.mark.parametrize("name", [f"{ODD}/ct.nii.gz", f"{ODD}.nii.gz", f"{ODD}.1.{ODD}.nii.gz", f"{ODD}/{ODD}.NII.GZ"])
def test_a_file_is_found_by_text_with_its_ending(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"voxels")
    with text_path(path) as found:
        assert is_text(found) and found.read_bytes() == b"voxels"
        assert found.name.lower().endswith(".nii.gz")
    assert path.read_bytes() == b"voxels" and not found.exists() and not found.is_symlink()


def test_a_new_file_can_be_written_below_an_odd_folder(tmp_path: Path) -> None:
    (tmp_path / ODD).mkdir()
    with text_path(tmp_path / ODD / "new.txt") as found:
        assert is_text(found)
        found.write_text("written", encoding="utf-8")
    assert (tmp_path / ODD / "new.txt").read_text(encoding="utf-8") == "written"


@pytest.mark.parametrize("folder", ["series", ODD])
def test_a_folder_lists_all_of_its_files(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    for name in ("1.dcm", f"{ODD}.dcm", f"{ODD}"):
        (tmp_path / folder / name).write_text(name, encoding="utf-8", errors="surrogateescape")
    with text_path(tmp_path / folder) as found:
        assert all(is_text(path) for path in (found, *found.iterdir()))
        texts = sorted(path.read_bytes() for path in found.iterdir())
    assert texts == sorted([b"1.dcm", b"M\xfcller.dcm", b"M\xfcller"])
    assert len(list((tmp_path / folder).iterdir())) == 3


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"])
@pytest.mark.parametrize("place", [f"{ODD}/ct", ODD])
def test_volumes_are_written_and_read_there(tmp_path: Path, place: str, ending: str) -> None:
    path = tmp_path / f"{place}{ending}"
    write_volume(VOLUME, path)
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    assert np.array_equal(read_volume(path).array, VOLUME.array)
    assert stored_bytes(path) == VOLUME.array.nbytes


@pytest.mark.parametrize(("header", "data"), [(f"{ODD}/ct.mhd", "ct.raw"), (f"{ODD}.mhd", f"{ODD}.raw"),
                                              (f"{ODD}.nhdr", "ct.raw")])
def test_a_header_finds_its_voxels(tmp_path: Path, header: str, data: str) -> None:
    path = tmp_path / header
    path.parent.mkdir(exist_ok=True)
    (path.parent / data).write_bytes(VOLUME.array.tobytes())
    lines = ["ObjectType = Image", "NDims = 3", "DimSize = 5 4 3", "ElementType = MET_SHORT",
             "ElementSpacing = 1 2 3", f"ElementDataFile = {data}"]
    if path.suffix == ".nhdr":
        lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 5 4 3", "spacings: 1 2 3", "endian: little",
                 "encoding: raw", f"data file: {data}", ""]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="surrogateescape")
    assert np.array_equal(read_volume(path).array, VOLUME.array)
