"""Hidden files and folders in which something is written: what becomes of them where that does not succeed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from SAMoraLib.system.files import unwritten
from SAMoraLib.system.leftovers import PREFIX

DAY = 24 * 3600.0  # nothing is written for so long


def sweep(folder: Path, seconds: float = DAY) -> None:
    """Remove what a killed writer left in ``folder``, last written to so many seconds ago.

    Whoever ends otherwise, also by a signal, removes its own.

    Args:
        seconds: 0 where nobody else can be writing there.
    """
    for path in folder.glob(f"{PREFIX}*"):
        with suppress(OSError):  # gone meanwhile
            if time.time() - path.lstat().st_mtime >= seconds:
                remove(path)


def remove(path: Path) -> None:
    """Remove a file, a folder or a link, where that is possible; what a link leads to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """What the system says of a file that cannot be written names ``path``, and no hidden file beside it.

    Raises:
        OSError: one that was raised inside.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # a sentence already
            raise
        raise OSError(unwritten(path, error.strerror)) from error
