"""Frames are scaled each by its own slope and intercept, and unused bits mean nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from SAMoraLib.volume.dicom_frames import Header, read_header
from SAMoraLib.volume.dicom_pixels import scale_frames
from Testing.library.volume import dicom_files as files


def header(path: Path) -> Header:
    found = read_header(path)
    assert found is not None
    return found


@pytest.mark.parametrize(("slopes", "kind"), [((1, 1, 1, 1, 1, 1), np.int32), ((1, 2, 1, 1, 3, 1), np.int32),
                                              ((1, 0.5, 1, 1, 1, 1), np.float64)])
def test_every_frame_is_scaled_by_its_own_slope(tmp_path: Path, slopes: tuple[float, ...], kind: type) -> None:
    found = scale_frames(header(files.save(files.frames_file(slopes=slopes), tmp_path / "a.dcm")))
    assert found.dtype == kind
    assert (np.abs(found - files.HU) <= np.array(slopes)[:, None, None] / 2).all()
    assert np.array_equal(found[0], files.HU[0])


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("compressed", [False, True])
def test_unused_bits_are_left_out_and_the_sign_is_carried_on(tmp_path: Path, signed: int, compressed: bool) -> None:
    data = files.frames_file(slopes=(1,) * 6)
    values = np.arange(432).reshape(6, 8, 9) - (200 if signed else 0)
    data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, signed
    data.PixelData = ((values & 0x0FFF) | 0xA000).astype("<u2").tobytes()
    if compressed:
        data.compress(RLELossless)
    found = scale_frames(header(files.save(data, tmp_path / "a.dcm")))
    assert np.array_equal(found, values - 1024)


def test_frames_compressed_in_another_way_are_refused(tmp_path: Path) -> None:
    data = files.frames_file(slopes=(1,) * 6)
    data.compress(RLELossless)
    data.file_meta.TransferSyntaxUID = JPEG2000Lossless
    with pytest.raises(RuntimeError, match="cannot be decoded"):
        scale_frames(header(files.save(data, tmp_path / "a.dcm")))
