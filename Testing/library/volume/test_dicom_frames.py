"""What headers of DICOM images say of each of their frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import RLELossless

from SAMoraLib.volume.dicom_frames import Damaged, Header, read_header
from Testing.library.volume import dicom_files as files


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
