"""Files that are never half written: made beside their place and renamed when complete (torch-free)."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: str | Path, ending: str = ".tmp") -> Iterator[Path]:
    """A hidden path beside ``path`` to write to; it takes the place of ``path`` at the end of the ``with`` block.

    Whatever goes wrong in the block leaves the old file, or none; an OSError names it.

    Args:
        ending: of the hidden file, for writers that choose the format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".samora_{secrets.token_hex(8)}{ending}")  # short, whatever the length of its own name
    try:
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.errno and not error.filename:
            error.filename = str(path)  # the system's, e.g. of a full disk, say only why
        raise
    finally:
        unfinished.unlink(missing_ok=True)


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
