"""What the headers of DICOM files say of their frames, one file or many, and whether their pixels are all there.

pydicom reads the headers; it is imported inside the functions, because it takes a while. Tags are those of PS3.3:
C.7.6.2 (image plane), C.7.6.16 (functional groups of multi-frame files), C.11.1 (modality LUT).
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from SAMoraLib.system.streams import one_line
from SAMoraLib.volume.dicom_codestream import stated_shape
from SAMoraLib.volume.dicom_nesting import require_shallow

PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)  # integers, float, double
ITEM, DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
UNDEFINED_LENGTH = 0xFFFFFFFF
MOST_ELEMENTS, MOST_FRAMES = 100_000, 65_536  # of a file; more is damage, or meant to take for ever
MOST_BESIDE = 1 << 28  # bytes of a file that are no pixels
DEFLATED = b"1.2.840.10008.1.2.1.99"  # the transfer syntax; it stands before what is deflated
META = 132  # where the first element stands, whose value is the length of the elements that are not deflated
LARGE, PACKED = 1 << 24, 10_000  # bytes of a frame from which it cannot be packed smaller than by this
WORD = 32  # letters of a code that a message may name
TAGS = ["SOPClassUID", "SOPInstanceUID", "Modality", "SeriesInstanceUID", "ImagePositionPatient",
        "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns",
        "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation", "RescaleSlope",
        "RescaleIntercept", "ModalityLUTSequence", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers",
        "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"]
# Where a multi-frame file keeps what a file of one slice says at its top.
GROUPS = {"ImagePositionPatient": "PlanePositionSequence", "ImageOrientationPatient": "PlaneOrientationSequence",
          "PixelSpacing": "PixelMeasuresSequence", "SliceThickness": "PixelMeasuresSequence",
          "SpacingBetweenSlices": "PixelMeasuresSequence", "RescaleSlope": "PixelValueTransformationSequence",
          "RescaleIntercept": "PixelValueTransformationSequence", "TemporalPositionIndex": "FrameContentSequence"}


class Damaged(ValueError):
    """A file that cannot be read, though it is, or was, a DICOM image."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice. A number that the header does not hold is NaN.

    Attributes:
        file: that holds it.
        number: of the frame in its file, from 0.
        position: (3,) LPS mm of the first pixel's centre.
        orientation: (2, 3) direction along a row, direction down a column; LPS.
        spacing: mm between columns and between rows.
        thickness: mm; where it is not said, the distance between slices, if that is.
        rescale: slope and intercept.
        phase: what tells time points and echoes apart; empty where nothing does.
    """

    file: Path
    number: int
    position: np.ndarray
    orientation: np.ndarray
    spacing: tuple[float, float]
    thickness: float
    rescale: tuple[float, float]
    phase: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Header:
    """One image file.

    Attributes:
        series: SeriesInstanceUID.
        modality: as DICOM writes it, CT or MR for instance.
        shape: rows, columns, samples per pixel.
        bits: allocated for a sample.
        photometric: how samples become grey values.
        by_table: grey values stand in a table (ModalityLUTSequence).
        kind: name of its SOP class.
    """

    file: Path
    series: str
    modality: str
    shape: tuple[int, int, int]
    bits: int
    photometric: str
    by_table: bool
    kind: str
    frames: tuple[Frame, ...]


class AsFarAsItGoes(io.BufferedReader):
    """A file of which nobody asks for more than there is: Python takes memory for all of it before it reads, and a
    damaged element claims gigabytes.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size <= io.DEFAULT_BUFFER_SIZE:  # nearly always: not worth a look at the file's length
            return super().read(size)
        return super().read(min(size, max(0, os.fstat(self.fileno()).st_size - self.tell())))


def read_header(path: Path) -> Header | None:
    """The header of a DICOM image; None for a DICOM object that is no image.

    Raises:
        Damaged: the file is cut short, or its header is not DICOM.
    """
    try:
        with AsFarAsItGoes(path.open("rb", buffering=0)) as file:
            found = _elements(_inflated(file) or file)
        return found and _header(path, found)
    except (Damaged, MemoryError):
        raise
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise Damaged(f"'{path.name}' cannot be read ({type(error).__name__}: {error}).") from error


def _elements(file: BinaryIO) -> Any:
    """The wanted elements before the pixels, which are only measured; None for what is no image."""
    from pydicom.filereader import read_partial

    lengths: list[int] = []
    count = 0

    def at_pixels(tag: Any, vr: str | None, length: int) -> bool:
        nonlocal count
        count += 1
        if count > MOST_ELEMENTS:
            raise ValueError(f"it has more than {MOST_ELEMENTS} elements")
        if tag in PIXELS:
            lengths.append(length)
        return tag in PIXELS

    data = read_partial(file, at_pixels, force=True, specific_tags=_tags())
    if not lengths:
        if _is_image(data):
            raise ValueError("it ends before its pixels")
        return None
    before = file.tell()
    file.seek(8 if data.original_encoding[0] else 12, 1)
    _require_pixels(file, lengths[0], data)
    _require_elements(file, before, data)
    return data


def _is_image(data: Any) -> bool:
    """Whether what has no pixels should have some: also where too little is there to tell, for a slice that was cut
    short is no other object.
    """
    from pydicom.uid import UID, MediaStorageDirectoryStorage

    stated = UID(data.file_meta.get("MediaStorageSOPClassUID") or "")
    kind = UID(data.get("SOPClassUID") or "")
    if stated == MediaStorageDirectoryStorage:
        return False  # the index of a disk has no class beside its file's
    return ("Rows" in data or not (kind and data.get("SOPInstanceUID"))
            or any(uid.name.endswith("Image Storage") for uid in (kind, stated)))


def _require_elements(file: BinaryIO, before: int, data: Any) -> None:
    """Refuse what GDCM, which reads all of a file, does not survive; ``file`` stands behind the pixels."""
    implicit, little = data.original_encoding
    behind = file.tell()
    left = file.seek(0, 2) - behind
    if before + left > MOST_BESIDE:
        raise ValueError(f"it holds {before + left} bytes beside its pixels")
    file.seek(0)
    head = file.read(before)
    start = META if head[META - 4:META] == b"DICM" else 0
    order = "<" if little is not False else ">"
    while head[start:start + 2] == b"\x02\x00":  # the file's own elements, which always say their VR
        at = start + (8 if head[start + 4:start + 6] in (b"OB", b"UN", b"SQ", b"UT") else 6)
        size = 4 if at == start + 8 else 2
        start = at + size + int.from_bytes(head[at:at + size], "little")
    require_shallow(head, not implicit, order, start)
    file.seek(behind)
    require_shallow(file.read(left), not implicit, order)


def _inflated(file: BinaryIO) -> BinaryIO | None:
    """A deflated file as one that is not, no longer than its header says; None where it is not deflated."""
    start = file.read(1 << 12)
    file.seek(0)
    if DEFLATED not in start:
        return None
    length = META + 12 + int.from_bytes(start[META + 8:META + 12], "little")
    plain = file.read(min(length, len(start))).replace(DEFLATED, DEFLATED[:-3] + b"\0\0\0")
    stream, packed = zlib.decompressobj(-zlib.MAX_WBITS), file.read()
    data = plain + stream.decompress(packed, MOST_BESIDE)
    allowed = MOST_BESIDE + _pixel_bytes(_first_elements(data))
    while not stream.eof and (rest := stream.unconsumed_tail) and len(data) <= allowed:
        data += stream.decompress(rest, allowed + 1 - len(data))
    if len(data) > allowed:
        raise ValueError("it is longer than its header says")
    if not stream.eof:
        raise ValueError("it is cut short")
    return io.BytesIO(data)


def _first_elements(data: bytes) -> Any:
    from pydicom.filereader import read_partial

    return read_partial(io.BytesIO(data), lambda tag, *_: tag in PIXELS, force=True, specific_tags=_tags())


@cache
def _tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(name) for name in TAGS]


def _pixel_bytes(data: Any) -> int:
    """What all frames take.

    Raises:
        ValueError: the header does not say it, or says what cannot be.
    """
    rows, columns, bits = int(data.Rows), int(data.Columns), int(data.BitsAllocated)
    samples, frames = int(data.get("SamplesPerPixel") or 1), int(data.get("NumberOfFrames") or 1)
    if min(rows, columns, bits, samples) < 1 or not 1 <= frames <= MOST_FRAMES:
        raise ValueError("it does not say how many pixels it has")
    return -(-rows * columns * samples * frames * bits // 8)


def _require_pixels(file: BinaryIO, length: int, data: Any) -> None:
    """Refuse pixels that are fewer than the header says; ``file`` stands at the first, and then behind the last."""
    start, expected = file.tell(), _pixel_bytes(data)
    left = file.seek(0, 2) - start
    if length == UNDEFINED_LENGTH:
        file.seek(start)
        frames = int(data.get("NumberOfFrames") or 1)
        fragments = list(_fragments(file, left, ">" if data.original_encoding[1] is False else "<", _shape(data)))[1:]
        if len(fragments) < frames or LARGE < expected // frames > PACKED * sum(fragments) // frames:
            raise ValueError("some of its pixels are missing")
    elif min(length, left) < expected:
        raise ValueError("some of its pixels are missing")
    else:
        file.seek(start + length)


def _fragments(file: BinaryIO, left: int, order: str, shape: tuple[int, int, int]) -> Iterator[int]:
    """Lengths of the items of encapsulated pixels, the table of offsets first; none that is compressed may state
    another shape than the header's.
    """
    while left >= 8:
        group, element, length = struct.unpack(f"{order}HHI", file.read(8))
        left -= 8 + length
        if (group, element) == DELIMITER:
            return
        if (group, element) != ITEM or left < 0:
            break
        start = file.tell()
        if stated_shape(file) not in (None, shape):
            raise ValueError("its pixels are of another size than its header says")
        yield length
        file.seek(start + length)
    raise ValueError("some of its pixels are missing")


def _shape(data: Any) -> tuple[int, int, int]:
    return int(data.Rows), int(data.Columns), int(data.get("SamplesPerPixel") or 1)


def _header(path: Path, data: Any) -> Header:
    from pydicom.uid import UID

    try:
        shape = _shape(data)
        count = int(data.get("NumberOfFrames") or 1)
        bits = int(data.BitsAllocated)
    except (AttributeError, TypeError, ValueError) as error:
        raise Damaged(f"'{path.name}' does not say how many pixels it has.") from error
    frames = tuple(_frame(path, number, levels) for number, levels in enumerate(_levels(data, count)))
    return Header(path, str(data.get("SeriesInstanceUID") or ""), _word(data, "Modality"), shape, bits,
                  _word(data, "PhotometricInterpretation"), "ModalityLUTSequence" in data,
                  UID(data.get("SOPClassUID") or "").name, frames)


def _word(data: Any, name: str) -> str:
    """A code, as far as a sentence can hold it."""
    return one_line(str(data.get(name) or ""))[:WORD]


def _levels(data: Any, count: int) -> Iterator[list[Any]]:
    """Of every frame the data sets that may speak of it: its own group, the shared one, the file."""
    own = data.get("PerFrameFunctionalGroupsSequence") or []
    shared = list(data.get("SharedFunctionalGroupsSequence") or [])[:1]
    if own and len(own) != count:
        raise Damaged(f"A file of {count} frames describes {len(own)} of them.")
    for number in range(count):
        yield [*own[number:number + 1], *shared, data]


def _frame(path: Path, number: int, levels: list[Any]) -> Frame:
    across, down = _numbers(levels, "PixelSpacing", 2)[::-1]  # DICOM names the distance of rows first
    thickness, *_ = _numbers(levels, "SliceThickness", 1)
    if not thickness > 0:
        thickness, *_ = _numbers(levels, "SpacingBetweenSlices", 1)
    phase = [_value(levels, name) for name in ("TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers")]
    return Frame(path, number, _numbers(levels, "ImagePositionPatient", 3),
                 _numbers(levels, "ImageOrientationPatient", 6).reshape(2, 3), (float(across), float(down)),
                 float(thickness), (float(_numbers(levels, "RescaleSlope", 1)[0]),
                                    float(_numbers(levels, "RescaleIntercept", 1)[0])),
                 tuple(str(value) for value in phase if value is not None))


def _value(levels: Sequence[Any], name: str) -> Any:
    """An element from the first level that has it, in its functional group or plainly."""
    for level in levels:
        for place in (*(level.get(GROUPS.get(name, "")) or ())[:1], level):
            value = place.get(name)
            if value is not None and value != "":
                return value
    return None


def _numbers(levels: Sequence[Any], name: str, count: int) -> np.ndarray:
    """``count`` numbers; NaN where there are none, which no check lets pass."""
    value = _value(levels, name)
    try:
        values = np.array(value, float).ravel()
    except (TypeError, ValueError):
        values = np.empty(0)
    return values if len(values) == count else np.full(count, np.nan)
