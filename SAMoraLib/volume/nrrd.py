"""Reading NRRD (https://teem.sourceforge.net/nrrd/format.html): one parser of the header, and no other reads it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from SAMoraLib.system.streams import one_line
from SAMoraLib.volume.text_header import PATIENT, TextHeader, numbers, one_volume, refuse_value, whole
from SAMoraLib.volume.voxel_data import AT_THE_END, BZIP2, DEFLATED, HEX, RAW, TEXT, Stored

TYPES = {
    "i1": ("signed char", "int8", "int8_t"), "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"), "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",), "f8": ("double",),
}
KINDS = {name: kind for kind, names in TYPES.items() for name in names}
ENCODINGS = {"raw": RAW, "gzip": DEFLATED, "gz": DEFLATED, "bzip2": BZIP2, "bz2": BZIP2, "text": TEXT, "txt": TEXT,
             "ascii": TEXT, "hex": HEX}
ORDERS = {"little": "<", "big": ">"}
DOMAIN = ("domain", "space", "time", "none", "???", "unknown")  # kinds of axes along which voxels lie
UNSAID = re.compile(r"^(scanner-xyz|3d-right-handed|3d-left-handed)(-time)?$")  # spaces that are not the patient's


def stored_as(header: TextHeader) -> Stored:
    """How the voxels are stored.

    Raises:
        ValueError: it is no NRRD, or the header says what cannot be, or is not read.
    """
    name, fields = header.path.name, header.fields
    if not header.first.startswith("NRRD000"):
        raise ValueError(f"'{name}' cannot be read; it is not a NRRD file, so save it as one, or give it the ending of "
                         "its format.")
    sizes = whole(name, fields, "sizes")
    if whole(name, fields, "dimension") != [len(sizes)]:
        refuse_value(name, "dimension", fields.get("dimension", ""))
    kind, encoding = fields.get("type", "").lower(), fields.get("encoding", "").lower()
    if kind not in KINDS:
        raise ValueError(f"'{name}' holds values of type '{one_line(kind[:40])}'; give integers or real numbers.")
    if encoding not in ENCODINGS:
        refuse_value(name, "encoding", encoding)
    order = fields.get("endian", "").lower()
    if KINDS[kind][1] != "1" and ENCODINGS[encoding] != TEXT and order not in ORDERS:
        refuse_value(name, "endian", order)
    skip, lines = (_skip(name, fields, field) for field in ("byteskip", "lineskip"))
    if lines < 0 or skip < AT_THE_END or (skip == AT_THE_END and ENCODINGS[encoding] in (TEXT, HEX)):
        refuse_value(name, "skip", f"{skip} {lines}")
    attached = not fields.get("datafile")
    return Stored(sizes, np.dtype(ORDERS.get(order, "=") + KINDS[kind]), ENCODINGS[encoding],
                  header.end if attached else None, skip, lines)


def _skip(name: str, fields: Mapping[str, str], field: str) -> int:
    text = fields.get(field, "0")
    if not re.fullmatch(r"-?\d{1,12}", text):
        refuse_value(name, field, text)
    return int(text)


def grid(stored: Stored, header: TextHeader) -> tuple[np.ndarray, np.ndarray, Sequence[int]]:
    """Steps of i, j, k as columns (3, 3), the first voxel's place (3,), LPS in the header's unit, and the three sizes.

    Raises:
        ValueError: several values a voxel, several time points, or a space that is not known.
    """
    name, fields = header.path.name, header.fields
    kinds = fields.get("kinds", "").lower().split() or ["domain"] * len(stored.sizes)
    if len(kinds) != len(stored.sizes):
        refuse_value(name, "kinds", fields["kinds"])
    axes = [axis for axis, kind in enumerate(kinds) if kind in DOMAIN]
    components = int(np.prod([size for axis, size in enumerate(stored.sizes) if axis not in axes], dtype=object))
    sizes = one_volume(name, [stored.sizes[axis] for axis in axes], components)
    to_lps = np.diag(_signs(name, fields.get("space", "").strip().lower()))
    steps, origin = np.eye(3), np.zeros(3)
    if "spacedirections" in fields:
        vectors = re.findall(r"none|\([^)]*\)", fields["spacedirections"])
        if len(vectors) != len(stored.sizes):
            refuse_value(name, "space directions", fields["spacedirections"])
        steps = np.stack([_vector(name, vectors[axis]) for axis in axes[:3]], axis=1)
    elif len(spacings := numbers(fields.get("spacings", ""))) == len(stored.sizes):
        steps = np.diag([spacings[axis] for axis in axes[:3]])
    if "spaceorigin" in fields:
        origin = _vector(name, fields["spaceorigin"])
    elif len(mins := numbers(fields.get("axismins", ""))) == len(stored.sizes):
        origin = _from_mins(fields, np.array([mins[axis] for axis in axes[:3]]), np.diag(steps), axes)
    return to_lps @ steps, to_lps @ origin, sizes


def _from_mins(fields: Mapping[str, str], mins: np.ndarray, steps: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Where the first voxel lies on axes that are said to begin at ``mins``; 0 where none of them says it."""
    if np.isnan(mins).all():
        return np.zeros(3)
    ends = fields.get("centerings", fields.get("centers", "")).lower().split()
    halves = [0 if ends[axis:axis + 1] == ["node"] else 0.5 for axis in axes[:3]]
    return mins + steps * halves


def _signs(name: str, space: str) -> list[float]:
    """Of x, y, z, from the header's space to LPS."""
    if found := PATIENT.match(space):
        across, along, up = (found[number][:1] for number in (2, 3, 4))
        return [-1.0 if across == "r" else 1.0, -1.0 if along == "a" else 1.0, -1.0 if up == "i" else 1.0]
    if space and not UNSAID.match(space):
        refuse_value(name, "space", space)
    return [1.0, 1.0, 1.0]


def _vector(name: str, text: str) -> np.ndarray:
    values = numbers(text.strip().strip("()"))
    if len(values) not in (3, 4):
        refuse_value(name, "vector", text)
    return np.array(values[:3])
