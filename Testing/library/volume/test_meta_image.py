"""MetaImage: what ITK makes of a file is made of it here, and what its own reader stumbled over is refused."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.volume.io import read_volume
from SAMoraLib.volume.meta_image import KINDS, grid, stored_as
from SAMoraLib.volume.text_header import TextHeader
from Testing.library.volume.test_nrrd import TEXT, same_as_itk
from Testing.library.volume.test_text_header import VOXELS, meta
from Testing.refusals import refusal

OBLIQUE = "0.6 0.8 0 -0.8 0.6 0 0 0 1"
PACKED = zlib.compress(VOXELS.tobytes())


def holding(path: Path, data: bytes, **fields: str | None) -> Path:
    """A MetaImage with other bytes behind its header."""
    header = meta(path, **fields).read_bytes().partition(b"LOCAL\n")[0]
    path.write_bytes(header + b"LOCAL\n" + data)
    return path


@pytest.mark.parametrize("fields", [
    {}, {"TransformMatrix": OBLIQUE}, {"TransformMatrix": None, "Rotation": OBLIQUE},
    {"TransformMatrix": None, "Orientation": OBLIQUE}, {"Offset": None}, {"Offset": None, "Position": "1 2 3"},
    {"Offset": None, "Origin": "1 2 3"}, {"ElementNumberOfChannels": "1"}, {"BinaryData": "True"},
    {"CenterOfRotation": "1 2 3", "TransformMatrix": OBLIQUE}, {"ElementSpacing": None, "ElementSize": "2 3 5"},
    {"NDims": "4", "DimSize": "5 4 3 1", "TransformMatrix": "1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1", "Offset": "1 2 3 0",
     "ElementSpacing": "2 3 5 1"}])
def test_every_way_to_say_a_grid_is_itks(tmp_path: Path, fields: dict[str, str | None]) -> None:
    same_as_itk(meta(tmp_path / "v.mha", **fields))


@pytest.mark.parametrize("name", KINDS)
def test_every_name_of_a_type_is_itks(tmp_path: Path, name: str) -> None:
    path = holding(tmp_path / "v.mha", VOXELS.astype(KINDS[name]).tobytes())
    path.write_bytes(path.read_bytes().replace(b"MET_SHORT", name.upper().encode()))
    same_as_itk(path)


@pytest.mark.parametrize(("data", "fields"), [
    (VOXELS.astype(">i2").tobytes(), {"BinaryDataByteOrderMSB": "True"}),
    (VOXELS.astype(">i2").tobytes(), {"ElementByteOrderMSB": "True"}),
    (PACKED, {"BinaryData": "True", "CompressedData": "True", "CompressedDataSize": str(len(PACKED))})])
def test_every_way_to_store_voxels_is_itks(tmp_path: Path, data: bytes, fields: dict[str, str]) -> None:
    same_as_itk(holding(tmp_path / "v.mha", data, **fields))


@pytest.mark.parametrize(("data", "fields"), [
    (TEXT, {"BinaryData": "False"}), (PACKED, {"CompressedData": "True"}),
    (gzip.compress(VOXELS.tobytes(), mtime=0), {"CompressedData": "True", "CompressedDataSize": "9" * 19})])
def test_what_itk_misreads_is_read(tmp_path: Path, data: bytes, fields: dict[str, str]) -> None:
    path = holding(tmp_path / "v.mha", data, **fields)
    assert np.array_equal(read_volume(path).array, VOXELS)


def test_packed_voxels_may_be_the_last_of_what_is_unpacked(tmp_path: Path) -> None:
    path = meta(tmp_path / "v.mha", BinaryData="True", CompressedData="True", HeaderSize="-1")
    path.write_bytes(path.read_bytes()[:-VOXELS.nbytes] + zlib.compress(b"head" + VOXELS.tobytes()))
    assert np.array_equal(read_volume(path).array, VOXELS)


@pytest.mark.parametrize("sign", ["=", ": ", "  =  "])
def test_every_sign_between_name_and_value_is_itks(tmp_path: Path, sign: str) -> None:
    path = meta(tmp_path / "v.mha")
    path.write_bytes(path.read_bytes().replace(b" = ", sign.encode()))
    same_as_itk(path)


@pytest.mark.parametrize(("where", "fields"), [
    ("v.raw", {"HeaderSize": "4"}), ("v.raw", {"HeaderSize": "-1"}), ("s%02d.raw 1 3 1", {}),
    ("LIST\ns01.raw\ns02.raw\ns03.raw", {}), ("LIST 2\ns01.raw\ns02.raw\ns03.raw", {})])
def test_voxels_beside_the_header_are_found_as_itk_finds_them(tmp_path: Path, where: str, fields: dict[str, str]
                                                              ) -> None:
    (tmp_path / "v.raw").write_bytes(b"head" + VOXELS.tobytes())
    for number, plane in enumerate(VOXELS, start=1):
        (tmp_path / f"s{number:02}.raw").write_bytes(plane.tobytes())
    header = meta(tmp_path / "v.mhd", **fields).read_bytes().partition(b"LOCAL\n")[0]
    (tmp_path / "v.mhd").write_bytes(header + where.encode() + b"\n")
    same_as_itk(tmp_path / "v.mhd")


@pytest.mark.parametrize("fields", [
    {"NDims": "-3"}, {"NDims": "100"}, {"NDims": None}, {"DimSize": "5 4"}, {"DimSize": "5 4 -3"},
    {"DimSize": "0 4 3"}, {"DimSize": "5 4 " + "9" * 30}, {"DimSize": "99999999 99999999 99999999"}, {"DimSize": None},
    {"ElementNumberOfChannels": "0"}, {"ElementNumberOfChannels": "1000000"}, {"Offset": "1 2"}, {"HeaderSize": "-2"},
    {"TransformMatrix": "1 0 0"}, {"TransformMatrix": "2 0 0 0 2 0 0 0 2"}, {"TransformMatrix": "0 " * 9},
    {"TransformMatrix": "nan " * 9}, {"ObjectType": "Tube"}, {"Offset": "x" * 100_000}, {"Offset": "\x1b[2J"}])
def test_what_a_header_cannot_say_is_refused_in_a_sentence(tmp_path: Path, fields: dict[str, str | None]) -> None:
    path = meta(tmp_path / "v.mha", **fields)
    message = refusal(lambda: read_volume(path, lambda _: None))
    assert "'v.mha'" in message and len(message) < 300


def test_a_type_that_is_none_is_refused(tmp_path: Path) -> None:
    path = meta(tmp_path / "v.mha")
    path.write_bytes(path.read_bytes().replace(b"MET_SHORT", b"MET_OTHER"))
    assert "values of type 'met_other'" in refusal(lambda: read_volume(path))


PLAIN = {"ndims": "3", "dimsize": "5 4 3", "elementtype": "MET_SHORT", "elementspacing": "2 3 5",
         "elementdatafile": "v.raw"}
FOUR = PLAIN | {"ndims": "4", "dimsize": "5 4 3 1", "elementspacing": "2 3 5 7"}


def header(fields: dict[str, str]) -> TextHeader:
    return TextHeader(Path("v.mhd"), fields, "", 99)


@pytest.mark.parametrize(("fields", "steps", "origin"), [
    (PLAIN, np.diag([2, 3, 5]), [0, 0, 0]),
    (FOUR | {"position": "7 8 9 6"}, np.diag([2, 3, 5]), [7, 8, 9]),
    (FOUR | {"orientation": "0 1 0 0 -1 0 0 0 0 0 1 0 0 0 0 1"}, [[0, -3, 0], [2, 0, 0], [0, 0, 5]], [0, 0, 0]),
    (PLAIN | {"rotation": "1 0 0 0.6 0.8 0 0 0 1"}, [[2, 1.8, 0], [0, 2.4, 0], [0, 0, 5]], [0, 0, 0]),
    (PLAIN | {"rotation": "1.009 0 0 0 0.991 0 0 0 1"}, np.diag([2.018, 2.973, 5]), [0, 0, 0])],
    ids=["nothing", "four", "turned", "rows", "rounded"])
def test_a_row_of_the_rotation_is_an_axis(fields: dict[str, str], steps: list[list[float]], origin: list[float]
                                          ) -> None:
    found = grid(stored_as(header(fields)), header(fields))
    assert np.allclose(found[0], steps) and found[1].tolist() == origin and found[2] == [5, 4, 3]


@pytest.mark.parametrize("rotation", ["1 0.6 0 0 0.8 0 0 0 1", "1.011 0 0 0 1 0 0 0 1", "1 0 0 0 0.989 0 0 0 1"])
def test_a_row_is_of_length_1(rotation: str) -> None:
    fields = PLAIN | {"rotation": rotation}
    assert "not of length 1" in refusal(lambda: grid(stored_as(header(fields)), header(fields)))


@pytest.mark.parametrize(("fields", "sizes", "skip"), [
    ({}, [5, 4, 3], 0), ({"headersize": "0"}, [5, 4, 3], 0), ({"headersize": "1"}, [5, 4, 3], 1),
    ({"headersize": "-1"}, [5, 4, 3], -1), ({"elementnumberofchannels": "1"}, [5, 4, 3], 0),
    ({"elementnumberofchannels": "2"}, [2, 5, 4, 3], 0)])
def test_voxels_are_stored_as_the_fields_say(fields: dict[str, str], sizes: list[int], skip: int) -> None:
    stored = stored_as(header(PLAIN | fields))
    assert (stored.sizes, stored.skip, stored.lines, stored.header_end) == (sizes, skip, 0, None)
    assert (stored.kind, stored.encoding) == (np.dtype("<i2"), "raw")
