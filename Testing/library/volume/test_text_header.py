"""NRRD and MetaImage: size, unit and orientation are said, or refused or told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.volume import Volume, text_header
from SAMoraLib.volume.io import read_volume
from SAMoraLib.volume.text_header import (
    TextHeader,
    millimetres,
    named_files,
    one_volume,
    read_fields,
    read_header,
    refuse_value,
    voxel_files,
    whole,
)
from Testing.refusals import refusal

VOXELS = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
PLACE = {"space": "left-posterior-superior", "space directions": "(2,0,0) (0,3,0) (0,0,5)",
         "space origin": "(10,20,30)", "kinds": "domain domain domain"}
META_PLACE = {"TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "10 20 30", "ElementSpacing": "2 3 5"}


def nrrd(path: Path, **fields: str | None) -> Path:
    """A NRRD; a field of None is left out, and "_" in a name stands for a blank."""
    changed = {name.replace("_", " "): value for name, value in fields.items()}
    lines = {"type": "short", "dimension": "3", "sizes": "5 4 3", "endian": "little", "encoding": "raw"}
    first = {name: value for name, value in changed.items() if name == "space dimension"}  # what is said in it follows
    lines |= first | PLACE | changed
    text = "\n".join(f"{name}: {value}" for name, value in lines.items() if value is not None)
    path.write_bytes(f"NRRD0004\n# a comment: spacings\n{text}\nkey:=space units\n\n".encode() + VOXELS.tobytes())
    return path


def meta(path: Path, **fields: str | None) -> Path:
    lines = {"ObjectType": "Image", "NDims": "3", "DimSize": "5 4 3"} | META_PLACE | fields
    text = "\n".join(f"{name} = {value}" for name, value in lines.items() if value is not None)
    path.write_bytes(f"{text}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n".encode() + VOXELS.tobytes())
    return path


def told(path: Path) -> tuple[Volume, list[str]]:
    messages: list[str] = []
    return read_volume(path, messages.append), messages


def test_a_plain_file_is_read_without_a_word(tmp_path: Path) -> None:
    for path in (nrrd(tmp_path / "v.nrrd"), meta(tmp_path / "v.mha")):
        found, messages = told(path)
        assert (found.spacing, found.origin, messages) == ((2, 3, 5), (10, 20, 30), [])
        assert np.array_equal(found.array, VOXELS)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("um", 0.001), ("cm", 10), ("m", 1000), ("micron", 0.001),
                                              ("µm", 0.001), ("Microns", 0.001), ("micrometres", 0.001),
                                              ("millimeters", 1), ("", 1), ("???", 1)])
def test_lengths_have_a_unit(tmp_path: Path, unit: str, factor: float) -> None:
    directions = " ".join(f"({','.join(map(repr, row))})" for row in (np.diag([2.0, 3, 5]) / factor).tolist())
    origin = f"({10 / factor!r},{20 / factor!r},{30 / factor!r})"
    path = nrrd(tmp_path / "v.nrrd", space_units=" ".join([f'"{unit}"'] * 3), space_directions=directions,
                space_origin=origin)
    path.write_bytes(path.read_bytes().replace("µ".encode(), "µ".encode("latin-1")))
    found, messages = told(path)
    assert found.spacing == pytest.approx((2, 3, 5)) and found.origin == pytest.approx((10, 20, 30)) and not messages


def test_a_unit_by_axis_counts_too(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd", space_directions=None, space=None, space_origin=None, spacings="2000 3000 5000",
                units='"um" "um" "um"')
    assert told(path)[0].spacing == pytest.approx((2, 3, 5))
    path = meta(tmp_path / "v.mha", ElementSpacing="2000 3000 5000", DistanceUnits="um")
    assert told(path)[0].spacing == pytest.approx((2, 3, 5))


@pytest.mark.parametrize(("units", "message"), [('"furlong" "furlong" "furlong"', "'furlong', which is not known"),
                                                ('"ms" "ms" "ms"', "'ms', which is not known"),
                                                ('"mm" "mm" "um"', "several units (mm, um)")])
def test_other_units_are_refused(tmp_path: Path, units: str, message: str) -> None:
    path = nrrd(tmp_path / "v.nrrd", space_units=units)
    assert message in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("fields", [
    {"space directions": None}, {"space directions": None, "spacings": "2 3"},
    {"space directions": None, "spacings": "2 nan 5"}, {"space directions": None, "spacings": "nan nan nan"},
    {"space directions": "(2,0,0) none (0,0,5)"}, {"space directions": "(2,0,0) (0,nan,0) (0,0,5)"}])
def test_a_nrrd_without_a_voxel_size_is_refused(tmp_path: Path, fields: dict[str, str | None]) -> None:
    path = nrrd(tmp_path / "v.nrrd", **fields)
    assert "how large its voxels are" in refusal(lambda: millimetres(read_header(path), lambda _: None))


@pytest.mark.parametrize("spacing", [None, "2 3", "2 3 nan", "2 3 0", "a b c"])
def test_a_metaimage_without_a_voxel_size_is_refused(tmp_path: Path, spacing: str | None) -> None:
    path = meta(tmp_path / "v.mha", ElementSpacing=spacing)
    assert "how large its voxels are" in refusal(lambda: read_volume(path))


def test_voxels_may_be_smaller_than_a_millimetre(tmp_path: Path) -> None:
    assert told(meta(tmp_path / "v.mha", ElementSpacing="0.5 0.25 0.75"))[0].spacing == (0.5, 0.25, 0.75)
    path = nrrd(tmp_path / "v.nrrd", space_directions="(0.5,0,0) (0,0.25,0) (0,0,0.75)")
    assert told(path)[0].spacing == (0.5, 0.25, 0.75)


def test_the_size_of_an_element_is_one(tmp_path: Path) -> None:
    assert told(meta(tmp_path / "v.mha", ElementSpacing=None, ElementSize="2 3 5"))[0].spacing == (2, 3, 5)


def test_an_image_of_two_dimensions_is_refused(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd", dimension="2", sizes="20 3", space=None, space_directions=None, space_origin=None,
                kinds=None, spacings="2 3")
    assert "2 dimensions, and nothing says how thick" in refusal(lambda: read_volume(path))
    path = meta(tmp_path / "v.mha", NDims="2", DimSize="20 3", ElementSpacing="2 3", TransformMatrix="1 0 0 1",
                Offset="0 0")
    assert "2 dimensions, and nothing says how thick" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("make", [
    lambda folder: nrrd(folder / "v.nrrd", space=None, **{"space directions": None, "space origin": None},
                        spacings="2 3 5"),
    lambda folder: nrrd(folder / "v.nrrd", space=None, **{"space dimension": "3"}),
    lambda folder: nrrd(folder / "v.nrrd", space="scanner-xyz"),
    lambda folder: meta(folder / "v.mha", TransformMatrix=None)], ids=["spacings", "dimension", "scanner", "meta"])
def test_an_orientation_that_is_not_said_is_told(tmp_path: Path, make) -> None:
    found, messages = told(make(tmp_path))
    assert found.spacing == (2, 3, 5) and len(messages) == 1 and "left and right may be exchanged" in messages[0]


@pytest.mark.parametrize("space", ["right-anterior-superior", "RAS", "LPS", "left-anterior-superior"])
def test_other_names_of_the_patients_axes_are_known(tmp_path: Path, space: str) -> None:
    assert told(nrrd(tmp_path / "v.nrrd", space=space))[1] == []


def test_fields_end_where_the_voxels_begin(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "v.nrrd")
    path.write_bytes(path.read_bytes() + b"\nspace units: x\n")
    fields = read_fields(path)
    assert "spaceunits" not in fields and fields["sizes"] == "5 4 3" and "key" not in fields
    path = meta(tmp_path / "v.mha")
    path.write_bytes(path.read_bytes() + b"\nDistanceUnits = x\n")
    assert "distanceunits" not in read_fields(path)


@pytest.mark.parametrize(("name", "line", "files"), [
    ("a.nhdr", "data file: a.raw.gz", ["a.raw.gz"]), ("a.nhdr", "datafile: sub/with blank.raw", ["sub/with blank.raw"]),
    ("a.nhdr", "data file: s.%03d.raw 1 5 2", ["s.001.raw", "s.003.raw", "s.005.raw"]),
    ("a.nhdr", "data file: s%d.raw 9 10 1 2", ["s9.raw", "s10.raw"]),
    ("a.nhdr", "data file: s%d.raw 9 10 1 x", ["s9.raw", "s10.raw"]),
    ("a.nhdr", "data file: s%d.raw 1 x", ["s%d.raw 1 x"]),
    ("a.nhdr", "data file: LIST\none.raw\ntwo.raw\n", ["one.raw", "two.raw"]), ("a.nrrd", "encoding: raw", []),
    ("a.mhd", "ElementDataFile = a.zraw", ["a.zraw"]), ("a.mhd", "ElementDataFile = LIST 2D\n1.raw\n2.raw",
                                                         ["1.raw", "2.raw"]),
    ("a.mhd", "ElementDataFile = s%02d.raw 1 2 1", ["s01.raw", "s02.raw"]), ("a.mha", "ElementDataFile = LOCAL", []),
    ("a.mhd", "ElementDataFile =", []), ("a.mhd", "1234", []), ("a.nhdr", "", [])])
def test_the_files_with_the_voxels_are_known(tmp_path: Path, name: str, line: str, files: list[str]) -> None:
    (tmp_path / name).write_text(line, encoding="utf-8")
    assert voxel_files(tmp_path / name) == [tmp_path / file for file in files]


@pytest.mark.parametrize(("pattern", "files"), [
    ("s%02d.raw 9 10 1", ["s09.raw", "s10.raw"]), ("s%.3d.raw 1 2 1", ["s001.raw", "s002.raw"]),
    ("s%3d.raw 7 7 1", ["s  7.raw"]), ("s%i.raw 3 1 -1", []), ("s%d.raw 1 5 2", ["s1.raw", "s3.raw", "s5.raw"]),
    ("%d of %d.raw 4 4", ["%d of %d.raw 4 4"]), ("s%d-%d.raw 4 5", ["s4-%d.raw", "s5-%d.raw"]),
    ("s%03d.raw -1 0 1", ["s-01.raw", "s000.raw"]), ("s%.3d.raw -1 -1 1", ["s-001.raw"]),
    ("s%06.3d.raw 7 7 1", ["s   007.raw"]), ("s%5d.raw 123456 123456 1", ["s123456.raw"])])
def test_numbers_in_names_are_written_as_c_writes_them(tmp_path: Path, pattern: str, files: list[str]) -> None:
    (tmp_path / "a.mhd").write_text(f"ElementDataFile = {pattern}", encoding="utf-8")
    assert [path.name for path in voxel_files(tmp_path / "a.mhd")] == files


@pytest.mark.parametrize(("name", "numbers", "found"), [
    ("a.nhdr", "9 11", [9, 10, 11]), ("a.nhdr", "3 5 0", [3, 4, 5]), ("a.nhdr", "3 1 -1", [3, 2, 1]),
    ("a.nhdr", "7 2 -2", [7, 5, 3]), ("a.nhdr", "7 3 -2", [7, 5, 3]), ("a.nhdr", "4 4 -1", [4]),
    ("a.nhdr", "1 5 3", [1, 4]), ("a.mhd", "9 11", [9, 10, 11]), ("a.mhd", "3 5 0", [3, 4, 5]),
    ("a.mhd", "3 1 -1", []), ("a.mhd", "1 4 -2", [1, 3])])
def test_numbers_of_files_run_as_the_format_says(name: str, numbers: str, found: list[int]) -> None:
    header = TextHeader(Path("sub", name), {"datafile" if ".n" in name else "elementdatafile": f"s%d.raw {numbers}"},
                        "", 0)
    assert named_files(header) == [Path(f"sub/s{number}.raw") for number in found]


def test_a_damaged_header_names_no_end_of_files(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text("ElementDataFile = s%d.raw 1 999999999 1", encoding="utf-8")
    assert len(voxel_files(tmp_path / "a.mhd")) == 100_000
    (tmp_path / "a.nhdr").write_text("NRRD0004\ndata   file: LIST\none\ntwo\n", encoding="utf-8")
    assert [path.name for path in voxel_files(tmp_path / "a.nhdr")] == ["one", "two"]


def test_voxels_after_a_header_are_not_read(tmp_path: Path) -> None:
    path = nrrd(tmp_path / "a.nrrd")
    path.write_bytes(path.read_bytes() + b"\ndata file: other.raw\n")
    assert voxel_files(path) == [] and read_fields(path)["sizes"] == "5 4 3"


@pytest.mark.parametrize("make", [nrrd, meta])
def test_a_header_that_has_no_end_is_not_taken_for_voxels(tmp_path: Path, make, monkeypatch: pytest.MonkeyPatch
                                                                  ) -> None:
    path = make(tmp_path / ("v.nrrd" if make is nrrd else "v.mha"), Comment="x" * 3_000_000)
    assert np.array_equal(read_volume(path).array, VOXELS)
    monkeypatch.setattr(text_header, "LONGEST", 1 << 20)
    assert "its header is longer than 1 MiB" in refusal(lambda: read_volume(path))


def test_a_header_of_its_own_may_end_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nhdr"
    path.write_text("NRRD0004\nsizes: 5 4 3\ndata file: a.raw", encoding="utf-8")
    monkeypatch.setattr(text_header, "LONGEST", path.stat().st_size)
    assert voxel_files(path) == [tmp_path / "a.raw"]


def test_a_header_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at is what is used."""
    paths = nrrd(tmp_path / "v.nrrd"), meta(tmp_path / "v.mha")
    read = []
    lines = text_header._raw_lines
    monkeypatch.setattr(text_header, "_raw_lines", lambda path: read.append(path) or lines(path))
    for path in paths:
        read_volume(path)
    assert read == [*paths]


@pytest.mark.parametrize(("name", "text", "fields"), [
    ("v.mhd", "Comment = a: b\nNDims = 3\n", {"comment": "a: b", "ndims": "3"}),
    ("v.mhd", "Comment: a = b\nDim Size : 5 4 3\n", {"comment": "a = b", "dimsize": "5 4 3"}),
    ("v.mhd", "a\nComment = x\nComment = y\n", {"comment": "x"}),
    ("v.mhd", "NDims = 3\nNDims = 3\n\nID = 7\n", {"ndims": "3", "id": "7"}),
    ("v.nrrd", "NRRD0004\ncontent: x\ncontent: y\n", {"content": "x"}),
    ("v.nrrd", "NRRD0004\nsizes: 5\nsizes:5\n", {"sizes": "5"}),
    ("v.nrrd", "NRRD0004\na=b: c\n# d: e\nf:=g: h\ni: j:=k\n", {"a=b": "c", "i": "j:=k"})],
    ids=["colon-in-value", "equals-in-value", "comment-twice", "blank-line", "content-twice", "said-again", "keys"])
def test_a_line_is_one_field_and_the_first_of_its_name_counts(tmp_path: Path, name: str, text: str,
                                                              fields: dict[str, str]) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="\n")
    assert read_fields(tmp_path / name) == fields


@pytest.mark.parametrize(("name", "text", "end"), [("v.nrrd", "NRRD0004\r\nsizes: 5\r\n\r\n12345", 22),
                                                   ("v.nrrd", "NRRD0004\nsizes: 5", 17),
                                                   ("v.mha", "NDims = 3\nElementDataFile = LOCAL\n12345", 34)],
                         ids=["nrrd", "no-voxels", "meta"])
def test_voxels_begin_behind_the_header(tmp_path: Path, name: str, text: str, end: int) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    header = read_header(tmp_path / name)
    assert (header.end, header.first) == (end, text.splitlines()[0])


@pytest.mark.parametrize(("name", "line"), [("v.nrrd", "sizes: {}"), ("v.mha", "DimSize = {}")])
def test_a_field_that_says_two_things_is_refused(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / name).write_text("\n".join(["NRRD0004", line.format("5 4"), line.format("3 4")]), encoding="utf-8")
    assert "'5 4' and '3 4' for " in refusal(lambda: read_fields(tmp_path / name))


@pytest.mark.parametrize(("value", "said"), [("", "says nothing for sizes"), ("5 x", "says '5 x' for sizes"),
                                             ("y" * 90, f"says '{'y' * 80}' for sizes")], ids=["none", "some", "long"])
def test_a_value_that_is_refused_is_shown(value: str, said: str) -> None:
    assert said in refusal(lambda: refuse_value("v.nrrd", "sizes", value))


@pytest.mark.parametrize(("text", "least"), [("1 2", 1), ("0 7", 0), ("3", 3), ("1 " * 16, 1), ("9" * 12, 1)],
                         ids=["one", "zero", "three", "most-axes", "most-digits"])
def test_whole_numbers_are_read_from_the_least_on(text: str, least: int) -> None:
    found = whole("v.nrrd", {"sizes": text}, "sizes", least) if least != 1 else whole("v", {"sizes": text}, "sizes")
    assert found == [int(word) for word in text.split()]


@pytest.mark.parametrize(("text", "least"), [("", 1), ("0 2", 1), ("2 3", 3), ("1 " * 17, 1), ("9" * 13, 1), ("1.0", 1),
                                             ("-1", 0)],
                         ids=["none", "zero", "below", "axes", "digits", "decimal", "negative"])
def test_other_numbers_are_refused(text: str, least: int) -> None:
    assert "for sizes" in refusal(lambda: whole("v.nrrd", {"sizes": text}, "sizes", least))


@pytest.mark.parametrize("further", [[], [1], [1, 1]], ids=["three", "four", "five"])
def test_further_axes_of_one_are_left_out(further: list[int]) -> None:
    assert one_volume("v.nrrd", (5, 4, 3, *further), 1) == [5, 4, 3]


@pytest.mark.parametrize(("sizes", "components", "message"), [
    ([5, 4, 3], 2, "with 2 components"), ([5, 4, 3], 0, "with 0 components"),
    ([5, 4, 3, 2], 1, "has 4 dimensions (5 x 4 x 3 x 2)"), ([5, 4, 3, 1, 2], 1, "has 5 dimensions"),
    ([5, 4], 1, "image of 2 dimensions")], ids=["two", "zero", "times", "fifth", "flat"])
def test_what_is_no_one_volume_is_refused(sizes: list[int], components: int, message: str) -> None:
    assert message in refusal(lambda: one_volume("v.nrrd", sizes, components))


LIES = {"space": "LPS", "spacedirections": "(2,0,0) (0,3,0) (0,0,5) none"}


@pytest.mark.parametrize(("name", "fields", "factor"), [
    ("v.nrrd", LIES | {"dimension": "4", "spaceunits": '"um" "um" "um" "ms"'}, 0.001),
    ("v.nrrd", LIES | {"dimension": "4", "spaceunits": '"cms" "cms" "cms"'}, 10),
    ("v.nrrd", LIES | {"dimension": "3", "units": "m m m"}, 1000),
    ("v.nrrd", LIES | {"dimension": "3", "spacedirections": "(1,0,0) (0,1,0) (0,0,1)"}, 1),
    ("v.mha", {"ndims": "4", "elementspacing": "0.5 1 5 0", "rotation": "1 0"}, 1),
    ("v.mha", {"ndims": "3", "elementspacing": "2 3 5", "orientation": "1 0", "distanceunits": "cm"}, 10)],
    ids=["time-unit", "plural", "m", "ones", "meta-time", "meta-cm"])
def test_three_axes_alone_have_a_length(name: str, fields: dict[str, str], factor: float) -> None:
    messages: list[str] = []
    assert millimetres(TextHeader(Path(name), fields, "", 0), messages.append) == factor and not messages


@pytest.mark.parametrize(("name", "fields"), [
    ("v.nrrd", {"dimension": "3", "spacings": "2 0 5"}), ("v.nrrd", {"dimension": "3", "spacings": "2 inf 5"}),
    ("v.nrrd", {"dimension": "3", "space": "LPS", "spacedirections": "(2,0,0) (0,0,0) (0,0,5)"}),
    ("v.mha", {"ndims": "3", "elementspacing": "2 0 5"}), ("v.mha", {"ndims": "3", "elementspacing": "2 -3 5"})],
    ids=["zero", "infinite", "zero-vector", "meta-zero", "meta-negative"])
def test_an_axis_without_length_is_no_voxel_size(name: str, fields: dict[str, str]) -> None:
    header = TextHeader(Path(name), fields, "", 0)
    assert "how large its voxels are" in refusal(lambda: millimetres(header, lambda _: None))
