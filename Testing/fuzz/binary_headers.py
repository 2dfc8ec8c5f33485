"""Changes of what stands in binary files: NIfTI's fields, DICOM's elements, safetensors' header, torch's records."""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from random import Random
from typing import Any

import numpy as np

from SAMoraLib.card import METADATA_KEY
from Testing.fuzz.mutate import BYTES, MARK, NUMBERS, hostile_bytes
from Testing.fuzz.structures import DEPTHS, change_json, change_tree, to_text

LONG = (b"OB", b"OD", b"OF", b"OL", b"OW", b"SQ", b"UC", b"UR", b"UT", b"UN")  # VRs with a length of four bytes
SYNTAXES = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
            "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5",
            "1.2.3", "")
SYNTAX, PIXELS = (2, 0x10), (0x7FE0, 0x10)
DEFLATED = "1.2.840.10008.1.2.1.99"
DEFLATED_ZEROS = 4 << 20
NUMBER_TEXTS = ("", "0", "-1", "1", "NaN", "inf", "1e400", "1\\1", "1\\1\\1", "1\\0\\0\\0\\1\\0", "0\\0\\0\\0\\0\\0",
                "x", "0.0000001\\1e30", "nan\\nan\\nan", "99999999999", "1e-320\\1", " 1 ", "1,5", "\\",
                "\\\\\\", "1\0")


def change_nifti(random: Random, data: bytes) -> bytes:
    """One or two fields of the header."""
    from nibabel.nifti1 import header_dtype
    from nibabel.nifti2 import header_dtype as wide_dtype

    dtype: Any = wide_dtype if data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else header_dtype
    order: Any = ">" if data[:1] == b"\0" else "<"
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2))):
        kind, offset = dtype.fields[random.choice(dtype.names)][:2]
        single, count = kind.base, math.prod(kind.shape)
        start = offset + single.itemsize * random.randrange(max(1, count))
        changed[start:start + single.itemsize] = _as_bytes(random, single.newbyteorder(order))
    return bytes(changed)


def _as_bytes(random: Random, kind: np.dtype) -> bytes:
    """Something odd of a type."""
    if kind.kind == "S":
        return hostile_bytes(random)[:kind.itemsize].ljust(kind.itemsize, b"\0")
    number = random.choice(NUMBERS)
    if kind.kind == "f":
        with np.errstate(all="ignore"):
            return np.array(float(number)).astype(kind).tobytes()
    whole = int(number) if math.isfinite(number) else -1
    order = "big" if kind.byteorder == ">" else "little"
    return (whole % (1 << 8 * kind.itemsize)).to_bytes(kind.itemsize, order)  # type: ignore[arg-type]


Element = tuple[tuple[int, int], bytes, bytes]  # tag, VR, value


def dicom_elements(data: bytes) -> list[Element]:
    """The elements at the top of an explicit little endian file.

    Raises:
        struct.error: it is no such file.
    """
    found, start = [], 132
    while start < len(data):
        group, number, vr, length = struct.unpack_from("<HH2sH", data, start)
        start += 8
        if vr in LONG:
            length = struct.unpack_from("<I", data, start)[0]
            start += 4
        if length == 0xFFFFFFFF:
            length = len(data) - start
        found.append(((group, number), vr, data[start:start + length]))
        start += length
    return found


def dicom_bytes(element: Element, length: int | None = None) -> bytes:
    """As it stands in the file, with another length if one is given."""
    (group, number), vr, value = element
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", group, number, vr)
    if vr in LONG:
        return head + struct.pack("<HI", 0, length & 0xFFFFFFFF) + value
    return head + struct.pack("<H", length & 0xFFFF) + value


def change_dicom(random: Random, data: bytes) -> bytes:
    """One or two elements, also those of sequences."""
    elements = dicom_elements(data)
    if random.random() < 0.02:
        return data[:132] + deflated(elements)
    parts = [dicom_bytes(element) for element in elements]
    for _ in range(random.choice((1, 1, 2))):
        number = random.randrange(len(parts))
        parts[number] = _changed_element(random, elements[number])
        if random.random() < 0.1:
            random.shuffle(parts)
    return data[:132] + b"".join(parts)


def _changed_element(random: Random, element: Element) -> bytes:
    tag, vr, value = element
    if tag == SYNTAX:
        return dicom_bytes((tag, vr, _even(random.choice(SYNTAXES).encode())))
    kind = random.randrange(8)
    if kind < 3:
        texts = random.choice(NUMBER_TEXTS).encode() if vr in (b"DS", b"IS") else hostile_bytes(random)
        new = struct.pack("<H", int(random.choice((0, 1, 2, 8, 255, 65535)))) if vr == b"US" else _even(texts)
        return dicom_bytes((tag, vr, new))
    if kind == 3:
        return dicom_bytes(element, random.choice((0, 1, 2, 0xFFFF, 0xFFFFFFFF, 0x7FFFFFFF, len(value) + 2)))
    if kind == 4:
        return dicom_bytes((tag, random.choice((b"UN", b"SQ", b"DS", b"OW", b"PN", b"FD", b"AT", b"??")), value))
    if kind == 5:
        return random.choice((b"", dicom_bytes(element) * 2))
    if kind == 6:
        return dicom_bytes(element) + _nested(random.choice(DEPTHS))
    return dicom_bytes((tag, vr, random.choice(BYTES)(random, value)))


def _even(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


def _nested(depth: int) -> bytes:
    """Sequences in sequences that are never ended."""
    sequence = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    return (sequence + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * depth


def deflated(elements: list[Element]) -> bytes:
    """Packed as a whole, a private element of very many zeros among the others."""
    syntax = _even(DEFLATED.encode())
    meta = [(tag, vr, syntax if tag == SYNTAX else value) for tag, vr, value in elements if tag[0] == 2]
    zeros = ((0x7FDF, 0x1010), b"OB", bytes(DEFLATED_ZEROS))
    rest = [element for element in elements if element[0][0] != 2]
    packer = zlib.compressobj(1, wbits=-15)
    body = b"".join(map(dicom_bytes, [*(one for one in rest if one[0] != PIXELS), zeros,
                                      *(one for one in rest if one[0] == PIXELS)]))
    return b"".join(map(dicom_bytes, meta)) + packer.compress(body) + packer.flush()


def change_safetensors(random: Random, data: bytes) -> bytes:
    """The header's length, its tables, or the card in it."""
    (length,) = struct.unpack_from("<Q", data)
    if random.random() < 0.1:
        other = int(random.choice((0, 1, 2, length - 1, length + 1, 10**8, 2**32, 2**63, 2**64 - 1)))
        return struct.pack("<Q", other % 2**64) + data[8:]
    change = random.choice((change_json, change_json, change_card, change_card, change_card, change_dtype))
    header = change(random, data[8:8 + length])
    return struct.pack("<Q", len(header)) + header + data[8 + length:]


def change_dtype(random: Random, header: bytes) -> bytes:
    """One or all of the tensors' types."""
    return header.replace(b'"F32"', b'"%s"' % random.choice(DTYPES), random.choice((1, 2, -1)))


def change_card(random: Random, header: bytes) -> bytes:
    """Only the card in a header of JSON."""
    tree: Any = json.loads(header)
    card = json.loads(tree["__metadata__"][METADATA_KEY])
    tree["__metadata__"][METADATA_KEY] = to_text(change_tree(random, card))
    return json.dumps(tree).encode()


DTYPES = (b"F16", b"BF16", b"F64", b"I32", b"U8", b"BOOL", b"C64", b"F8_E4M3", b"F4", b"x", b"")
PICKLES = (
    b"\x80\x02cos\nmkdir\nX\x08\0\0\0" + MARK.encode() + b"\x85R.",
    b"\x80\x02cposix\nsystem\nX\x0e\0\0\0mkdir " + MARK.encode() + b"\x85R.",
    b"\x80\x02c__builtin__\neval\nX\x01\0\0\0" + b"1\x85R.",
    b"\x80\x02}q\0X\x01\0\0\0ah\0s.",  # a table that holds itself
    b"\x80\x02]q\0h\0a.",
    b"\x80\x02\x8b\xff\xff\xff\x7f.", b"\x80\x02X\xff\xff\xff\xff.", b"\x80\x04\x8d" + b"\xff" * 8 + b".",
    b"\x80\x02K\x01.", b"\x80\x02N.", b".", b"", b"\x80\x09.", b"\x80\x02}.", b"\x80\x02].",
    b"\x80\x02}X\x01\0\0\0aK\x01s.", b"\x80\x02(" + b"K\x01" * 1000 + b"t.",
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n).", b"\x80\x02ctorch\nzeros\n\x8a\x05\0\0\0\0\x01\x85R.",
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n()R.", b"\x80\x02Q.", b"\x80\x02h\x05.", b"\x80\x020.", b"\x80\x02R.",
)


def change_archive(random: Random, data: bytes) -> bytes:
    """One record of a zip archive; its checksum fits again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = next((name for name in records if name.endswith("data.pkl")), "data.pkl")
    if random.random() < 0.4:
        name = random.choice(list(records))
    kind = random.randrange(6)
    packing = zipfile.ZIP_STORED
    if kind == 0:
        records[name] = random.choice((*PICKLES, _deep_pickle(random)))
    elif kind == 1:
        del records[name]
    elif kind == 2:
        records[random.choice(("../x", "/x", "a\0b", "x" * 3000, "archive/data.pkl", "byteorder"))] = records[name]
    elif kind == 3 and random.random() < 0.1:
        records[name], packing = bytes(DEFLATED_ZEROS), zipfile.ZIP_DEFLATED
    else:
        records[name] = random.choice(BYTES)(random, records[name])
    return zipped(records, packing)


def zipped(records: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as archive:
        for name, content in records.items():
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    return made.getvalue()


def _deep_pickle(random: Random) -> bytes:
    depth = random.choice(DEPTHS)
    return random.choice((b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".", b"(" * depth + b"."))
