"""One run at a time in an output folder: a lock that the system frees when its holder ends, however it ends."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

NAME = ".samora.lock"
HELD = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class FolderLock:
    """The lock of ``folder``; taken once, released once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[str] | None = None
        self._made = False

    def take(self) -> None:
        """Hold the folder.

        Raises:
            OSError: another run holds it, or it cannot be written to.
        """
        self._made = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / NAME).open("a", encoding="utf-8")
        except OSError as error:
            raise OSError(f"The output folder '{self.folder}' cannot be written to ({error.strerror}); choose another "
                          "one.") from error
        try:
            _lock(file)
        except OSError as error:
            file.close()
            if error.errno not in HELD:  # a disk without locks: as before there were any
                return
            raise OSError(f"Another run is writing to '{self.folder}'; wait until it has ended, or choose another "
                          "output folder.") from error
        self._file = file

    def release(self) -> None:
        if self._file is None:
            return
        if sys.platform != "win32":  # which removes no open file
            (self.folder / NAME).unlink(missing_ok=True)
        self._file.close()
        self._file = None
        if self._made:  # and nothing was written: as it was
            with suppress(OSError):
                self.folder.rmdir()


def _lock(file: IO[str]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
