"""What NRRD and MetaImage headers say of the grid, where ITK fills in what is missing: size, unit, orientation.

The fields are those of https://teem.sourceforge.net/nrrd/format.html and https://itk.org/Wiki/MetaIO/Documentation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

NRRD, META = (".nrrd", ".nhdr"), (".mha", ".mhd")
LIST_LINE = re.compile(r"^\s*(data *file *:|ElementDataFile *=)\s*LIST\b", re.IGNORECASE)
NUMBER = re.compile(r"%(0?)(\d*)(?:\.(\d+))?[diu]")
MOST_FILES = 100_000  # of one volume; more is a damaged header
LONGEST = 1 << 20  # bytes of a header
WHOLE = re.compile(r"-?\d{1,9}")
MICROMETRE = ("um", "micron", "micrometer", "μm", "µm", "\udcb5m")  # the last is Latin-1's
UNITS = {"m": 1000.0, "meter": 1000.0, "metre": 1000.0, "cm": 10.0, "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0,
         "nm": 1e-6, "": 1.0, "?": 1.0, "???": 1.0} | dict.fromkeys(MICROMETRE, 1e-3)
PATIENT = re.compile(r"^(([rl]|left|right)-?([ap]|anterior|posterior)-?([si]|superior|inferior)(-time|t)?)$")


def read_fields(path: Path) -> dict[str, str]:
    """The fields of a text header, their names in lower case and without blanks; the first of each counts."""
    nrrd = path.name.lower().endswith(NRRD)
    fields: dict[str, str] = {}
    for line in _lines(path):
        if nrrd and not line.strip():
            break
        name, found, value = line.partition(":" if nrrd else "=")
        if found and not line.startswith("#") and not value.startswith("="):
            fields.setdefault(name.strip().lower().replace(" ", ""), value.strip())
        if not nrrd and name.strip().lower() == "elementdatafile":
            break
    return fields


def voxel_files(path: Path) -> list[Path]:
    """The files that hold a header's voxels, whether they are there or not; empty where it holds them itself, or is
    none.
    """
    fields = read_fields(path)
    words = (fields.get("datafile") or fields.get("elementdatafile") or "").strip()
    first, *others = words.split() or [""]
    if first.upper() in ("", "LOCAL"):
        return []
    if first.upper() == "LIST":
        return [path.parent / line.strip() for line in _lines_of_list(path)[:MOST_FILES] if line.strip()]
    if "%" in first and len(others) >= 2 and all(WHOLE.fullmatch(word) for word in others[:3]):
        low, high, step = (*map(int, others[:3]), 1)[:3]
        numbers = range(low, high + 1, max(1, abs(step)))
        return [path.parent / _numbered(first, number) for number in numbers[:MOST_FILES]]
    return [path.parent / words]


def _lines(path: Path) -> Iterator[str]:
    """Lines of text, as far as a header may reach; what follows them in the file is not read."""
    left = LONGEST
    with path.open("rb") as file:
        while left > 0 and (line := file.readline(left)):
            left -= len(line)
            yield line.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _lines_of_list(path: Path) -> list[str]:
    """What follows the line that announces a list of files."""
    lines = list(_lines(path))
    announced = next((number for number, line in enumerate(lines) if LIST_LINE.match(line)), len(lines))
    return lines[announced + 1:]


def _numbered(pattern: str, number: int) -> str:
    """C's format of one whole number, as in slice%03d.raw or slice%.3d.raw."""
    return NUMBER.sub(lambda found: _padded(number, *found.groups()), pattern, count=1)


def _padded(number: int, zero: str, width: str, digits: str | None) -> str:
    text = f"{number:0{int(digits)}d}" if digits else str(number)
    return text.rjust(int(width or 0), "0" if zero and not digits else " ")


def millimetres(path: Path, tell: Callable[[str], None]) -> float:
    """What a length in the header of a NRRD or MetaImage file is to be multiplied by to be mm.

    Tells where the header does not say how the patient lies.

    Raises:
        ValueError: the header gives no voxel size, or an unknown unit, or the image has no third axis.
    """
    fields = read_fields(path)
    nrrd = path.name.lower().endswith(NRRD)
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
    if unknown := sorted(units - set(UNITS)):
        raise ValueError(f"'{name}' gives lengths in '{unknown[0]}', which is not known; export it in mm.")
    factors = {UNITS[unit] for unit in units}
    if len(factors) > 1:
        raise ValueError(f"'{name}' gives lengths in several units ({', '.join(sorted(units))}); export it in mm.")
    return factors.pop()


def _quoted(text: str) -> list[str]:
    """NRRD's list of quoted strings; the units of three axes at most, for a fourth is no length."""
    return (re.findall(r'"([^"]*)"', text) or text.split())[:3]


def _nrrd_size(fields: Mapping[str, str]) -> bool:
    """Whether three axes have a finite size."""
    if "spacedirections" in fields:
        vectors = [_numbers(vector) for vector in re.findall(r"\(([^)]*)\)", fields["spacedirections"])]
        lengths = [float(np.linalg.norm(vector)) for vector in vectors if vector]
    else:
        lengths = _numbers(fields.get("spacings", ""))
    return sum(np.isfinite(length) and length != 0 for length in lengths) >= 3


def _nrrd_lies(fields: Mapping[str, str]) -> bool:
    return "spacedirections" in fields and bool(PATIENT.match(fields.get("space", "").strip().lower()))


def _meta_size(fields: Mapping[str, str]) -> bool:
    lengths = _numbers(fields.get("elementspacing") or fields.get("elementsize") or "")
    return len(lengths) >= 3 and all(np.isfinite(length) and length > 0 for length in lengths[:3])


def _meta_lies(fields: Mapping[str, str]) -> bool:
    return any(name in fields for name in ("transformmatrix", "rotation", "orientation"))


def _numbers(text: str) -> list[float]:
    try:
        return [float(number) for number in text.replace(",", " ").split()]
    except ValueError:
        return []
