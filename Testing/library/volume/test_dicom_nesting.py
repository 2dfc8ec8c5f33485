"""Deep nesting is refused before GDCM sees it, wherever in a file it stands, and however it says its lengths."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from SAMoraLib.volume.dicom_nesting import DEEPEST, require_shallow
from SAMoraLib.volume.io import read_volume
from Testing.library.volume import dicom_files as files
from Testing.refusals import refusal

TAG = (0x0040, 0xA730)
PIXELS = struct.pack("<HH", 0x7FE0, 0x0010) + b"OW"
UNDEFINED = 0xFFFFFFFF


def sequence(length: int, explicit: bool = True, order: str = "<") -> bytes:
    vr = b"SQ\0\0" if explicit else b""
    return struct.pack(f"{order}HH", *TAG) + vr + struct.pack(f"{order}I", length)


def mark(element: int, length: int = 0, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHI", 0xFFFE, element, length)


def open_ended(levels: int, explicit: bool = True, order: str = "<", inside: bytes = b"") -> bytes:
    """Sequences in sequences, of lengths that are not said."""
    start = sequence(UNDEFINED, explicit, order) + inside + mark(0xE000, UNDEFINED, order)
    return start * levels + (mark(0xE00D, 0, order) + mark(0xE0DD, 0, order)) * levels


def measured(levels: int, explicit: bool = True, order: str = "<") -> bytes:
    """Sequences in sequences, of lengths that are said."""
    parts, length = [], 0
    for _ in range(levels):
        parts.append(sequence(length + 8, explicit, order) + mark(0xE000, length, order))
        length += len(parts[-1])
    return b"".join(reversed(parts))


def series(folder: Path, extra: bytes, behind: bool = False) -> Path:
    """A series whose first file has more elements before or behind its pixels."""
    files.series(folder, count=3)
    first = folder / "IM0000.dcm"
    data = first.read_bytes()
    place = len(data) if behind else data.rindex(PIXELS)
    first.write_bytes(data[:place] + extra + data[place:])
    return folder


@pytest.mark.parametrize("make", [open_ended, measured])
@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("levels", [2 * DEEPEST, 20_000])
def test_a_series_that_would_end_the_process_is_refused(tmp_path: Path, make, behind: bool, levels: int) -> None:
    series(tmp_path / "ct", make(levels), behind)
    assert "1 of 3 files cannot be read ('IM0000.dcm')" in refusal(lambda: read_volume(tmp_path / "ct"))


@pytest.mark.parametrize("make", [open_ended, measured])
@pytest.mark.parametrize("behind", [False, True])
def test_what_real_files_nest_is_read(tmp_path: Path, make, behind: bool) -> None:
    assert read_volume(series(tmp_path / "ct", make(12), behind)).array.shape == (3, 8, 9)


@pytest.mark.parametrize("make", [open_ended, measured])
@pytest.mark.parametrize(("explicit", "order"), [(True, "<"), (True, ">"), (False, "<")])
def test_the_limit_is_the_same_in_every_syntax(make, explicit: bool, order: str) -> None:
    require_shallow(make(DEEPEST, explicit, order) * 3, explicit, order)
    with pytest.raises(ValueError, match=f"deeper than {DEEPEST} levels"):
        require_shallow(make(DEEPEST + 1, explicit, order), explicit, order)


@pytest.mark.parametrize("make", [open_ended, measured])
def test_an_unknown_vr_may_hide_a_sequence(make) -> None:
    with pytest.raises(ValueError, match="deeper than"):
        require_shallow(make(DEEPEST + 1).replace(b"SQ", b"UN"), True, "<")


def test_many_items_beside_each_other_are_not_deep() -> None:
    """As a file of many frames has them."""
    frame = mark(0xE000, UNDEFINED) + open_ended(3) + mark(0xE00D)
    require_shallow(sequence(UNDEFINED) + frame * 1000 + mark(0xE0DD), True, "<")


def test_measured_items_beside_each_other_are_not_deep_either() -> None:
    items = (mark(0xE000, 12) + sequence(0) + mark(0xE000, len(measured(3))) + measured(3)) * 1000
    require_shallow(sequence(len(items)) + items, True, "<")


FULL = (sequence(UNDEFINED) + mark(0xE000, UNDEFINED)) * DEEPEST


@pytest.mark.parametrize("last", [mark(0xE000, UNDEFINED), sequence(UNDEFINED), sequence(8) + mark(0xE000)],
                         ids=["item", "sequence", "measured"])
def test_the_last_element_of_all_counts(last: bytes) -> None:
    beside = sequence(8) + mark(0xE000)
    require_shallow(beside + FULL, True, "<")
    require_shallow(beside + FULL + last[:-1 if len(last) < 20 else 11], True, "<")
    with pytest.raises(ValueError, match="deeper than"):
        require_shallow(beside + FULL + last, True, "<")


def test_elements_begin_where_they_are_said_to() -> None:
    deep = open_ended(DEEPEST + 1)
    with pytest.raises(ValueError, match="deeper than"):
        require_shallow(b"\x01\x02\x03" + deep, True, "<", 3)


def test_marks_within_a_value_end_nothing() -> None:
    value = mark(0xE00D) + mark(0xE0DD)
    hidden = struct.pack("<HH", 0x0011, 0x1001) + b"OB\0\0" + struct.pack("<I", len(value)) + value
    start = sequence(UNDEFINED) + mark(0xE000, UNDEFINED) + hidden
    with pytest.raises(ValueError, match="deeper than"):
        require_shallow(start * 200, True, "<")


@pytest.mark.parametrize("cut", range(1, 30))
def test_what_is_cut_off_is_no_error(cut: int) -> None:
    require_shallow((measured(2) * 50)[:-cut], True, "<")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_syntaxes_are_searched_too(tmp_path: Path, syntax: str) -> None:
    explicit, order = syntax == ExplicitVRBigEndian, ">" if syntax == ExplicitVRBigEndian else "<"

    (tmp_path / "ct").mkdir()
    for number in range(3):
        data = Dataset(files.slice_file(number))  # which forgets how it was to be encoded
        data.file_meta, data.preamble = files.slice_file(number).file_meta, bytes(128)
        data.file_meta.TransferSyntaxUID = syntax
        data["PixelData"].VR = "OW"
        dcmwrite(tmp_path / f"ct/IM{number:04}.dcm", data, implicit_vr=not explicit, little_endian=order == "<",
                 enforce_file_format=True)
    assert read_volume(tmp_path / "ct").array.shape == (3, 8, 9)
    first = tmp_path / "ct/IM0000.dcm"
    first.write_bytes(first.read_bytes() + measured(20_000, explicit, order))
    assert "1 of 3 files cannot be read" in refusal(lambda: read_volume(tmp_path / "ct"))
