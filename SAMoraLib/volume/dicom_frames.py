"""What the headers of DICOM files say of their frames, one file or many, and whether their pixels are all there.

pydicom reads the headers; it is imported inside the functions, because it takes a while. Tags are those of PS3.3:
C.7.6.2 (image plane), C.7.6.16 (functional groups of multi-frame files), C.11.1 (modality LUT).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)  # integers, float, double
ITEM, DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
UNDEFINED_LENGTH = 0xFFFFFFFF
TAGS = ["SOPClassUID", "Modality", "SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient",
        "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "Rows", "Columns", "NumberOfFrames",
        "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept",
        "ModalityLUTSequence", "TemporalPositionIdentifier", "TemporalPositionIndex", "EchoNumbers",
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


def read_header(path: Path) -> Header | None:
    """The header of a DICOM image; None for a DICOM object that is no image.

    Raises:
        Damaged: the file is cut short, or its header is not DICOM.
    """
    try:
        with path.open("rb") as file:
            found = _elements(file)
    except (OSError, ValueError, KeyError, AttributeError, NotImplementedError, struct.error, zlib.error) as error:
        raise Damaged(f"'{path.name}' cannot be read ({error}).") from error
    return found and _header(path, found)


def _elements(file: BinaryIO) -> Any:
    """The wanted elements before the pixels, which are only measured; None for what is no image."""
    from pydicom.filereader import read_partial
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

    lengths: list[int] = []

    def at_pixels(tag: Any, vr: str | None, length: int) -> bool:
        if tag in PIXELS:
            lengths.append(length)
        return tag in PIXELS

    data = read_partial(file, at_pixels, force=True, specific_tags=_tags())
    if not lengths:
        classes = [UID(data.get("SOPClassUID") or ""), UID(data.file_meta.get("MediaStorageSOPClassUID") or "")]
        known = [uid.name for uid in classes if uid]
        if "Rows" in data or not known or any(name.endswith("Image Storage") for name in known):
            raise ValueError("it ends before its pixels")
        return None
    if data.file_meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        file.seek(8 if data.original_encoding[0] else 12, 1)
        _require_pixels(file, lengths[0], data)
    return data


@cache
def _tags() -> list[Any]:
    from pydicom.tag import Tag

    return [Tag(name) for name in TAGS]


def _require_pixels(file: BinaryIO, length: int, data: Any) -> None:
    """Refuse pixels that are fewer than the header says; ``file`` stands at the first."""
    start = file.tell()
    left = file.seek(0, 2) - start
    if length == UNDEFINED_LENGTH:
        file.seek(start)
        fragments = sum(1 for _ in _fragments(file, left, ">" if data.original_encoding[1] is False else "<")) - 1
        if fragments < int(data.get("NumberOfFrames") or 1):
            raise ValueError("some of its pixels are missing")
        return
    pixels = data.Rows * data.Columns * (data.get("SamplesPerPixel") or 1) * int(data.get("NumberOfFrames") or 1)
    if min(length, left) < -(-pixels * data.BitsAllocated // 8):
        raise ValueError("some of its pixels are missing")


def _fragments(file: BinaryIO, left: int, order: str) -> Iterator[int]:
    """Lengths of the items of encapsulated pixels, the table of offsets first."""
    while left >= 8:
        group, element, length = struct.unpack(f"{order}HHI", file.read(8))
        left -= 8 + length
        if (group, element) == DELIMITER:
            return
        if (group, element) != ITEM or left < 0:
            break
        yield length
        file.seek(length, 1)
    raise ValueError("some of its pixels are missing")


def _header(path: Path, data: Any) -> Header:
    from pydicom.uid import UID

    try:
        shape = int(data.Rows), int(data.Columns), int(data.get("SamplesPerPixel") or 1)
        count = int(data.get("NumberOfFrames") or 1)
        bits = int(data.BitsAllocated)
    except (AttributeError, TypeError, ValueError) as error:
        raise Damaged(f"'{path.name}' does not say how many pixels it has.") from error
    frames = tuple(_frame(path, number, levels) for number, levels in enumerate(_levels(data, count)))
    return Header(path, str(data.get("SeriesInstanceUID") or ""), str(data.get("Modality") or ""), shape, bits,
                  str(data.get("PhotometricInterpretation") or ""), "ModalityLUTSequence" in data,
                  UID(data.get("SOPClassUID") or "").name, frames)


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
