"""Files that are never half written: made beside their place and renamed when complete (torch-free)."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from SAMoraLib.system.leftovers import sweep_once, unfinished_name

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has neither
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK


@contextmanager
def atomic_write(path: str | Path, ending: str = ".tmp") -> Iterator[Path]:
    """A hidden path beside ``path`` to write to; it takes the place of ``path`` at the end of the ``with`` block.

    The hidden file is there and empty, made by nobody else, so that no link that another user of a shared folder has
    laid is written through. Whatever goes wrong in the block leaves the old file, or none. What a writer left behind
    that was killed is removed.

    Args:
        ending: of the hidden file, for writers that choose the format by it.

    Raises:
        OSError: it could not be written: a sentence that names ``path``, with the system's cause as ``strerror``.
    """
    path = Path(path)
    unfinished = path.with_name(unfinished_name(ending))  # short, whatever the length of its own name
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_once(path.parent)
        os.close(os.open(unfinished, NEW_FILE, 0o666))  # less what the umask takes, as of any file
        made = True
        yield unfinished
        _require_plain(unfinished)
        unfinished.replace(path)
    except OSError as error:
        raise _told(error, path, unfinished) from error
    finally:
        if made:
            with suppress(OSError):  # nor does a disk that went away hide what went wrong
                unfinished.unlink(missing_ok=True)


def _require_plain(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"'{path.parent}' is no safe place: a link was laid there in place of a file that was being "
                      "written; choose a folder that only you may write to.")


def _told(error: OSError, path: Path, unfinished: Path) -> OSError:
    """A sentence about the file that was wanted; an error that is one, or is about another file, stays as it is."""
    about = {"", str(path), str(unfinished), *map(str, path.parents)}
    cause = error.strerror or str(error)
    if str(error.filename or "") not in about or cause.endswith("."):
        return error
    told = OSError(unwritten(path, cause))
    told.strerror = cause
    return told


def unwritten(path: Path, cause: str | None = None) -> str:
    """The sentence about a file or folder that could not be written."""
    why = f" ({cause})" if cause else ""
    return (f"'{path}' could not be written{why}; check that the disk has room and that the folder may be written to, "
            "or choose another one.")


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` beside ``path`` and move it there: an interruption leaves the old file or the new one."""
    with atomic_write(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """``write_text`` of JSON. NaN and infinities raise a ValueError, as JSON has none."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def file_sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
