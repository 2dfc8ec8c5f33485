"""What ITK does not check in a NIfTI file: that it is whole, and that its sform is not sheared.

ITK fills what is missing at the end with zeros, and passes over a sheared sform if there is a qform.
Fields and offsets are those of nifti1.h (https://nifti.nimh.nih.gov/nifti-1); ITK does not read NIfTI-2.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from SAMoraLib.volume.right_angles import require_right_angles

HEADER = np.dtype({"names": ["size", "dim", "bits", "data_at", "sform_code", "sform"],
                   "formats": ["i4", "8i2", "i2", "f4", "i2", "(3,4)f4"],
                   "offsets": [0, 40, 72, 108, 254, 280], "itemsize": 348})


def check_nifti(path: Path) -> None:
    """Read the header and run through the file once.

    Raises:
        ValueError: the file is damaged or shorter than its header says, or its sform is sheared.
    """
    try:
        with _open(path) as file:
            header = _header(file.read(HEADER.itemsize))
            length = file.seek(0, os.SEEK_END)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"'{path.name}' cannot be read; it is damaged or incomplete, so copy or export it "
                         "again.") from error
    if header is None:
        raise ValueError(f"'{path.name}' cannot be read; it is not a NIfTI-1 file, so save it as one, or give it the "
                         "ending of its format.")
    voxels = int(np.prod(np.clip(header["dim"][1:1 + header["dim"][0]], 1, None), dtype=np.int64))
    expected = int(header["data_at"]) + voxels * int(header["bits"]) // 8
    if length < expected:
        raise ValueError(f"'{path.name}' is incomplete: {length} bytes of {expected}; copy or export it again.")
    if header["sform_code"] > 0:
        require_right_angles(header["sform"][:, :3].astype(float), path.name)


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if compressed else path.open("rb")


def _header(data: bytes) -> np.void | None:
    """The fields of a header of either byte order; None if it is no NIfTI-1 header."""
    for layout in (HEADER, HEADER.newbyteorder()):
        if len(data) == layout.itemsize:
            header = np.frombuffer(data, layout)[0]
            if header["size"] == layout.itemsize and 0 < header["dim"][0] < 8:
                return cast(np.void, header)
    return None
