"""How deeply the data sets of a DICOM file are nested, for GDCM calls itself for each level and ends the process where
its stack does.
"""

from __future__ import annotations

import struct

DEEPEST = 64  # levels; real files have below ten
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
SEQUENCES = (b"SQ", b"UN", b"")  # b"": VRs are implicit, and any element may be one
MARKS = {"<": b"\xfe\xff\x00\xe0", ">": b"\xff\xfe\xe0\x00"}  # of an item


def require_shallow(data: bytes, explicit: bool, order: str, start: int = 0) -> None:
    """Refuse elements that are nested too deeply.

    Args:
        data: elements, from ``start``; what they are cut off by does not matter.
        explicit: whether each says its VR.
        order: "<" or ">".

    Raises:
        ValueError: they are.
    """
    if data.count(MARKS[order]) <= DEEPEST:  # as nearly every file of one slice has them
        return
    ends: list[int] = []  # of the sequences and items around ``place``
    place = start
    while place + 8 <= len(data):
        while ends and place >= ends[-1]:
            ends.pop()
        tag, vr, length, place = _element(data, place, explicit, order)
        if tag in (ITEM_END, SEQUENCE_END):
            if ends and ends[-1] == UNDEFINED:
                ends.pop()
        elif tag == ITEM or (vr in SEQUENCES and (length == UNDEFINED or data.startswith(MARKS[order], place))):
            ends.append(UNDEFINED if length == UNDEFINED else place + length)
            if len(ends) > 2 * DEEPEST:
                raise ValueError(f"its data sets are nested deeper than {DEEPEST} levels")
        elif length != UNDEFINED:
            place += length


def _element(data: bytes, place: int, explicit: bool, order: str) -> tuple[int, bytes, int, int]:
    """Tag, VR, length, and where the value begins."""
    group, number, length = struct.unpack_from(f"{order}HHI", data, place)
    tag = (group << 16) + number
    if not explicit or group == 0xFFFE:
        return tag, b"", length, place + 8
    vr = data[place + 4:place + 6]
    if vr not in LONG:
        return tag, vr, struct.unpack_from(f"{order}H", data, place + 6)[0], place + 8
    if place + 12 > len(data):
        return tag, vr, 0, len(data)
    return tag, vr, struct.unpack_from(f"{order}I", data, place + 8)[0], place + 12
