"""The size that a compressed frame states for itself, which a decoder believes more than DICOM's header.

JPEG and JPEG-LS: a start of frame, ISO/IEC 10918-1, B.2.2; JPEG 2000: SIZ, ISO/IEC 15444-1, A.5.1.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

JPEG, JPEG_2000 = b"\xff\xd8", b"\xff\x4f\xff\x51"
FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}  # F7: of JPEG-LS
SCAN = 0xDA  # pixels begin


def stated_shape(file: BinaryIO) -> tuple[int, int, int] | None:
    """Rows, columns and components of the frame that begins here; None where it states none, or is of another kind."""
    start = file.read(42)
    if start.startswith(JPEG_2000) and len(start) == 42:
        right, bottom, left, top = struct.unpack_from(">4I", start, 8)
        return bottom - top, right - left, struct.unpack_from(">H", start, 40)[0]
    if not start.startswith(JPEG):
        return None
    file.seek(2 - len(start), 1)
    while len(head := file.read(4)) == 4 and head[0] == 0xFF and head[1] != SCAN:
        if head[1] == 0xFF:  # fills up
            file.seek(-3, 1)
            continue
        length = struct.unpack(">H", head[2:])[0]
        if head[1] in FRAMES:
            frame = file.read(6)
            if len(frame) < 6 or frame[1:3] == b"\0\0":  # the rows are counted behind the scan
                return None
            return (*struct.unpack(">HH", frame[1:5]), frame[5])
        file.seek(max(0, length - 2), 1)
    return None
