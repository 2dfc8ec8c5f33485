"""A checksum of a whole archive of torch's, in the comment at its end; what wrote it, and reads it, need not know.

The archive's own checksums are those of its records: not of the table of where they are, and what they are.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import IO

BLOCK = 1 << 20
END, END_BYTES = b"PK\x05\x06", 22  # of an archive without a comment
MARK = b"samora crc32 "
COMMENT_BYTES = len(MARK) + 8  # and eight digits


def seal(path: Path) -> None:
    """Put the checksum at the end of an archive that has no comment; another file stays as it is.

    Raises:
        OSError: the disk is full.
    """
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - END_BYTES))
        end = file.read()
        if not end.startswith(END) or not end.endswith(b"\0\0"):
            return
        file.seek(size - 2)
        file.write(COMMENT_BYTES.to_bytes(2, "little"))
        file.write(MARK + b"%08x" % _crc32(file, size))


def is_unchanged(path: Path) -> bool:
    """Whether a file holds what it did when it was sealed; also one that never was, as those of before."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * COMMENT_BYTES))
        _, mark, checksum = file.read().rpartition(MARK)
        return not mark or checksum == b"%08x" % _crc32(file, size - COMMENT_BYTES)


def _crc32(file: IO[bytes], size: int) -> int:
    """Of the first ``size`` bytes; the file then stands behind them."""
    file.seek(0)
    checksum, left = 0, size
    while block := file.read(min(BLOCK, left)):
        checksum = zlib.crc32(block, checksum)
        left -= len(block)
    return checksum
