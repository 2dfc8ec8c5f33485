"""Whether a file is DICOM, by its first bytes alone (PS3.10: a preamble and DICM; older files have none)."""

from __future__ import annotations

from pathlib import Path

INDEX = "DICOMDIR"  # a list of series with the same mark, no slice
GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")  # of the first element; little and big endian


def looks_like_dicom(path: Path) -> bool:
    """Whether a plain file begins as DICOM does, with or without a preamble.

    Raises:
        OSError: it cannot be read.
    """
    if not path.is_file():  # a FIFO would wait for ever
        return False
    with path.open("rb") as file:
        start = file.read(132)
    if start[128:] == b"DICM":
        return True
    return len(start) == 132 and start[:2] in GROUPS and (start[4:6].isalpha() or start[6:8] == b"\0\0")
