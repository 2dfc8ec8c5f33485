"""Changes of the text headers of NRRD and MetaImage files; what follows the header stays."""

from __future__ import annotations

import re
from random import Random

from Testing.fuzz.mutate import MOST_COPIES, NUMBERS, TEXTS, hostile_bytes

NUMBER = re.compile(rb"-?\d+(\.\d+)?")
END_OF_META = re.compile(rb"^ElementDataFile *=.*\n?", re.MULTILINE)
NRRD_FIELDS = (b"data file: %s", b"datafile: %s", b"data file: LIST\n%s", b"data file: x%%05d.raw 0 999999999 1",
               b"data file: %%s%%n 1 2 1", b"data file: x%%9999999d.raw 1 3 1", b"line skip: %s", b"byte skip: %s",
               b"line skip: -1", b"byte skip: -1", b"encoding: %s", b"encoding: gzip", b"encoding: bzip2",
               b"encoding: hex", b"encoding: text", b"type: %s", b"type: block", b"block size: %s", b"endian: %s",
               b"units: %s", b'space units: "%s" "mm" "mm"', b"space: %s", b"space dimension: %s", b"kinds: %s",
               b"measurement frame: (1,0,0) (0,1,0) (%s,0,1)", b"key:=%s", b"axis mins: %s", b"old min: %s",
               b"thicknesses: %s", b"centers: cell cell cell", b"labels: \"%s\"", b"sample units: \"%s\"", b"# %s",
               b"%s")
META_FIELDS = (b"ElementDataFile = %s", b"ElementDataFile = LIST\n%s", b"ElementDataFile = x%%05d.raw 0 99999999 1",
               b"ElementDataFile = %%s%%n 1 2 1", b"ElementDataFile = x%%9999999d.raw 1 3 1", b"HeaderSize = %s",
               b"HeaderSize = -1", b"CompressedData = True", b"CompressedDataSize = %s", b"BinaryData = False",
               b"BinaryDataByteOrderMSB = True", b"ElementType = %s", b"ElementType = MET_DOUBLE",
               b"ElementNumberOfChannels = %s", b"ElementToIntensityFunctionSlope = %s",
               b"ElementToIntensityFunctionOffset = %s", b"DistanceUnits = %s", b"ElementSize = %s", b"NDims = %s",
               b"DimSize = %s", b"TransformMatrix = %s", b"Offset = %s", b"CenterOfRotation = %s", b"Comment = %s",
               b"AnatomicalOrientation = %s", b"ObjectType = %s", b"Modality = %s", b"Name = %s", b"%s = %s", b"%s")


def change_nrrd(random: Random, data: bytes) -> bytes:
    head, blank, voxels = data.partition(b"\n\n")
    return _change_lines(random, head, NRRD_FIELDS, b": ") + blank + voxels


def change_meta(random: Random, data: bytes) -> bytes:
    found = END_OF_META.search(data)
    end = found.end() if found else len(data)
    return _change_lines(random, data[:end].rstrip(b"\n"), META_FIELDS, b" = ") + b"\n" + data[end:]


def _change_lines(random: Random, head: bytes, fields: tuple[bytes, ...], between: bytes) -> bytes:
    lines = head.split(b"\n")
    for _ in range(random.choice((1, 1, 2, 3))):
        number = random.randrange(len(lines))
        change = random.randrange(8)
        if change < 3:
            lines[number] = _with_other_value(random, lines[number], between)
        elif change < 5:
            lines.insert(random.choice((number, len(lines) - 1)), _field(random, fields))
        elif change == 5:
            lines[number] = lines[number] * random.choice((0, 2)) or b"#"
        elif change == 6:
            lines.insert(0 if random.random() < 0.2 else number, lines[random.randrange(len(lines))])
        else:
            lines[number:number] = [_field(random, fields)] * random.choice((2, MOST_COPIES))
    return random.choice((b"\n",) * 20 + (b"\r\n", b"\r")).join(lines)


def _field(random: Random, fields: tuple[bytes, ...]) -> bytes:
    """A field of the format with something odd in it."""
    value = hostile_bytes(random)
    text = random.choice(fields)
    return text.replace(b"%%", b"\1").replace(b"%s", value).replace(b"\1", b"%")


def _with_other_value(random: Random, line: bytes, between: bytes) -> bytes:
    """Another value, or another number among those of the value."""
    name, found, value = line.partition(between)
    numbers = list(NUMBER.finditer(value))
    if found and numbers and random.random() < 0.7:
        one = random.choice(numbers)
        return name + found + value[:one.start()] + str(random.choice(NUMBERS)).encode() + value[one.end():]
    return name + found + random.choice(TEXTS).encode()
