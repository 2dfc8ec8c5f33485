"""The archives that torch writes, ``.pth`` and ``.pt``: looked through for damage before anything in them is used."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from SAMoraLib.fields import shown
from SAMoraLib.system.streams import one_line

T = TypeVar("T")

# How files begin that torch wrote before 1.6: a pickle of one fixed number, or older still a tar archive.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
_TAR, _TAR_AT = b"ustar", 257
_FOLDER = 0x10  # MS-DOS's mark, by which torch takes a record for empty and leaves its tensor as memory was


def require_whole_archive(path: str | Path) -> None:
    """Refuse a file of torch's that is damaged, or whose damage could not be seen; nothing in it is unpickled.

    Every record is read once and compared with its checksum, which torch itself does not do.

    Raises:
        ValueError: no archive of torch's, cut short, a checksum that does not fit, or no checksums at all.
    """
    if not _begins_as_zip(Path(path)) or not _asked(path, lambda: zipfile.is_zipfile(path)):
        raise ValueError(_no_archive(Path(path)))
    with _asked(path, lambda: zipfile.ZipFile(path)) as archive:
        _require_torchs(path, archive.infolist())
        damaged = _asked(path, archive.testzip)
    if damaged is not None:
        raise ValueError(f"'{path}' is damaged: the checksum of its record {shown(damaged)} does not fit; get it again "
                         "from its source.")


def _begins_as_zip(path: Path) -> bool:
    """Whether torch takes it for an archive: an older form may have one behind it, and would be read in its place."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _asked(path: str | Path, ask: Callable[[], T]) -> T:
    """What the archive answers; of a damaged one Python raises almost anything."""
    try:
        return ask()
    except Exception as error:
        cause = one_line(str(error))[:200]
        raise ValueError(f"'{path}' is damaged ({cause}); get it again from its source.") from error


def _no_archive(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(_TAR_AT + len(_TAR))
    if head.startswith(_LEGACY) or head[_TAR_AT:] == _TAR:
        return (f"'{path}' is in the form that torch wrote before 1.6, which has no checksums, so that damage would "
                "not be seen; save its state dict again with torch.save of a newer torch.")
    return (f"'{path}' cannot be read as plain tensors; it is cut short, damaged or carries code: get it again from "
            "its source.")


def _require_torchs(path: str | Path, records: Sequence[zipfile.ZipInfo]) -> None:
    """torch writes one table of what is there, and its records as they are."""
    if not any(PurePosixPath(record.filename).name == "data.pkl" for record in records):
        first = f", first {shown(records[0].filename)}" if records else ""
        raise ValueError(f"'{path}' is an archive of {len(records)} files{first}, and not one of torch's; unpack it "
                         "and give the weights file in it.")
    if len({record.filename.lower() for record in records}) < len(records):
        raise ValueError(f"'{path}' holds two records of one name, which no file of torch's does; save its state dict "
                         "again with torch.save.")
    if any(record.external_attr & _FOLDER and record.file_size for record in records):
        raise ValueError(f"'{path}' is damaged: it holds a folder with content; get it again from its source.")
    packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
    if packed or sum(record.file_size for record in records) > Path(path).stat().st_size:
        raise ValueError(f"'{path}' unpacks to more than it holds, which no file of torch's does; save its state dict "
                         "again with torch.save.")
    if not any(record.CRC for record in records):
        raise ValueError(f"'{path}' was written without checksums, so that damage would not be seen; save its state "
                         "dict again with torch.save, checksums on.")
