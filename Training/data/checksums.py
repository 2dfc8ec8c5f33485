"""Whether the files of a cache are still what was written: a folder keeps the checksums of its files beside them.

Zip archives (.npz, state.pt) have their own: what reading a damaged one raises is ``ARCHIVE_FAULTS``.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from SAMoraLib.system.files import write_json
from SAMoraLib.system.untrusted_json import read_json

NAME = "checksums.json"
ARCHIVE_FAULTS = (OSError, ValueError, EOFError, KeyError, TypeError, AttributeError, NotImplementedError,
                  zipfile.BadZipFile, zlib.error)
BLOCK = 1 << 20


def write_checksums(folder: Path, names: Iterable[str]) -> None:
    """Keep what the files called ``names`` hold now.

    Raises:
        OSError: a file cannot be read, or the disk is full.
    """
    write_json(folder / NAME, _checksums(folder, names))


def are_unchanged(folder: Path, names: Iterable[str]) -> bool:
    """Whether the files hold what they did when their checksums were written.

    Those of a folder from before there were checksums get them now, where it can be written to.
    """
    names = list(names)
    try:
        if (folder / NAME).is_file():
            return bool(read_json(folder / NAME) == _checksums(folder, names))
    except (OSError, ValueError):
        return False
    with suppress(OSError):
        write_checksums(folder, names)
    return True


def _checksums(folder: Path, names: Iterable[str]) -> dict[str, int]:
    return {name: _crc32(folder / name) for name in names}


def _crc32(path: Path) -> int:
    """Against damage, not against people; 1 to 2 GB/s on an idle core."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum = zlib.crc32(block, checksum)
    return checksum
