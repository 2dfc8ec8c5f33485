"""What headers of DICOM images say of each of their frames."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from SAMoraLib.volume import dicom_frames
from SAMoraLib.volume.dicom_frames import Damaged, Header, read_header
from SAMoraLib.volume.io import read_volume
from Testing.library.volume import dicom_files as files
from Testing.refusals import refusal


def header(path: Path) -> Header:
    found = read_header(path)
    assert found is not None
    return found


def test_a_slice_says_where_it_lies_and_what_it_means(tmp_path: Path) -> None:
    data = files.slice_file(3, slope=2)
    data.TemporalPositionIdentifier, data.EchoNumbers = 4, 2
    found = header(files.save(data, tmp_path / "a.dcm"))
    (frame,) = found.frames
    assert (found.series, found.modality, found.shape, found.bits) == ("1.2.3.1", "CT", (8, 9, 1), 16)
    assert (found.photometric, found.by_table, found.kind) == ("MONOCHROME2", False, "CT Image Storage")
    assert np.allclose(frame.position, files.place(3)) and np.allclose(frame.orientation, files.AXES.T[:2])
    assert (frame.spacing, frame.thickness, frame.rescale) == ((0.8, 0.9), 2.5, (2, -1024))
    assert (frame.number, frame.phase) == (0, ("4", "2"))


@pytest.mark.parametrize("name", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness",
                                  "RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("value", [None, "", "left out"])
def test_what_is_not_said_is_no_number(tmp_path: Path, name: str, value: str | None) -> None:
    data = files.slice_file(0)
    if value == "left out":
        delattr(data, name)
    else:
        setattr(data, name, value)
    (frame,) = header(files.save(data, tmp_path / "a.dcm")).frames
    numbers = np.concatenate([frame.position, frame.orientation.ravel(), frame.spacing, [frame.thickness],
                              frame.rescale])
    count = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}.get(name, 1)
    assert np.isnan(numbers).sum() == count


@pytest.mark.parametrize(("stated", "thickness"), [("0.5", 0.5), ("0", 7), ("-1", 7), (None, 7)])
def test_a_thickness_that_cannot_be_is_the_distance(tmp_path: Path, stated: str | None, thickness: float) -> None:
    data = files.slice_file(0)
    data.SliceThickness, data.SpacingBetweenSlices = stated, "7"
    assert header(files.save(data, tmp_path / "a.dcm")).frames[0].thickness == thickness


BEHIND = struct.pack("<HH", 0xFFFC, 0xFFFC) + b"OB\0\0"  # an element that follows the pixels


@pytest.mark.parametrize("more", [0, 1])
def test_what_lies_beside_the_pixels_is_counted_to_its_limit(tmp_path: Path, more: int, monkeypatch: pytest.MonkeyPatch
                                                             ) -> None:
    path, pixels = tmp_path / "a.dcm", 8 * 9 * 2 + 12
    path.write_bytes(written(path) + BEHIND + struct.pack("<I", 30) + bytes(30))
    monkeypatch.setattr(dicom_frames, "MOST_BESIDE", path.stat().st_size - pixels - more)
    if more:
        assert f"it holds {path.stat().st_size - pixels} bytes beside its pixels" in damage(path)
    else:
        assert header(path).shape == (8, 9, 1)


@pytest.mark.parametrize(("fields", "size"), [
    ({}, 144), ({"SamplesPerPixel": None, "NumberOfFrames": None}, 144), ({"NumberOfFrames": 7}, 1008),
    ({"SamplesPerPixel": 3}, 432), ({"BitsAllocated": 1}, 9), ({"BitsAllocated": 1, "Rows": 1}, 2),
    ({"Rows": 1, "Columns": 1, "BitsAllocated": 1}, 1), ({"NumberOfFrames": 65_536}, 144 * 65_536)])
def test_pixels_take_whole_bytes(fields: dict[str, int | None], size: int) -> None:
    sizes = {"Rows": 8, "Columns": 9, "BitsAllocated": 16, "SamplesPerPixel": 1, "NumberOfFrames": 1}
    assert dicom_frames._pixel_bytes(files.group(**sizes | fields)) == size


@pytest.mark.parametrize("fields", [{"Rows": 0}, {"Columns": -1}, {"SamplesPerPixel": -1}, {"NumberOfFrames": 65_537},
                                    {"NumberOfFrames": -1}, {"BitsAllocated": 0}])
def test_a_number_of_pixels_that_cannot_be_is_refused(fields: dict[str, int]) -> None:
    sizes = {"Rows": 8, "Columns": 9, "BitsAllocated": 16}
    with pytest.raises(ValueError, match="how many pixels"):
        dicom_frames._pixel_bytes(SimpleNamespace(**sizes | fields, get=fields.get))


def item(length: int, content: bytes = b"", element: int = 0xE000, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHI", 0xFFFE, element, length) + content


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("lengths", "ended"), [([], True), ([0], True), ([0, 6, 10], True)])
def test_fragments_are_measured_to_their_end(lengths: list[int], ended: bool, order: str) -> None:
    data = b"".join(item(length, bytes(length), order=order) for length in lengths)
    data += item(0, element=0xE0DD, order=order)
    file = io.BytesIO(data + b"what follows")
    found = list(dicom_frames._fragments(file, len(data) + 12, order, (8, 9, 1)))
    assert found == lengths and file.tell() == len(data)
    for cut in range(1, 8):
        with pytest.raises(ValueError, match="some of its pixels are missing"):
            list(dicom_frames._fragments(io.BytesIO(data[:-cut]), len(data) - cut, order, (8, 9, 1)))


@pytest.mark.parametrize("data", [item(6, bytes(5)), item(0) + item(0, element=0xE001), b"\0" * 16],
                         ids=["short", "other", "none"])
def test_what_is_no_fragment_is_damage(data: bytes) -> None:
    with pytest.raises(ValueError, match="some of its pixels are missing"):
        list(dicom_frames._fragments(io.BytesIO(data), len(data), "<", (8, 9, 1)))


@pytest.mark.parametrize(("frames", "fragments", "whole"), [
    (1, [100], True), (1, [99], False), (1, [50, 50], True), (2, [100], False), (2, [100, 100], True),
    (2, [100, 99], False), (2, [1, 199], True)])
def test_a_large_frame_takes_its_least(frames: int, fragments: list[int], whole: bool, monkeypatch: pytest.MonkeyPatch
                                       ) -> None:
    """A frame of 1200 bytes, which is packed to a twelfth at most."""
    monkeypatch.setattr(dicom_frames, "LARGE", 1199)
    monkeypatch.setattr(dicom_frames, "PACKED", 12)
    content = item(4, bytes(4)) + b"".join(item(length, bytes(length)) for length in fragments)
    file = io.BytesIO(content + item(0, element=0xE0DD))
    data = files.group(Rows=20, Columns=30, BitsAllocated=16, NumberOfFrames=frames)
    data.set_original_encoding(False, True, [])
    try:
        dicom_frames._require_pixels(file, dicom_frames.UNDEFINED_LENGTH, data)
    except ValueError:
        assert not whole
    else:
        assert whole
    monkeypatch.setattr(dicom_frames, "LARGE", 1200)  # a small one may be as small as it likes
    if len(fragments) >= frames:
        file.seek(0)
        dicom_frames._require_pixels(file, dicom_frames.UNDEFINED_LENGTH, data)


@pytest.mark.parametrize(("start", "length", "left", "whole"), [(0, 144, 144, True), (5, 144, 144, True),
                                                                (0, 146, 146, True), (0, 144, 143, False),
                                                                (0, 143, 144, False), (5, 144, 143, False)])
def test_pixels_are_all_there_or_missing(start: int, length: int, left: int, whole: bool) -> None:
    file = io.BytesIO(bytes(start + left))
    file.seek(start)
    data = files.group(Rows=8, Columns=9, BitsAllocated=16)
    if whole:
        dicom_frames._require_pixels(file, length, data)
        assert file.tell() == start + length
    else:
        with pytest.raises(ValueError, match="are missing"):
            dicom_frames._require_pixels(file, length, data)


def test_a_damaged_length_asks_for_no_more_than_there_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(200_000))
    with dicom_frames.AsFarAsItGoes((tmp_path / "a").open("rb", buffering=0)) as file:
        assert [len(file.read(size)) for size in (1, 1 << 40, 1 << 40)] == [1, 199_999, 0]


def test_frames_take_from_their_own_group_before_the_shared_one_and_the_file(tmp_path: Path) -> None:
    def own(number: int, frame: files.Dataset) -> None:
        if number == 2:
            frame.PixelMeasuresSequence = [files.group(PixelSpacing=["3", "4"], SpacingBetweenSlices="7")]

    data = files.frames_file((4, 2, 0), own)
    data.PixelSpacing, data.SliceThickness = ["5", "5"], "9"
    frames = header(files.save(data, tmp_path / "a.dcm")).frames
    assert [frame.spacing for frame in frames] == [(0.8, 0.9), (0.8, 0.9), (4, 3)]
    assert [frame.thickness for frame in frames] == [2.5, 2.5, 2.5]  # of the shared group: its own says no thickness
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert np.allclose([frame.position for frame in frames], [files.place(n) for n in (4, 2, 0)])


def test_of_several_items_the_first_speaks(tmp_path: Path) -> None:
    data = files.frames_file((0, 1), shared=lambda groups: groups.pop("PixelMeasuresSequence"))
    first, second = files.group(PixelSpacing=["3", "4"]), files.group(SliceThickness="7")
    data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence = [first, second]
    data.SharedFunctionalGroupsSequence.append(files.group(PixelMeasuresSequence=[second]))
    frames = header(files.save(data, tmp_path / "a.dcm")).frames
    assert [frame.spacing for frame in frames] == [(4, 3)] * 2
    assert np.isnan([frame.thickness for frame in frames]).all()


def test_a_file_that_describes_other_frames_than_it_has_is_damaged(tmp_path: Path) -> None:
    data = files.frames_file()
    data.NumberOfFrames = 5
    with pytest.raises(Damaged, match="5 frames describes 6"):
        read_header(files.save(data, tmp_path / "a.dcm"))


def test_what_is_no_image_has_no_header(tmp_path: Path) -> None:
    report = files.slice_file(0)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    del report.Rows, report.PixelData
    assert read_header(files.save(report, tmp_path / "a.dcm")) is None


def test_a_slice_that_was_cut_short_anywhere_is_no_other_object(tmp_path: Path) -> None:
    whole = files.save(files.slice_file(0), tmp_path / "a.dcm").read_bytes()
    for length in range(132, len(whole), 7):
        (tmp_path / "a.dcm").write_bytes(whole[:length])
        with pytest.raises(Damaged):
            read_header(tmp_path / "a.dcm")


def test_an_image_without_pixels_is_damaged(tmp_path: Path) -> None:
    data = files.slice_file(0)
    del data.PixelData
    with pytest.raises(Damaged, match="ends before its pixels"):
        read_header(files.save(data, tmp_path / "a.dcm"))


@pytest.mark.parametrize("name", ["Rows", "Columns", "BitsAllocated"])
def test_an_image_of_unknown_size_is_damaged(tmp_path: Path, name: str) -> None:
    data = files.slice_file(0)
    delattr(data, name)
    with pytest.raises(Damaged):
        read_header(files.save(data, tmp_path / "a.dcm"))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("lost", [0, 1, 30, 200])
def test_missing_pixels_are_noticed(tmp_path: Path, compressed: bool, lost: int) -> None:
    data = files.frames_file()
    if compressed:
        data.compress(RLELossless)
    path = files.save(data, tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-lost or None])
    if lost:
        with pytest.raises(Damaged, match="pixels"):
            read_header(path)
    else:
        assert len(header(path).frames) == 6


def test_a_file_that_cannot_be_opened_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(Damaged, match=r"'none.dcm' cannot be read"):
        read_header(tmp_path / "none.dcm")


# Files that are meant to do harm


def written(path: Path, edit: Callable[[FileDataset], None] = lambda data: None) -> bytes:
    data = files.slice_file(0)
    edit(data)
    return files.save(data, path).read_bytes()


def with_elements(path: Path, extra: bytes) -> Path:
    """More elements before the pixels."""
    data = written(path)
    place = data.rindex(b"\xe0\x7f\x10\0OW")
    path.write_bytes(data[:place] + extra + data[place:])
    return path


def damage(path: Path) -> str:
    with pytest.raises(Damaged) as error:
        read_header(path)
    return str(error.value)


def test_elements_without_end_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_frames, "MOST_ELEMENTS", 10_000)
    tiny = b"".join(struct.pack("<HH", 0x7001, 0x1000 + number) + b"SS\2\0\0\0" for number in range(30_000))
    assert "more than 10000 elements" in damage(with_elements(tmp_path / "a.dcm", tiny))
    assert read_header(with_elements(tmp_path / "b.dcm", tiny[:10 * 3000])) is not None


@pytest.mark.parametrize("length", [0x7FFFFFFE, 0xFFFFFFFE, 1 << 20])
def test_an_element_of_absurd_length_is_damage(tmp_path: Path, length: int) -> None:
    absurd = struct.pack("<HH", 0x7001, 0x1001) + b"OB\0\0" + struct.pack("<I", length) + b"xx"
    assert "it ends before its pixels" in damage(with_elements(tmp_path / "a.dcm", absurd))


@pytest.mark.parametrize(("name", "value"), [("Rows", 0), ("Columns", 0), ("BitsAllocated", 0), ("NumberOfFrames", -1),
                                             ("NumberOfFrames", 2_000_000_000), ("Rows", 65535)])
def test_frames_without_end_or_pixels_are_damage(tmp_path: Path, name: str, value: int) -> None:
    """Also where no pixels at all would be enough for them."""

    def edit(data: FileDataset) -> None:
        setattr(data, name, value)

    written(tmp_path / "a.dcm", edit)
    assert "how many pixels it has" in (message := damage(tmp_path / "a.dcm")) or "are missing" in message


def test_what_follows_the_pixels_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_frames, "MOST_BESIDE", 1 << 26)
    data = written(tmp_path / "a.dcm") + struct.pack("<HH", 0xFFFC, 0xFFFC) + b"OB\0\0" + struct.pack("<I", 1 << 27)
    with (tmp_path / "a.dcm").open("wb") as file:
        file.write(data)
        file.truncate(len(data) + (1 << 27))
    assert "bytes beside its pixels" in damage(tmp_path / "a.dcm")


def deflate(data: bytes, behind: int = 0) -> bytes:
    """A file with everything behind its own elements deflated, and ``behind`` zeros more."""
    length = 144 + struct.unpack_from("<I", data, 140)[0]
    meta, old, new = data[:length], ExplicitVRLittleEndian.encode(), DeflatedExplicitVRLittleEndian.encode()
    size, place = len(old) + len(old) % 2, meta.index(old)
    meta = meta[:place - 2] + struct.pack("<H", len(new)) + new + meta[place + size:]
    meta = meta[:140] + struct.pack("<I", len(meta) - 144) + meta[144:]
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = [stream.compress(data[length:])]
    packed += [stream.compress(bytes(1 << 24)) for _ in range(behind >> 24)]
    return meta + b"".join(packed) + stream.flush()


def test_a_deflated_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(deflate(written(tmp_path / "a.dcm")))
    found = header(tmp_path / "a.dcm")
    assert (found.shape, found.modality) == ((8, 9, 1), "CT")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("follows", [b"", b"\0", b"\0" * 50], ids=["nothing", "padding", "more"])
def test_a_deflated_file_may_be_as_long_as_it_says(tmp_path: Path, follows: bytes, monkeypatch: pytest.MonkeyPatch
                                                   ) -> None:
    """Unpacked in more than one step; what follows, as DICOM's padding to an even length, is left."""
    data = files.slice_file(0, hu=np.arange(2000).reshape(1, 40, 50))
    whole = files.save(data, tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(deflate(whole) + follows)
    longer = len(DeflatedExplicitVRLittleEndian) - len(ExplicitVRLittleEndian) - 1  # and a byte that fills up the other
    monkeypatch.setattr(dicom_frames, "MOST_BESIDE", len(whole) + longer - 4000)
    assert header(tmp_path / "a.dcm").shape == (40, 50, 1)
    monkeypatch.setattr(dicom_frames, "MOST_BESIDE", len(whole) + longer - 4001)
    assert "longer than its header says" in damage(tmp_path / "a.dcm")


def test_no_more_is_inflated_than_the_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_frames, "MOST_BESIDE", 1 << 20)
    data = written(tmp_path / "a.dcm") + struct.pack("<HH", 0xFFFC, 0xFFFC) + b"OB\0\0" + struct.pack("<I", 1 << 28)
    (tmp_path / "a.dcm").write_bytes(deflate(data, 1 << 28))
    tracemalloc.start()
    assert "longer than its header says" in damage(tmp_path / "a.dcm")
    assert tracemalloc.get_traced_memory()[1] < 1 << 25
    tracemalloc.stop()


@pytest.mark.parametrize("cut", [1, 100, 200])
def test_a_deflated_file_that_is_cut_is_damage(tmp_path: Path, cut: int) -> None:
    (tmp_path / "a.dcm").write_bytes(deflate(written(tmp_path / "a.dcm"))[:-cut])
    damage(tmp_path / "a.dcm")


@pytest.mark.parametrize(("levels", "deep"), [(64, False), (65, True)])
def test_nesting_is_looked_at_behind_the_files_own_elements(tmp_path: Path, levels: int, deep: bool) -> None:
    """Which say their VR also where the others do not."""
    path, undefined = tmp_path / "a.dcm", dicom_frames.UNDEFINED_LENGTH
    data = written(path, lambda data: setattr(data.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian))
    place = data.rindex(b"\xe0\x7f\x10\0")
    start = struct.pack("<HHI", 0x0040, 0xA730, undefined) + item(undefined)
    nested = start * levels + (item(0, element=0xE00D) + item(0, element=0xE0DD)) * levels
    many = struct.pack("<HHI", 0x0040, 0xA730, 8 * 65) + item(0) * 65
    path.write_bytes(data[:place] + many + nested + data[place:])
    if deep:
        assert "nested deeper than 64 levels" in damage(path)
    else:
        assert header(path).shape == (8, 9, 1)


def test_a_code_that_steers_a_terminal_is_spelt_out(tmp_path: Path) -> None:
    data = written(tmp_path / "a.dcm").replace(b"MONOCHROME2 ", b"\x1b[2J\x1b]0;x\x07  ")
    (tmp_path / "a.dcm").write_bytes(data)
    assert header(tmp_path / "a.dcm").photometric.isprintable()


def test_an_index_leads_nowhere(tmp_path: Path) -> None:
    """A DICOMDIR may name files outside of its folder; no file is read because an index names it."""
    files.series(tmp_path / "outside")
    (tmp_path / "disk").mkdir()
    index = files.slice_file(0)
    index.file_meta.MediaStorageSOPClassUID = index.SOPClassUID = MediaStorageDirectoryStorage
    del index.PixelData, index.Rows
    index.DirectoryRecordSequence = [files.group(ReferencedFileID=["..", "outside", "IM0000.dcm"])]
    files.save(index, tmp_path / "disk/DICOMDIR")
    assert "holds no DICOM series" in refusal(lambda: read_volume(tmp_path / "disk"))
    files.save(index, tmp_path / "disk/index.dcm")  # under another name, too
    assert "holds no DICOM series" in refusal(lambda: read_volume(tmp_path / "disk"))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore")
def test_whatever_becomes_of_a_header_it_is_read_or_damaged(tmp_path: Path, seed: int) -> None:
    generator, whole = np.random.default_rng(seed), written(tmp_path / "a.dcm")
    for _ in range(60):
        data = bytearray(whole)
        for place in generator.integers(132, len(data) - 300, 6):
            data[place:place + 2] = [(0, 0), (255, 255), tuple(generator.integers(0, 256, 2))][generator.integers(3)]
        (tmp_path / "a.dcm").write_bytes(data)
        try:
            read_header(tmp_path / "a.dcm")
        except Damaged as error:
            assert str(error).endswith(".")
