"""The text headers of NRRD and MetaImage: their fields, the files that they name, and what is missing in them.

The fields are those of https://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from SAMoraLib.system.streams import one_line

NRRD, META = (".nrrd", ".nhdr"), (".mha", ".mhd")
LIST_LINE = re.compile(r"^\s*(data *file *:|ElementDataFile *=)\s*LIST\b", re.IGNORECASE)
NUMBER = re.compile(r"%(0?)(\d{0,2})(\.\d{1,2})?[diu]")
MOST_FILES = 100_000  # of one volume; more is a damaged header
LONGEST = 1 << 24  # bytes of a header
MOST_AXES = 16
SIZE = re.compile(r"\d{1,12}")
SHOWN = 40  # letters of a header, in a sentence
ONCE = frozenset((  # what a header may not say twice, or one says what another denies
    "dimension", "sizes", "type", "encoding", "endian", "datafile", "byteskip", "lineskip", "space", "spacedirections",
    "spaceorigin", "spacings", "kinds", "units", "spaceunits", "axismins", "centers", "centerings",
    "objecttype", "ndims", "dimsize", "elementtype", "elementnumberofchannels", "binarydata", "compresseddata",
    "headersize", "offset", "position", "origin", "transformmatrix", "rotation", "orientation", "elementspacing",
    "elementsize", "distanceunits", "binarydatabyteordermsb", "elementbyteordermsb"))
WHOLE = re.compile(r"-?\d{1,9}")
MICROMETRE = ("um", "micron", "micrometer", "micrometre", "μm", "µm", "\udcb5m")  # the last is Latin-1's
UNITS = {"m": 1000.0, "meter": 1000.0, "metre": 1000.0, "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0, "mm": 1.0,
         "millimeter": 1.0, "millimetre": 1.0, "nm": 1e-6, "nanometer": 1e-6, "nanometre": 1e-6, "": 1.0,
         "?": 1.0, "???": 1.0} | dict.fromkeys(MICROMETRE, 1e-3)
PATIENT = re.compile(r"^(([rl]|left|right)-?([ap]|anterior|posterior)-?([si]|superior|inferior)(-time|t)?)$")


@dataclass(frozen=True)
class TextHeader:
    """What stands before the voxels.

    Attributes:
        path: of its file.
        fields: by name, in lower case and without blanks.
        first: line.
        end: where the voxels begin, if they follow.
    """

    path: Path
    fields: Mapping[str, str]
    first: str
    end: int

    @property
    def is_nrrd(self) -> bool:
        return self.path.name.lower().endswith(NRRD)


def read_fields(path: Path) -> Mapping[str, str]:
    """The fields of a text header."""
    return read_header(path).fields


def read_header(path: Path) -> TextHeader:
    """A header, which may be that of no image.

    Raises:
        ValueError: a field stands twice and says two things, or the header has no end.
    """
    nrrd = path.name.lower().endswith(NRRD)
    fields: dict[str, str] = {}
    first, end = "", 0
    for raw in _raw_lines(path):
        line = _text(raw)
        first, end = first if end else line, end + len(raw)
        if nrrd and not line.strip():
            break
        name, found, value = line.partition(":" if nrrd or ":" in line.partition("=")[0] else "=")
        if found and not (nrrd and (line.startswith("#") or ":=" in line.partition(": ")[0])):
            name, value = name.strip().lower().replace(" ", ""), value.strip()
            if fields.setdefault(name, value) != value and name in ONCE:
                refuse_value(path.name, name, f"{fields[name][:SHOWN]}' and '{value}")
        if not nrrd and name == "elementdatafile":
            break
    return TextHeader(path, fields, first, end)


def refuse_value(name: str, field: str, value: str) -> NoReturn:
    """Raise a ValueError: a field says what cannot be, or what is not read."""
    said = f"'{value[:2 * SHOWN]}'" if value else "nothing"
    raise ValueError(one_line(f"'{name}' cannot be read: its header says {said} for {field[:SHOWN]}, which is damaged, "
                              "or not known; export it again."))


def whole(name: str, fields: Mapping[str, str], field: str, least: int = 1) -> list[int]:
    """A field's whole numbers.

    Raises:
        ValueError: it has none, too many, or others, or one below ``least``.
    """
    words = fields.get(field, "").split()
    if not 0 < len(words) <= MOST_AXES or not all(SIZE.fullmatch(word) and int(word) >= least for word in words):
        refuse_value(name, field, fields.get(field, ""))
    return [int(word) for word in words]


def one_volume(name: str, sizes: Sequence[int], components: int) -> list[int]:
    """The three sizes of a volume that has one value a voxel, and of further axes only such as are 1 long.

    Raises:
        ValueError: it is something else.
    """
    if components != 1:
        raise ValueError(f"'{name}' is a colour or vector image with {components} components; give a volume with one "
                         "grey value per voxel.")
    if any(size > 1 for size in sizes[3:]):
        raise ValueError(f"'{name}' has {len(sizes)} dimensions ({' x '.join(map(str, sizes))}); give one 3D volume, "
                         "e.g. one time point.")
    if len(sizes) < 3:
        raise ValueError(f"'{name}' is an image of {len(sizes)} dimensions, and nothing says how thick it is; give a "
                         "volume, of one slice if need be.")
    return list(sizes[:3])


def voxel_files(path: Path) -> list[Path]:
    """As ``named_files``, of the header in a file."""
    return named_files(read_header(path))


def named_files(header: TextHeader) -> list[Path]:
    """The files that hold a header's voxels, whether they are there or not; empty where it holds them itself, or is
    none.
    """
    path, fields = header.path, header.fields
    words = (fields.get("datafile") or fields.get("elementdatafile") or "").strip()
    first, *others = words.split() or [""]
    if first.upper() in ("", "LOCAL"):
        return []
    if first.upper() == "LIST":
        return [path.parent / line.strip() for line in _lines_of_list(path)[:MOST_FILES] if line.strip()]
    if "%" in first and len(others) >= 2 and all(WHOLE.fullmatch(word) for word in others[:3]):
        low, high, step = (*map(int, others[:3]), 1)[:3]
        down = step < 0 and header.is_nrrd
        found = range(low, high - 1, step) if down else range(low, high + 1, max(1, abs(step)))
        return [path.parent / _numbered(first, number) for number in found[:MOST_FILES]]
    return [path.parent / words]


def _raw_lines(path: Path) -> Iterator[bytes]:
    """Lines as far as a header may reach; who finds its end asks for none behind it.

    Raises:
        ValueError: there are more.
    """
    left = LONGEST
    with path.open("rb") as file:
        while line := file.readline(LONGEST):
            left -= len(line)
            if left < 0:  # what was cut off would be taken for voxels
                raise ValueError(f"'{path.name}' cannot be read: its header is longer than {LONGEST >> 20} MiB, or it "
                                 "is no such file; export it again.")
            yield line


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _lines_of_list(path: Path) -> list[str]:
    """What follows the line that announces a list of files."""
    lines = list(map(_text, _raw_lines(path)))
    announced = next((number for number, line in enumerate(lines) if LIST_LINE.match(line)), len(lines))
    return lines[announced + 1:]


def _numbered(pattern: str, number: int) -> str:
    """C's format of one whole number, as in slice%03d.raw or slice%.3d.raw."""
    return NUMBER.sub(lambda found: _written(number, *found.groups("")), pattern, count=1)


def _written(number: int, zero: str, width: str, digits: str) -> str:
    """In C, unlike Python, a 0 before the width means nothing where digits are asked for."""
    return f"%{'' if digits else zero}{width}{digits}d" % number


def millimetres(header: TextHeader, tell: Callable[[str], None]) -> float:
    """What a length in the header of a NRRD or MetaImage file is to be multiplied by to be mm.

    Tells where the header does not say how the patient lies.

    Raises:
        ValueError: the header gives no voxel size, or an unknown unit, or the image has no third axis.
    """
    path, fields, nrrd = header.path, header.fields, header.is_nrrd
    count = fields.get("dimension" if nrrd else "ndims", "")
    if count.isdigit() and int(count) < 3:
        raise ValueError(f"'{path.name}' is an image of {count} dimensions, and nothing says how thick it is; give a "
                         "volume, of one slice if need be.")
    if count.isdigit() and not (_nrrd_size(fields) if nrrd else _meta_size(fields)):
        raise ValueError(f"'{path.name}' does not say how large its voxels are; give it a voxel size in mm, or export "
                         "it again.")
    if count.isdigit() and not (_nrrd_lies(fields) if nrrd else _meta_lies(fields)):
        tell(f"'{path.name}' does not say how the patient lies in it; left and right may be exchanged.")
    stated = _quoted(fields.get("spaceunits") or fields.get("units", "")) if nrrd else [fields.get("distanceunits", "")]
    return _factor(path.name, stated)


def _factor(name: str, stated: list[str]) -> float:
    units = {unit.strip().lower() for unit in stated} or {""}
    if unknown := sorted(unit for unit in units if _singular(unit) not in UNITS):
        unit = one_line(unknown[0][:SHOWN])
        raise ValueError(f"'{name}' gives lengths in '{unit}', which is not known; export it in mm.")
    factors = {UNITS[_singular(unit)] for unit in units}
    if len(factors) > 1:
        raise ValueError(f"'{name}' gives lengths in several units ({', '.join(sorted(units))}); export it in mm.")
    return factors.pop()


def _singular(unit: str) -> str:
    return unit.removesuffix("s") if len(unit) > 2 else unit


def _quoted(text: str) -> list[str]:
    """NRRD's list of quoted strings; the units of three axes at most, for a fourth is no length."""
    return (re.findall(r'"([^"]*)"', text) or text.split())[:3]


def _nrrd_size(fields: Mapping[str, str]) -> bool:
    """Whether three axes have a finite size."""
    if "spacedirections" in fields:
        vectors = [numbers(vector) for vector in re.findall(r"\(([^)]*)\)", fields["spacedirections"])]
        lengths = [float(np.linalg.norm(vector)) for vector in vectors if vector]
    else:
        lengths = numbers(fields.get("spacings", ""))
    return sum(np.isfinite(length) and length != 0 for length in lengths) >= 3


def _nrrd_lies(fields: Mapping[str, str]) -> bool:
    return "spacedirections" in fields and bool(PATIENT.match(fields.get("space", "").strip().lower()))


def _meta_size(fields: Mapping[str, str]) -> bool:
    lengths = numbers(fields.get("elementspacing") or fields.get("elementsize") or "")
    return len(lengths) >= 3 and all(np.isfinite(length) and length > 0 for length in lengths[:3])


def _meta_lies(fields: Mapping[str, str]) -> bool:
    return any(name in fields for name in ("transformmatrix", "rotation", "orientation"))


def numbers(text: str) -> list[float]:
    """Numbers between blanks or commas; none where a word is no number."""
    try:
        return [float(number) for number in text.replace(",", " ").split()]
    except ValueError:
        return []
