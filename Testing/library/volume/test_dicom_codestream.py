"""A compressed frame that states another size than DICOM's header is not decoded."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from SAMoraLib.volume.dicom_codestream import stated_shape
from SAMoraLib.volume.io import read_volume
from Testing.library.volume import dicom_files as files
from Testing.refusals import refusal


def jpeg(rows: int, columns: int, components: int = 1, frame: int = 0xC3) -> bytes:
    before = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xfe\x00\x03c"  # an application's segment, a comment behind a filler
    return before + bytes([0xFF, frame]) + struct.pack(">HBHHB", 11, 16, rows, columns, components) + b"\x01\x11\0"


def jpeg_2000(rows: int, columns: int, components: int = 1) -> bytes:
    size = struct.pack(">HIIIIIIIIH", 0, columns + 3, rows + 2, 3, 2, columns, rows, 0, 0, components)
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 5) + size + b"\x0f\x01\x01" + bytes(40)


@pytest.mark.parametrize("data", [jpeg(7, 9, 3), jpeg(7, 9, 3, 0xC0), jpeg(7, 9, 3, 0xF7), jpeg_2000(7, 9, 3)])
def test_a_frame_states_its_shape(data: bytes) -> None:
    assert stated_shape(io.BytesIO(data)) == (7, 9, 3)


@pytest.mark.parametrize("before", [b"\xff\xe0\0\0", b"\xff\xe0\0\1", b"\xff\xe0\0\2", b"\xff\xe0\0\3x", b"\xff\xff",
                                    b"\xff\xe0\1\2" + bytes(256)])
def test_segments_before_the_frame_are_passed_over(before: bytes) -> None:
    data = b"\xff\xd8" + before + jpeg(7, 300, 3)[2:]
    assert stated_shape(io.BytesIO(b"before" + data)) is None
    file = io.BytesIO(b"before" + data)
    file.seek(6)
    assert stated_shape(file) == (7, 300, 3)


@pytest.mark.parametrize(("data", "shape"), [
    (jpeg(7, 9, 3)[:-3], (7, 9, 3)), (jpeg(7, 9, 3)[:-4], None), (jpeg(256, 9), (256, 9, 1)), (jpeg(7, 0), (7, 0, 1)),
    (b"\xff\xd8\0\xe0\0\2" + jpeg(7, 9)[2:], None), (jpeg_2000(7, 9, 3)[:42], (7, 9, 3)),
    (jpeg_2000(7, 9, 3)[:41], None), (jpeg(7, 9, 1, 0xC4), None)],
    ids=["whole", "cut", "256", "no-columns", "no-mark", "siz", "siz-cut", "tables"])
def test_a_shape_is_read_whole_or_not_at_all(data: bytes, shape: tuple[int, int, int] | None) -> None:
    assert stated_shape(io.BytesIO(data)) == shape


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\2" + bytes(50), b"\xff\x4f\xff\x51\0",
                                  bytes(99), jpeg(7, 9)[:-8], jpeg(0, 9), b"\xff\xd8" + b"\xff" * 5000,
                                  b"\xff\xd8\xff\xe0\0\0" * 9])
def test_where_it_states_none_there_is_none(data: bytes) -> None:
    assert stated_shape(io.BytesIO(data)) is None


@pytest.mark.parametrize(("syntax", "frame"), [
    (JPEG2000Lossless, jpeg_2000), (JPEGLosslessSV1, jpeg), (JPEGLSLossless, lambda *size: jpeg(*size, 1, 0xF7)),
    (JPEGBaseline8Bit, lambda *size: jpeg(*size, 1, 0xC0)),
    (RLELossless, lambda *_: struct.pack("<16I", 1, 64, *[0] * 14))])
@pytest.mark.parametrize("stated", [(60_000, 60_000), (8, 9)])
def test_a_small_file_of_enormous_pixels_is_refused_at_once(tmp_path: Path, syntax: str, frame, stated: tuple[int, int]
                                                            ) -> None:
    """Whether DICOM's header says so, too, or the compressed frame alone."""

    def edit(number: int, data) -> None:
        data.file_meta.TransferSyntaxUID = syntax
        if stated == (8, 9):
            data.Rows, data.Columns = 60_000, 60_000
        data.PixelData = encapsulate([frame(60_000, 60_000)])
        data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True

    files.series(tmp_path / "ct", edit, count=3)
    message = refusal(lambda: read_volume(tmp_path / "ct"))
    if syntax != RLELossless or stated == (8, 9):  # which states no size of its own
        assert "3 of 3 files cannot be read" in message
