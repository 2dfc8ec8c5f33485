"""NRRD: what ITK makes of a file is made of it here, and what its own reader stumbled over is refused."""

from __future__ import annotations

import bz2
import gzip
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from SAMoraLib.volume.io import read_volume
from SAMoraLib.volume.nrrd import TYPES, grid
from SAMoraLib.volume.text_header import TextHeader
from SAMoraLib.volume.voxel_data import Stored
from Testing.library.volume.test_text_header import VOXELS, nrrd
from Testing.refusals import refusal

OBLIQUE = "(0.6,0.8,0) (-1.6,1.2,0) (0,0,5)"
PLAIN = {"space": None, "space directions": None, "space origin": None, "spacings": "2 3 5"}
TEXT = " ".join(map(str, VOXELS.ravel())).encode()


def holding(path: Path, data: bytes, **fields: str | None) -> Path:
    """A NRRD with other bytes behind its header."""
    header = nrrd(path, **fields).read_bytes().partition(b"\n\n")[0]
    path.write_bytes(header + b"\n\n" + data)
    return path


def same_as_itk(path: Path) -> None:
    image, found = sitk.ReadImage(str(path)), read_volume(path, lambda _: None)
    image = image[(slice(None),) * 3 + (0,) * (image.GetDimension() - 3)]
    expected = sitk.GetArrayFromImage(image)
    assert found.array.dtype == expected.dtype and np.array_equal(found.array, expected)
    for ours, theirs in ((found.spacing, image.GetSpacing()), (found.origin, image.GetOrigin()),
                         (found.direction, image.GetDirection())):
        assert np.allclose(ours, theirs)


@pytest.mark.parametrize("space", ["left-posterior-superior", "RAS", "LAS", "right-anterior-superior", "scanner-xyz",
                                   "left-anterior-superior", "3D-right-handed", "3D-left-handed"])
def test_a_grid_lies_where_itk_puts_it(tmp_path: Path, space: str) -> None:
    same_as_itk(nrrd(tmp_path / "v.nrrd", space=space, space_directions=OBLIQUE))


@pytest.mark.parametrize("fields", [
    PLAIN, PLAIN | {"axis mins": "1 2 3"}, PLAIN | {"axis mins": "1 2 3", "centers": "node node node"},
    PLAIN | {"axis mins": "1 2 3", "centerings": "node node node"},
    PLAIN | {"axis mins": "1 2 3", "centerings": "node cell ???"}, PLAIN | {"axis mins": "nan nan nan"},
    PLAIN | {"axis mins": "nan nan nan", "centerings": "node node node"},
    {"space origin": None}, {"kinds": None}, {"kinds": "space space space"},
    {"dimension": "4", "sizes": "5 4 3 1", "kinds": "domain domain domain list",
     "space directions": "(2,0,0) (0,3,0) (0,0,5) none"},
    {"dimension": "4", "sizes": "1 5 4 3", "kinds": "vector domain domain domain",
     "space directions": "none (2,0,0) (0,3,0) (0,0,5)"},
    PLAIN | {"dimension": "4", "sizes": "5 4 3 1", "kinds": "space space space time", "spacings": "2 3 5 nan"}])
def test_every_way_to_say_a_grid_is_itks(tmp_path: Path, fields: dict[str, str | None]) -> None:
    same_as_itk(nrrd(tmp_path / "v.nrrd", **fields))


@pytest.mark.parametrize(("sizes", "fields", "steps", "origin"), [
    ((5, 4, 3), {}, (1, 1, 1), (0, 0, 0)), ((5, 4, 3), {"spacings": "2 3"}, (1, 1, 1), (0, 0, 0)),
    ((5, 4, 3), {"spacings": "2 3 5", "axismins": "7 8"}, (2, 3, 5), (0, 0, 0)),
    ((1, 5, 4, 3), {"kinds": "list space space space", "spacings": "nan 2 3 5", "axismins": "nan 7 8 9",
                    "centers": "??? node cell node"}, (2, 3, 5), (7, 9.5, 9)),
    ((5, 4, 3, 1), {"kinds": "space space space time", "spacings": "2 3 5 nan", "axismins": "7 8 9 nan",
                    "centers": "cell node cell node"}, (2, 3, 5), (8, 8, 11.5)),
    ((5, 4, 3, 1), {"kinds": "space space space time", "spacedirections": "(2,0,0) (0,3,0) (0,0,5) none"}, (2, 3, 5),
     (0, 0, 0)),
    ((5, 4, 3), {"space": "left-posterior-inferior", "spacings": "2 3 5", "spaceorigin": "(7,8,9)"}, (2, 3, -5),
     (7, 8, -9)),
    ((5, 4, 3), {"space": "rai", "spacings": "2 3 5", "spaceorigin": "(7,8,9)"}, (-2, -3, -5), (-7, -8, -9)),
    ((5, 4, 3, 1), {"space": "lpst", "spacedirections": "(2,0,0,0) (0,3,0,0) (0,0,5,0) (0,0,0,6)",
                    "spaceorigin": "(7,8,9,6)"}, (2, 3, 5), (7, 8, 9))],
    ids=["nothing", "two-spacings", "two-mins", "vector-first", "time-last", "time-none", "inferior", "letters",
         "four-numbers"])
def test_a_grid_is_what_the_fields_say(sizes: tuple[int, ...], fields: dict[str, str], steps: tuple[int, ...],
                                       origin: tuple[float, ...]) -> None:
    stored = Stored(sizes, np.dtype("<i2"), "raw", None)
    found = grid(stored, TextHeader(Path("v.nrrd"), fields, "NRRD0004", 0))
    assert np.array_equal(found[0], np.diag(steps)) and found[1].tolist() == list(origin) and found[2] == [5, 4, 3]


def test_an_origin_that_is_half_said_is_not_guessed(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd", **PLAIN | {"axis mins": "1 nan 3"})
    assert "does not say where it lies" in refusal(lambda: read_volume(path, lambda _: None))


@pytest.mark.parametrize("name", [name for names in TYPES.values() for name in names])
def test_every_name_of_a_type_is_itks(tmp_path: Path, name: str) -> None:
    kind = next(kind for kind, names in TYPES.items() if name in names)
    same_as_itk(holding(tmp_path / "v.nrrd", VOXELS.astype(kind).tobytes(), type=name))


packed = partial(gzip.compress, mtime=0)  # tests run in two processes have the same names


@pytest.mark.parametrize(("data", "fields"), [
    (packed(VOXELS.tobytes()), {"encoding": "gzip"}), (packed(VOXELS.tobytes()), {"encoding": "GZ"}),
    (packed(VOXELS.tobytes()[:50]) + packed(VOXELS.tobytes()[50:]), {"encoding": "gzip"}),
    (packed(b"1234" + VOXELS.tobytes()), {"encoding": "gzip", "byte skip": "4"}),
    (b"12\n34\n" + packed(VOXELS.tobytes()), {"encoding": "gzip", "line skip": "2"}),
    (packed(b"12345" + VOXELS.tobytes()), {"encoding": "gzip", "byte skip": "-1"}),
    (packed(bytes(5 << 20) + VOXELS.tobytes()), {"encoding": "gzip", "byte skip": "-1"}),
    (VOXELS.tobytes().hex().encode(), {"encoding": "hex"}),
    (VOXELS.astype(">i2").tobytes().hex(" ", 3).upper().encode() + b"\n", {"encoding": "hex", "endian": "big"}),
    (b"1234\n" + VOXELS.tobytes().hex("\n", 20).encode(), {"encoding": "hex", "line skip": "1"}),
    (b"1234" + VOXELS.tobytes().hex().encode(), {"encoding": "hex", "byte skip": "4"}),
    (TEXT.replace(b" ", b", "), {"encoding": "ascii"}), (b"123 " + TEXT, {"encoding": "ascii", "byte skip": "4"}),
    (TEXT, {"encoding": "ascii"}), (TEXT, {"encoding": "text", "type": "float"}),
    (VOXELS.astype(">i2").tobytes(), {"endian": "big"}), (b"1234" + VOXELS.tobytes(), {"byte skip": "4"}),
    (b"12345" + VOXELS.tobytes(), {"byte skip": "-1"}), (b"1\n2\n" + VOXELS.tobytes(), {"line skip": "2"}),
    (VOXELS.tobytes() + b"what follows", {})])
def test_every_way_to_store_voxels_is_itks(tmp_path: Path, data: bytes, fields: dict[str, str]) -> None:
    same_as_itk(holding(tmp_path / "v.nrrd", data, **fields))


@pytest.mark.parametrize("where", ["v.raw", "./v.raw", "s%02d.raw 1 3 1", "s%02d.raw 1 3 1 2", "s%02d.raw 3 1 -1",
                                   "LIST\ns01.raw\ns02.raw\ns03.raw", "LIST 2\ns01.raw\ns02.raw\ns03.raw"])
def test_voxels_beside_the_header_are_found_as_itk_finds_them(tmp_path: Path, where: str) -> None:
    (tmp_path / "v.raw").write_bytes(VOXELS.tobytes())
    for number, plane in enumerate(VOXELS, start=1):
        (tmp_path / f"s{number:02}.raw").write_bytes(plane.tobytes())
    header = nrrd(tmp_path / "v.nhdr").read_bytes().partition(b"\n\n")[0]
    (tmp_path / "v.nhdr").write_bytes(header + f"\ndata file: {where}\n".encode())
    same_as_itk(tmp_path / "v.nhdr")


def test_commas_alone_separate_and_are_no_decimals(tmp_path: Path) -> None:
    path = holding(tmp_path / "v.nrrd", TEXT.replace(b" ", b","), encoding="ascii")
    assert np.array_equal(read_volume(path).array, VOXELS)
    path = holding(tmp_path / "w.nrrd", TEXT.replace(b" ", b",5 "), encoding="ascii", type="float")
    assert "damaged" in refusal(lambda: read_volume(path))


def test_bzip2_is_read(tmp_path: Path) -> None:
    for skip in "0", "-1":
        data = bz2.compress(VOXELS.tobytes())
        path = holding(tmp_path / f"v{skip}.nrrd", data, encoding="bzip2", **{"byte skip": skip})
        assert np.array_equal(read_volume(path).array, VOXELS)


@pytest.mark.parametrize("fields", [
    {"dimension": "-1"}, {"dimension": "17"}, {"dimension": "999999999999"}, {"dimension": "3 3"}, {"sizes": "5 4"},
    {"sizes": "5 4 -3"}, {"sizes": "0 4 3"}, {"sizes": "5 4 3 " * 9}, {"sizes": "nan 4 3"}, {"sizes": None},
    {"encoding": "hex"}, {"encoding": "hex", "byte skip": "-1"}, {"encoding": "zrl"}, {"encoding": None},
    {"endian": None}, {"endian": "middle"}, {"space": "outer"},
    {"space directions": "(2,0,0) (0,3,0) (0,0,5,0,0)"},
    {"kinds": "domain"}, {"space directions": "(2,0,0) (0,3,0)"}, {"space directions": "(2,0,0) (0,3,0) (0,5)"},
    {"space origin": "(1,2)"}, {"byte skip": "-2"}, {"byte skip": "x"}, {"line skip": "-1"},
    {"byte skip": "9" * 40}, {"sizes": "99999999 99999999 99999999"}, {"type": "block"}, {"type": "%s%n"},
    {"type": "x" * 100_000}, {"dimension": "4", "sizes": "1000000 5 4 3", "kinds": "vector domain domain domain",
                              "space directions": "none (2,0,0) (0,3,0) (0,0,5)"}])
def test_what_a_header_cannot_say_is_refused_in_a_sentence(tmp_path: Path, fields: dict[str, str | None]) -> None:
    path = nrrd(tmp_path / "v.nrrd", **fields)
    message = refusal(lambda: read_volume(path, lambda _: None))
    assert "'v.nrrd'" in message and len(message) < 300


def test_a_field_that_is_said_twice_is_refused(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd")
    path.write_bytes(path.read_bytes().replace(b"\n\n", b"\nsizes: 3 4 5\n\n", 1))
    assert "'5 4 3' and '3 4 5' for sizes" in refusal(lambda: read_volume(path))


def test_keys_of_other_programs_mean_nothing(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd")
    keys = b"\nDICOM:1:=a\nDICOM:2:=b\nsizes:=1 2 3\ncontent: x\ncontent: y\nkey:=type: float\n\n"
    path.write_bytes(path.read_bytes().replace(b"\n\n", keys, 1))
    assert np.array_equal(read_volume(path).array, VOXELS)


def test_a_file_that_is_no_nrrd_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.nrrd").write_text("\n\nsizes: 1", encoding="utf-8")
    assert "not a NRRD file" in refusal(lambda: read_volume(tmp_path / "v.nrrd"))


@pytest.mark.timeout(30)
def test_lines_that_are_not_there_are_not_skipped_for_ever(tmp_path: Path) -> None:
    path = holding(tmp_path / "v.nrrd", VOXELS.tobytes(), **{"line skip": "4294967295", "encoding": "gzip"})
    assert "'v.nrrd'" in refusal(lambda: read_volume(path))
