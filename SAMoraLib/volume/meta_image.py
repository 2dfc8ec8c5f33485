"""Reading MetaImage (https://itk.org/Wiki/MetaIO/Documentation): one parser of the header, and no other reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from SAMoraLib.system.streams import one_line
from SAMoraLib.volume.text_header import TextHeader, numbers, one_volume, refuse_value, whole
from SAMoraLib.volume.voxel_data import AT_THE_END, DEFLATED, RAW, TEXT, Stored

KINDS = {"met_char": "i1", "met_uchar": "u1", "met_short": "i2", "met_ushort": "u2", "met_int": "i4", "met_uint": "u4",
         "met_long": "i4", "met_ulong": "u4", "met_long_long": "i8", "met_ulong_long": "u8", "met_float": "f4",
         "met_double": "f8"}
PLACES = ("offset", "position", "origin")
ROTATIONS = ("transformmatrix", "rotation", "orientation")
UNIT = 1e-2  # how far the length of an axis's direction may be from 1


def stored_as(header: TextHeader) -> Stored:
    """How the voxels are stored.

    Raises:
        ValueError: it is no MetaImage, or the header says what cannot be, or is not read.
    """
    name, fields = header.path.name, header.fields
    if "ndims" not in fields or "elementdatafile" not in fields or fields.get("objecttype", "Image") != "Image":
        raise ValueError(f"'{name}' cannot be read; it is not a MetaImage file, so save it as one, or give it the "
                         "ending of its format.")
    sizes = whole(name, fields, "dimsize")
    if whole(name, fields, "ndims") != [len(sizes)]:
        refuse_value(name, "NDims", fields["ndims"])
    kind = fields.get("elementtype", "").lower().removesuffix("_array")
    channels = whole(name, fields, "elementnumberofchannels") if "elementnumberofchannels" in fields else [1]
    if kind not in KINDS:
        raise ValueError(f"'{name}' holds values of type '{one_line(kind[:40])}'; give integers or real numbers.")
    order = ">" if any(_is_true(fields, field) for field in ("binarydatabyteordermsb", "elementbyteordermsb")) else "<"
    encoding = RAW if _is_true(fields, "binarydata", "True") else TEXT
    encoding = DEFLATED if encoding == RAW and _is_true(fields, "compresseddata") else encoding
    attached = fields["elementdatafile"].upper() == "LOCAL"
    return Stored([*(channels if channels != [1] else []), *sizes], np.dtype(order + KINDS[kind]), encoding,
                  header.end if attached else None, _skip(name, fields))


def _is_true(fields: Mapping[str, str], field: str, default: str = "False") -> bool:
    return fields.get(field, default)[:1] in ("T", "t", "1")


def _skip(name: str, fields: Mapping[str, str]) -> int:
    if fields.get("headersize", "0") == "-1":
        return AT_THE_END
    return whole(name, fields, "headersize", least=0)[0] if "headersize" in fields else 0


def grid(stored: Stored, header: TextHeader) -> tuple[np.ndarray, np.ndarray, Sequence[int]]:
    """Steps of i, j, k as columns (3, 3), the first voxel's place (3,), LPS in the header's unit, and the three sizes.

    Raises:
        ValueError: several values a voxel, several time points, or an orientation that is none.
    """
    name, fields = header.path.name, header.fields
    count = whole(name, fields, "ndims")[0]
    sizes = one_volume(name, stored.sizes[-count:], int(np.prod(stored.sizes[:-count], dtype=object)))
    spacing = numbers(fields.get("elementspacing") or fields.get("elementsize") or "")
    origin, axes = np.zeros(count), np.eye(count)
    if place := next((field for field in PLACES if field in fields), ""):
        origin = _array(name, fields, place, count)
    if rotation := next((field for field in ROTATIONS if field in fields), ""):
        axes = _array(name, fields, rotation, count * count).reshape(count, count)
    directions = axes[:3, :3].T  # a row of the file for each axis
    if not np.abs(np.linalg.norm(directions, axis=0) - 1).max() < UNIT:
        raise ValueError(f"'{name}' is damaged: the directions of its axes are not of length 1; export it again.")
    return directions * spacing[:3], origin[:3], sizes


def _array(name: str, fields: Mapping[str, str], field: str, count: int) -> np.ndarray:
    values = numbers(fields[field])
    if len(values) != count:
        refuse_value(name, field, fields[field])
    return np.array(values)
